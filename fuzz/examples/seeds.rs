//! Writes the first inputs of the fuzz targets: `seeds OUT [DATA]`. DATA is a folder with `pcap/**/*.pcap` and
//! `sql/*.json` (OpenTelemetry's cases); without it only what is written here is made.

#![allow(clippy::indexing_slicing, reason = "a developer's tool: a broken file ends it")]

use std::{
    collections::HashMap,
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use etherparse::PacketBuilder;
use syspan::{
    captures::Reader,
    event::{Address, Data, Direction, Event, Socket},
    protocols::Role,
};
use syspan_fuzz::conversation::{Conversation, Step};

/// Longer conversations become several: a fuzzer learns more from short inputs.
const LONGEST: usize = 4096;

const RECORDING: &str = include_str!("../../docs/recording.md");

const CONTEXTS: &[&str] = &[
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n=rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what\n=a@b=1, ,c/d= e\n=f=2",
    " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\t\n=",
];

const STATEMENTS: &[&str] = &[
    "SELECT 'a\\' , \"b\\\" , x'1F', $1, ? FROM t -- c\n WHERE a = -1.5e-3 AND b IN (0x1F, true) /* c /* d */ */",
    "INSERT INTO a.b (c) VALUES (E'\\'', U&'x', $$y$$, $t$z$t$), (_utf8'x', N'y'); UPDATE `t` SET a = b'1' # c",
    "/*!80000 SELECT 1 */ FROM a JOIN b ON a.c=b.c; BEGIN; CALL p('x'); WITH r AS (SELECT 1) SELECT * FROM r",
];

const HTTP: &[(&str, &str)] = &[
    ("GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nConnection: close\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nto the end"),
    (
        "HEAD / HTTP/1.1\r\nForwarded: for=\"[::1]\";host=h\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    ),
    (
        "POST http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("CONNECT h:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01"),
    (
        "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n",
    ),
];

/// As nginx and PHP send them: a begin record, variables with padding, the end of a body; a response and its end.
const FASTCGI: &[(&[u8], &[u8])] = &[
    (
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0\x01\x04\0\x01\0\x24\x04\0\x0e\x03REQUEST_METHODGET\x0b\x04REQUEST_URI/a?b\0\0\0\0\
          \x01\x04\0\x01\0\0\0\0\x01\x05\0\x01\0\0\0\0",
        b"\x01\x06\0\x01\0\x14\x04\0Status: 404 No\r\n\r\nno\0\0\0\0\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
    ),
    (
        b"\x01\x09\0\0\0\x10\0\0\x0e\0FCGI_MAX_CONNS\x01\x01\x02\x01\0\x08\0\0\0\x02\0\0\0\0\0\0\x01\x04\x02\x01\0\0\0\0",
        b"\x01\x0b\0\0\0\x08\0\0\x09\0\0\0\0\0\0\0\x01\x07\x02\x01\0\x03\0\0bad\x01\x03\x02\x01\0\x08\0\0\0\0\0\x01\x02\0\0\0",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let out = arguments.next().ok_or("seeds OUT [DATA]")?;
    let mut seeds = Seeds { out, written: 0 };
    for (text, targets) in [(CONTEXTS, &["context"][..]), (STATEMENTS, &["sql"])] {
        for text in text {
            seeds.write(targets, text.as_bytes())?;
        }
    }
    let example = RECORDING.split("```jsonl\n").nth(1).and_then(|rest| rest.split("```").next());
    seeds.write(&["recording"], example.ok_or("docs/recording.md has no example")?.as_bytes())?;
    for (request, response) in HTTP {
        seeds.conversation(&[(Role::Client, request.as_bytes()), (Role::Server, response.as_bytes())])?;
        seeds.write(&["captures"], &capture(request.as_bytes(), response.as_bytes())?)?;
    }
    for (request, response) in FASTCGI {
        seeds.conversation(&[(Role::Client, request), (Role::Server, response)])?;
        seeds.write(&["captures"], &capture(request, response)?)?;
    }
    if let Some(data) = arguments.next() {
        for path in files(&data.join("pcap"), "pcap")? {
            let pcap = fs::read(path)?;
            seeds.write(&["captures"], &pcap[..pcap.len().min(LONGEST)])?; // the packet that is cut is left out
            for calls in connections(pcap)? {
                let calls: Vec<_> = calls.iter().map(|(from, bytes)| (*from, bytes.as_slice())).collect();
                seeds.conversation(&calls)?;
            }
        }
        for path in files(&data.join("sql"), "json")? {
            let cases: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(path)?)?;
            for query in cases.iter().filter_map(|case| case["input"]["query"].as_str()) {
                seeds.write(&["sql"], query.as_bytes())?;
            }
        }
    }
    println!("{} first inputs", seeds.written);
    Ok(())
}

struct Seeds {
    out: PathBuf,
    written: usize,
}

impl Seeds {
    fn write(&mut self, targets: &[&str], bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        for target in targets {
            let folder = self.out.join(target);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("seed-{}", self.written)), bytes)?;
            self.written += 1;
        }
        Ok(())
    }

    /// Every parser gets it, whatever protocol it is.
    fn conversation(&mut self, calls: &[(Role, &[u8])]) -> Result<(), Box<dyn Error>> {
        let steps = calls.iter().map(|&(from, head)| Step::Call { from, head, missing: 0, tail: &[] });
        let mut conversation = Conversation { own: Role::Client, from_start: true, piece: 3, steps: Vec::new() };
        for step in steps {
            conversation.steps.push(step);
            let bytes = conversation.to_bytes();
            if bytes.len() > LONGEST {
                self.write(&["http1", "fastcgi", "postgres", "mysql"], &bytes)?;
                conversation = Conversation { from_start: false, steps: Vec::new(), ..conversation };
            }
        }
        self.write(&["http1", "fastcgi", "postgres", "mysql"], &conversation.to_bytes())
    }
}

/// The files below a folder whose names end so.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|other| other == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Who sent what, in order.
type Calls = Vec<(Role, Vec<u8>)>;

/// What was sent on each TCP connection of a capture.
fn connections(pcap: Vec<u8>) -> Result<Vec<Calls>, Box<dyn Error>> {
    let mut reader = Reader::new("a capture".to_owned(), pcap, io::empty())?;
    let mut connections = Vec::new();
    // Of the two ends the client's is told first.
    let mut ends: HashMap<[Address; 2], usize> = HashMap::new();
    let mut sockets = HashMap::new();
    while let Some(event) = reader.next_event()? {
        match event {
            Event::Socket(Socket { id, local, peer, .. }) => match ends.remove(&[peer.clone(), local.clone()]) {
                Some(connection) => _ = sockets.insert(id, (connection, Role::Server)),
                None => {
                    sockets.insert(id, (connections.len(), Role::Client));
                    ends.insert([local, peer], connections.len());
                    connections.push(Calls::new());
                }
            },
            Event::Data(Data { socket, direction: Direction::Write, head, .. }) => {
                let (connection, from) = sockets[&socket];
                connections[connection].push((from, head.to_vec()));
            }
            _ => {}
        }
    }
    Ok(connections)
}

/// A capture of one connection, from its first packet to its last.
fn capture(request: &[u8], response: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    // The magic number of nanoseconds, version 2.4, two unused fields, the longest packet, and packets that begin with IP's header.
    let header = [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 101];
    let mut file: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    let (mut client, mut server) = (u32::MAX - 9, 100);
    for (time, (from, flag, payload)) in (0_u32..).zip([
        (Role::Client, "syn", &b""[..]),
        (Role::Server, "syn", b""),
        (Role::Client, "", request),
        (Role::Server, "", response),
        (Role::Server, "fin", b""),
        (Role::Client, "fin", b""),
    ]) {
        let (ports, next, seen) = match from {
            Role::Client => ((40_000, 80), &mut client, server),
            Role::Server => ((80, 40_000), &mut server, client),
        };
        let mut tcp = PacketBuilder::ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64).tcp(ports.0, ports.1, *next, 1000);
        match flag {
            "syn" => tcp = tcp.syn(),
            "fin" => tcp = tcp.fin(),
            _ => {}
        }
        if time > 0 {
            tcp = tcp.ack(seen);
        }
        *next = next.wrapping_add(u32::from(!flag.is_empty()) + payload.len() as u32);
        let length = tcp.size(payload.len()) as u32;
        file.extend([1000, time, length, length].into_iter().flat_map(u32::to_le_bytes));
        tcp.write(&mut file, payload)?;
    }
    Ok(file)
}
