//! The service that test applications call: a plain HTTP/1.1 server in this process, which no agent is pointed at.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::ports;

/// Answers `GET /item?id=N`, on as many keep-alive connections as there are. Each id has its own delay, so that answers
/// overtake each other.
#[derive(Debug)]
pub struct Downstream {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Downstream {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Result<Self> {
        let port = ports::free()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("port {port}"))?;
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !end.load(Ordering::Relaxed)) {
                // Who closes a connection in the middle of a request does not get its answer.
                thread::spawn(move || stream.map_err(Into::into).and_then(serve));
            }
        });
        Ok(Self { port, ended })
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener, which then ends; connections end when their clients do.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Serves a connection until its client closes it.
fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while stream.read_line(&mut header)? > "\r\n".len() {
            header.clear();
        }
        let id = request.strip_prefix("GET /item?id=").and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        let (status, body) = match id {
            Some(id) => {
                thread::sleep(delay(id));
                ("200 OK", format!("item {id}\n"))
            }
            None => ("404 Not Found", "no such thing\n".to_owned()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        stream.get_mut().write_all((head + &body).as_bytes())?;
    }
}

/// 0 to 3 ms. The factor is a prime, so that neighbouring ids differ.
fn delay(id: u64) -> Duration {
    Duration::from_millis(id.wrapping_mul(104_729) % 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Downstream;
    use crate::http::{Client, Response};

    #[test]
    fn one_connection_serves_many_requests() {
        let downstream = Downstream::start().unwrap();
        let mut client = Client::connect(downstream.port).unwrap();
        for id in [7, 8] {
            let response = client.get(&format!("/item?id={id}")).unwrap();
            assert_eq!(response, Response { status: 200, body: format!("item {id}\n").into() });
        }
        assert_eq!(client.get("/item?id=x").unwrap().status, 404);
    }
}
