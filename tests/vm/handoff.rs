//! A service of two threads that work for each other: one reads requests and writes responses, the other does the work.
//!
//! The response says who they are, by the kernel's ids: `worker=12 waiter=11`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use anyhow::{Context as _, Result};
use rustix::thread::gettid;

/// Serves one connection after the other until the process is ended.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("port {port}"))?;
    let (orders, taken) = channel();
    let (report, done) = channel();
    thread::spawn(move || {
        if let Err(error) = work(&taken, &report) {
            eprintln!("handoff: {error:#}");
        }
    });
    let waiter = own_id();
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream?);
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            if line.ends_with("\r\n\r\n") {
                orders.send(waiter)?;
                let worker: u32 = done.recv()?;
                let body = format!("worker={worker} waiter={waiter}");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
                line.clear();
            }
        }
    }
    Ok(())
}

/// Sends a request of its own for each order, then tells whoever waits for it, as soon as that one does.
fn work(orders: &Receiver<u32>, report: &Sender<u32>) -> Result<()> {
    let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(sink.local_addr()?)?;
    for waiter in orders {
        stream.write_all(b"GET /work HTTP/1.1\r\nHost: sink\r\n\r\n")?;
        while !sleeps(waiter)? {
            thread::yield_now();
        }
        report.send(own_id())?;
    }
    Ok(())
}

fn own_id() -> u32 {
    u32::try_from(gettid().as_raw_nonzero().get()).unwrap_or(0)
}

/// Whether a thread of this process is blocked (proc(5), `stat`).
fn sleeps(thread: u32) -> Result<bool> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"))?;
    Ok(stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S')))
}
