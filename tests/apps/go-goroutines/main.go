// A server whose bytes say which goroutine writes them: as `goroutine=18 created_by=1`, the numbers that the Go runtime itself prints
// (runtime.Stack; Go before 1.21 does not say who created a goroutine: 0).
//
// GET /own       the response says who writes it, the handler's goroutine.
// GET /spawn     a new goroutine writes who it is on a connection of its own, before the handler answers.
// GET /call      a request by http.Client to this server; its path says whose it is: /item?goroutine=18.
// GET /item      an empty response.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
)

var id = regexp.MustCompile(`^goroutine (\d+) `)
var creator = regexp.MustCompile(`in goroutine (\d+)`)

// me is the calling goroutine and the one that created it.
func me() string {
	stack := make([]byte, 64<<10)
	stack = stack[:runtime.Stack(stack, false)]
	createdBy := "0"
	if at := bytes.LastIndex(stack, []byte("created by ")); at >= 0 {
		if found := creator.FindSubmatch(stack[at:]); found != nil {
			createdBy = string(found[1])
		}
	}
	return fmt.Sprintf("goroutine=%s created_by=%s", id.FindSubmatch(stack)[1], createdBy)
}

// sink is where spawned goroutines write to: it reads and never answers.
func sink() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go func() {
				io.Copy(io.Discard, connection)
				connection.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func main() {
	address := "127.0.0.1:" + os.Getenv("PORT")
	sinkAddress := sink()

	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
	})
	http.HandleFunc("/own", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, me()+"\n")
	})
	http.HandleFunc("/spawn", func(w http.ResponseWriter, r *http.Request) {
		failed := make(chan error)
		go func() {
			connection, err := net.Dial("tcp", sinkAddress)
			if err == nil {
				// It looks like HTTP, so that it is followed.
				_, err = fmt.Fprintf(connection, "GET /spawned HTTP/1.1\r\nHost: sink\r\nX-Me: %s\r\n\r\n", me())
				connection.Close()
			}
			failed <- err
		}()
		if err := <-failed; err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	http.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		var own string
		fmt.Sscanf(me(), "goroutine=%s", &own)
		response, err := http.Get("http://" + address + "/item?goroutine=" + own)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	})
	http.HandleFunc("/item", func(w http.ResponseWriter, r *http.Request) {})

	log.Fatal(http.ListenAndServe(address, nil))
}
