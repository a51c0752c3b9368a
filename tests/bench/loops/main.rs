//! Loops of system calls over a loopback TCP connection, timed: what `bench` measures the cost of a call with.
//!
//! `loops http|unknown PAUSE`: for each line on standard input, one run of [`CALLS`] calls of each kind; prints a line of JSON, the
//! nanoseconds of one call (of the median batch of [`BATCH`]) by its name, and under `all` those of the run divided by all calls
//! that moved bytes. Between two batches it waits for `PAUSE` µs, so that the agent can keep up: a connection whose events are
//! lost is soon given up, and its calls are cheap. Both ends of the connection are in this process, and only the calls of the named
//! kind are timed: what fills and empties the connection is not.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, IoSlice, IoSliceMut, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, send, sendmsg, sockopt,
};

/// Timed calls of each kind in a run.
const CALLS: u32 = 100_000;

/// Calls between two fillings: their messages fit into the socket's buffers, so that no call blocks.
const BATCH: u32 = 50;

const REQUEST: &str = "GET /items/4711?color=green HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// Times a batch of calls on one end of the connection.
type Batch = fn(&mut TcpStream, &[u8]) -> Result<Duration>;

fn main() -> Result<()> {
    let (request, response) = match std::env::args().nth(1).as_deref() {
        Some("http") => (REQUEST.as_bytes().to_vec(), RESPONSE.as_bytes().to_vec()),
        // The same lengths, of bytes that no protocol begins with.
        Some("unknown") => (vec![0xfe; REQUEST.len()], vec![0xfe; RESPONSE.len()]),
        _ => bail!("usage: loops http|unknown PAUSE"),
    };
    let pause = std::env::args().nth(2).context("no pause")?.parse().map(Duration::from_micros)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        sockopt::set_socket_recv_buffer_size(end, 1 << 20)?;
        sockopt::set_socket_send_buffer_size(end, 1 << 20)?;
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut times = BTreeMap::new();
        let (began, mut calls) = (Instant::now(), 0);
        for (name, write) in WRITES {
            let mut batches = Vec::new();
            for _ in 0..CALLS / BATCH {
                batches.push(write(&mut client, &request)?);
                calls += BATCH + drain(&mut server, request.len())?;
                calls += answer(&mut server, &mut client, &response)?;
                thread::sleep(pause);
            }
            times.insert(name, nanoseconds(batches));
        }
        for (name, read) in READS {
            let mut batches = Vec::new();
            for _ in 0..CALLS / BATCH {
                client.write_all(&request.repeat(BATCH as usize))?;
                batches.push(read(&mut server, &request)?);
                calls += 1 + BATCH + answer(&mut server, &mut client, &response)?;
                thread::sleep(pause);
            }
            times.insert(name, nanoseconds(batches));
        }
        times.insert("all", began.elapsed().as_nanos() as f64 / f64::from(calls));
        println!("{}", serde_json::to_string(&times)?);
    }
    Ok(())
}

const WRITES: [(&str, Batch); 3] = [
    ("write", |end, message| {
        timed(|| {
            let written = end.write(message)?;
            ensure!(written == message.len(), "a short write");
            Ok(())
        })
    }),
    ("sendto", |end, message| {
        timed(|| {
            ensure!(send(&*end, message, SendFlags::empty())? == message.len(), "a short sendto");
            Ok(())
        })
    }),
    ("sendmsg", |end, message| {
        timed(|| {
            let buffers = [IoSlice::new(message)];
            let sent = sendmsg(&*end, &buffers, &mut SendAncillaryBuffer::default(), SendFlags::empty())?;
            ensure!(sent == message.len(), "a short sendmsg");
            Ok(())
        })
    }),
];

const READS: [(&str, Batch); 3] = [
    ("read", |end, message| {
        let mut buffer = [0; 256];
        timed(|| {
            let room = buffer.get_mut(..message.len()).context("a long message")?;
            ensure!(end.read(room)? == message.len(), "a short read");
            Ok(())
        })
    }),
    ("recvfrom", |end, message| {
        let mut buffer = [0; 256];
        timed(|| {
            let room = buffer.get_mut(..message.len()).context("a long message")?;
            let (received, _) = recv(&*end, room, RecvFlags::empty())?;
            ensure!(received == message.len(), "a short recvfrom");
            Ok(())
        })
    }),
    ("recvmsg", |end, message| {
        let mut buffer = [0; 256];
        timed(|| {
            let room = buffer.get_mut(..message.len()).context("a long message")?;
            let mut buffers = [IoSliceMut::new(room)];
            let received = recvmsg(&*end, &mut buffers, &mut RecvAncillaryBuffer::default(), RecvFlags::empty())?;
            ensure!(received.bytes == message.len(), "a short recvmsg");
            Ok(())
        })
    }),
];

fn timed(mut call: impl FnMut() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..BATCH {
        call()?;
    }
    Ok(began.elapsed())
}

/// Reads a batch of messages; returns how many calls that took.
fn drain(end: &mut TcpStream, length: usize) -> Result<u32> {
    let mut buffer = vec![0; length * BATCH as usize];
    let (mut calls, mut done) = (0, 0);
    while let Some(room) = buffer.get_mut(done..).filter(|room| !room.is_empty()) {
        done += end.read(room)?;
        calls += 1;
    }
    Ok(calls)
}

/// Answers a batch of requests, so that nothing stays open; returns how many calls that took.
fn answer(server: &mut TcpStream, client: &mut TcpStream, response: &[u8]) -> Result<u32> {
    server.write_all(&response.repeat(BATCH as usize))?;
    Ok(1 + drain(client, response.len())?)
}

/// Of one call: by the median batch, which another process that was given the CPU in between does not count in.
fn nanoseconds(mut batches: Vec<Duration>) -> f64 {
    batches.sort();
    let median = batches.get(batches.len() / 2).copied().unwrap_or_default();
    median.as_nanos() as f64 / f64::from(BATCH)
}
