//! A plain HTTP/1.1 client over one connection, and loads made of several. No library, so that the bytes on the wire
//! and the system calls that send them are exactly these.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

/// No test application takes this long for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body, without its framing.
    pub body: Vec<u8>,
}

/// A keep-alive connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    /// Whether the server said that it closes the connection.
    closing: bool,
}

impl Client {
    /// Connects to a port of 127.0.0.1.
    pub fn connect(port: u16) -> Result<Self> {
        Self::connect_to((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Connects to another address.
    pub fn connect_to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), address, closing: false })
    }

    /// `GET path`.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.get_with(path, &[])
    }

    /// `GET path` with further header lines, sent as they are.
    pub fn get_with(&mut self, path: &str, headers: &[&str]) -> Result<Response> {
        self.send(request("GET", path, headers).as_bytes())?;
        self.receive()
    }

    /// `POST path` with an empty body.
    pub fn post(&mut self, path: &str) -> Result<Response> {
        self.send(request("POST", path, &["Content-Length: 0"]).as_bytes())?;
        self.receive()
    }

    /// Sends all requests in one write, then reads all answers.
    pub fn pipeline(&mut self, paths: &[String]) -> Result<Vec<Response>> {
        let requests: String = paths.iter().map(|path| request("GET", path, &[])).collect();
        self.send(requests.as_bytes())?;
        paths.iter().map(|_| self.receive()).collect()
    }

    /// Writes bytes as they are, in one system call unless the socket's buffer is full.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> Result<()> {
        Ok(self.stream.get_mut().shutdown(Shutdown::Write)?)
    }

    /// Closes the connection, and returns when the server has done so as well. A server of one thread for each connection has by then
    /// returned from the system calls that it answered with.
    pub fn close(mut self) -> Result<()> {
        self.finish()?;
        self.stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }

    /// Reads one answer.
    pub fn receive(&mut self) -> Result<Response> {
        let status_line = self.line()?;
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("not an HTTP/1 status line: {status_line:?}"))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').with_context(|| format!("not a header: {line:?}"))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.trim().eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                self.closing = value.trim().eq_ignore_ascii_case("close");
            }
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        if self.closing {
            // Some servers serve nobody else until the client has closed as well; others have gone already.
            let _ = self.finish();
        }
        Ok(Response { status, body })
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = usize::from_str_radix(line.trim(), 16).with_context(|| format!("chunk length {line:?}"))?;
            let chunk = self.exactly(length)?;
            ensure!(self.line()?.is_empty(), "a chunk without its end");
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn request(method: &str, path: &str, headers: &[&str]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// Several connections that are kept busy at the same time.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
}

impl Load {
    /// Opens the connections.
    pub fn connect(port: u16, connections: usize) -> Result<Self> {
        Ok(Self { clients: (0..connections).map(|_| Client::connect(port)).collect::<Result<_>>()? })
    }

    /// Sends `total` GET requests, the n-th connection first the n-th and then the next one as soon as its last answer has
    /// come, and demands status 200 of all. `path` makes the path of the n-th request. A connection that the server closes
    /// after an answer is made anew.
    pub fn run(&mut self, total: usize, path: impl Fn(usize) -> String + Sync) -> Result<()> {
        self.run_checked(total, |number| (path(number), None), |_, _| Ok(()))
    }

    /// The same; `request` makes a header line as well, and `check` is given each number and its answer's body.
    pub fn run_checked(
        &mut self,
        total: usize,
        request: impl Fn(usize) -> (String, Option<String>) + Sync,
        check: impl Fn(usize, &str) -> Result<()> + Sync,
    ) -> Result<()> {
        let next = AtomicUsize::new(self.clients.len());
        let work = |mut number: usize, client: &mut Client| -> Result<()> {
            while number < total {
                let (path, header) = request(number);
                if client.closing {
                    *client = Client::connect_to(client.address)?;
                }
                let response = client
                    .get_with(&path, &header.iter().map(String::as_str).collect::<Vec<_>>())
                    .with_context(|| path.clone())?;
                let body = String::from_utf8_lossy(&response.body);
                ensure!(response.status == 200, "{path}: {} {body}", response.status);
                check(number, &body)?;
                number = next.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let clients = self.clients.iter_mut().enumerate();
            let work = &work;
            let threads: Vec<_> = clients.map(|(number, client)| scope.spawn(move || work(number, client))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a connection's thread panicked"),
            })
        })
    }
}

/// One request on a connection of its own.
pub fn get(port: u16, path: &str) -> Result<Response> {
    Client::connect(port)?.get(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::{Client, Response};

    /// A server that answers whatever comes with these bytes.
    fn serve(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer).unwrap();
        });
        port
    }

    #[test]
    fn bodies_by_length_and_in_chunks() {
        let port = serve(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 404 Not Found\r\n\
              Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n",
        );
        let responses = Client::connect(port).unwrap().pipeline(&["/a".to_owned(), "/b".to_owned()]).unwrap();
        let expected = [(200, "abc"), (404, "no!")].map(|(status, body)| Response { status, body: body.into() });
        assert_eq!(responses, expected);
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let port = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
        assert!(Client::connect(port).unwrap().get("/").is_err());
    }
}
