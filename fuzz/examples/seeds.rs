//! Writes the first inputs of the fuzz targets: `seeds OUT [DATA]`. DATA is a folder with `pcap/**/*.pcap` (Ethernet, IPv4) and
//! `sql/*.json` (OpenTelemetry's cases); without it only what is written here is made.

#![allow(clippy::indexing_slicing, reason = "a developer's tool: a broken file ends it")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use syspan::protocols::Role;
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
    }
    if let Some(data) = arguments.next() {
        for path in files(&data.join("pcap"), "pcap")? {
            for calls in connections(&fs::read(path)?) {
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
                self.write(&["http1", "postgres", "mysql"], &bytes)?;
                conversation = Conversation { from_start: false, steps: Vec::new(), ..conversation };
            }
        }
        self.write(&["http1", "postgres", "mysql"], &conversation.to_bytes())
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

/// What was sent on each TCP connection of a capture in the order of its packets: good enough for a first input.
fn connections(pcap: &[u8]) -> Vec<Calls> {
    let mut connections: BTreeMap<[Vec<u8>; 2], Calls> = BTreeMap::new();
    let mut rest = pcap.get(24..).unwrap_or_default(); // the file's header
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some((packet, next)) = after.split_at_checked(length) else { break };
        rest = next;
        let Some((source, target, payload)) = segment(packet) else { continue };
        // The lower port is the server's.
        let (from, key) =
            if source[4..] > target[4..] { (Role::Client, [source, target]) } else { (Role::Server, [target, source]) };
        if !payload.is_empty() {
            connections.entry(key).or_default().push((from, payload.to_vec()));
        }
    }
    connections.into_values().collect()
}

/// Both ends (address, port) and the payload of a TCP segment over IPv4 over Ethernet.
fn segment(packet: &[u8]) -> Option<(Vec<u8>, Vec<u8>, &[u8])> {
    let ip = packet.get(14..).filter(|ip| packet[12..14] == [8, 0] && ip.len() >= 20 && ip[9] == 6)?;
    let ip = ip.get(..usize::from(u16::from_be_bytes([ip[2], ip[3]])))?;
    let tcp = ip.get(usize::from(ip[0] & 15) * 4..).filter(|tcp| tcp.len() >= 20)?;
    let payload = tcp.get(usize::from(tcp[12] >> 4) * 4..)?;
    Some(([&ip[12..16], &tcp[..2]].concat(), [&ip[16..20], &tcp[2..4]].concat(), payload))
}
