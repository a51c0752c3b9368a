//! The traced service. `/hello` answers at once; `/checkout?id=7` first runs `SELECT 'checkout-7-tcp'` and
//! `SELECT 'checkout-7-unix'`, each on the connection of that kind.
//!
//! A thread serves a connection from its first request to its last, and connects to PostgreSQL before it reads the first:
//! a connection that has been answered once has everything open.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, ensure};

use crate::database::Session;

/// Serves until the process is ended.
pub(crate) fn serve(port: u16, database: u16, socket: &Path) -> Result<()> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let threads: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            let listener = TcpListener::bind((address, port)).with_context(|| format!("{address} port {port}"))?;
            let socket = socket.to_owned();
            Ok(thread::spawn(move || accept(&listener, database, &socket)))
        })
        .collect::<Result<_>>()?;
    for thread in threads {
        ensure!(thread.join().is_ok(), "a listener's thread panicked");
    }
    Ok(())
}

fn accept(listener: &TcpListener, database: u16, socket: &Path) {
    for stream in listener.incoming() {
        let socket: PathBuf = socket.to_owned();
        thread::spawn(move || {
            if let Err(error) = stream.map_err(Into::into).and_then(|stream| connection(stream, database, &socket)) {
                eprintln!("orders: {error:#}");
            }
        });
    }
}

fn connection(stream: TcpStream, database: u16, socket: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut tcp = Session::over_tcp(database)?;
    let mut unix = Session::over_unix(socket)?;
    let mut stream = BufReader::new(stream);
    while let Some(target) = request(&mut stream)? {
        if let Some(id) = target.strip_prefix("/checkout?id=") {
            tcp.query(&format!("SELECT 'checkout-{id}-tcp'"))?;
            unix.query(&format!("SELECT 'checkout-{id}-unix'"))?;
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone\n")?;
    }
    Ok(())
}

/// The target of the next request, which has no body; none when the client has closed the connection.
fn request(stream: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let mut target = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            return target.context("a head without a request line").map(Some);
        }
        if target.is_none() {
            target = line.split(' ').nth(1).map(str::to_owned);
        }
    }
}
