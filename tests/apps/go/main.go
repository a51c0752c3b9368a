// A web service with two database drivers. Every statement and call carries the id of its request.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"regexp"

	"golang.org/x/sync/errgroup"
)

var digits = regexp.MustCompile(`^\d{1,12}$`)

func main() {
	ctx := context.Background()
	pool, err := openPool(ctx)
	if err != nil {
		log.Fatal(err)
	}
	standard, err := openStandard()
	if err != nil {
		log.Fatal(err)
	}
	downstream := newDownstream(os.Getenv("DOWNSTREAM"))

	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello\n")) })
	http.HandleFunc("/checkout", page(func(ctx context.Context, id string) (string, error) {
		return inOrder(ctx, pool, downstream, "checkout", id)
	}))
	// For another service that has this one downstream.
	http.HandleFunc("/item", page(func(ctx context.Context, id string) (string, error) {
		return inOrder(ctx, pool, downstream, "item", id)
	}))
	http.HandleFunc("/sql", page(func(ctx context.Context, id string) (string, error) {
		return inOrder(ctx, standard, downstream, "sql", id)
	}))
	http.HandleFunc("/fanout", page(func(ctx context.Context, id string) (string, error) {
		return atOnce(ctx, pool, downstream, "fanout", id)
	}))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

// page answers with a text about an id, which stands in the query: `?id=7`.
func page(text func(ctx context.Context, id string) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		if !digits.MatchString(id) {
			http.Error(w, "id must be a number", http.StatusBadRequest)
			return
		}
		answer, err := text(r.Context(), id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write([]byte(answer))
	}
}

func inOrder(ctx context.Context, db database, downstream *downstream, name, id string) (string, error) {
	first, err := db.query(ctx, statement(name, id, "a"))
	if err != nil {
		return "", err
	}
	item, err := downstream.item(ctx, id)
	if err != nil {
		return "", err
	}
	second, err := db.query(ctx, statement(name, id, "b"))
	return first + "\n" + item + second + "\n", err
}

func atOnce(ctx context.Context, db database, downstream *downstream, name, id string) (string, error) {
	var first, item, second string
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { first, err = db.query(ctx, statement(name, id, "a")); return })
	group.Go(func() (err error) { item, err = downstream.item(ctx, id); return })
	group.Go(func() (err error) { second, err = db.query(ctx, statement(name, id, "b")); return })
	err := group.Wait()
	return first + "\n" + item + second + "\n", err
}
