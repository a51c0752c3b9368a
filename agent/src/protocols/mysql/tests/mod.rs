#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

mod hand;
mod hostile;
mod loss;
mod recognise;
mod recorded;

use super::*;
use crate::{event::Address, traces::span::Value};

/// Plays the two directions of a connection against a parser, as the streams do.
struct Play {
    parser: MySql,
    signals: Signals,
    time: Time,
    client: Side,
    server: Side,
    last: Option<Role>,
}

#[derive(Default)]
struct Side {
    bytes: Vec<u8>,
    times: Vec<Time>,
    position: u32,
    skip: u64,
    turned: bool,
}

fn connection(from_start: bool) -> Connection {
    Connection {
        local_role: Role::Client,
        local: Address::Inet([127, 0, 0, 1].into(), 40000),
        peer: Address::Inet([127, 0, 0, 1].into(), 3306),
        from_start,
    }
}

impl Play {
    fn new(from_start: bool) -> Self {
        Self::with(from_start, &Options { returned_rows: true, ..Options::default() })
    }

    fn with(from_start: bool, options: &Options) -> Self {
        Self {
            parser: MySql::new(connection(from_start), options),
            signals: Signals::new(),
            time: 0,
            client: Side::default(),
            server: Side::default(),
            last: None,
        }
    }

    /// One system call moved these bytes. Each call is 10 ns after the one before.
    fn send(&mut self, from: Role, bytes: &[u8]) -> &mut Self {
        self.time += 10;
        self.feed(from, bytes);
        self
    }

    fn feed(&mut self, from: Role, bytes: &[u8]) {
        let turned = self.last.is_some_and(|last| last != from) || self.last.is_none();
        self.last = Some(from);
        let side = if from == Role::Client { &mut self.client } else { &mut self.server };
        if side.bytes.is_empty() {
            side.turned = turned;
        }
        side.bytes.extend_from_slice(bytes);
        side.times.resize(side.bytes.len(), self.time);
        self.run(from);
    }

    fn run(&mut self, from: Role) {
        for _ in 0..1_000_000 {
            let side = if from == Role::Client { &mut self.client } else { &mut self.server };
            if side.skip > 0 {
                let passed = side.skip.min(side.bytes.len() as u64);
                if passed == 0 {
                    return;
                }
                let time = side.times[passed as usize - 1];
                side.drop(passed as usize);
                if side.skip == FOREVER {
                    continue;
                }
                side.skip -= passed;
                if side.skip == 0 {
                    self.parser.skipped(from, time, &mut self.signals);
                }
                continue;
            }
            if side.bytes.is_empty() {
                return;
            }
            let input = Input {
                bytes: &side.bytes,
                first: side.times[0],
                last: *side.times.last().unwrap(),
                position: side.position,
                turned: side.turned,
            };
            match self.parser.read(from, input, &mut self.signals) {
                Taken::More => return,
                Taken::Bytes(count) => {
                    assert!(count > 0 && count <= side.bytes.len(), "takes {count} of {}", side.bytes.len());
                    side.drop(count);
                }
                Taken::Skip { bytes, skip } => {
                    assert!(bytes <= side.bytes.len() && skip > 0);
                    if bytes > 0 {
                        side.drop(bytes);
                    }
                    side.skip = skip;
                }
            }
        }
        panic!("the parser does not move on");
    }

    fn c(&mut self, bytes: &[u8]) -> &mut Self {
        self.send(Role::Client, bytes)
    }

    fn s(&mut self, bytes: &[u8]) -> &mut Self {
        self.send(Role::Server, bytes)
    }

    /// Bytes of one direction are missing. Those that were to be passed over do no harm.
    fn gap(&mut self, from: Role) -> &mut Self {
        self.missing(from, Missing::Part)
    }

    fn missing(&mut self, from: Role, missing: Missing) -> &mut Self {
        self.time += 10;
        let side = if from == Role::Client { &mut self.client } else { &mut self.server };
        *side = Side { position: side.position, ..Side::default() };
        self.last = Some(from);
        self.parser.lost(from, missing, self.time, &mut self.signals);
        self
    }

    fn end(&mut self, end: End) -> &mut Self {
        self.time += 10;
        self.parser.end(Role::Client, end, self.time, &mut self.signals);
        self.parser.end(Role::Server, end, self.time, &mut self.signals);
        self
    }

    /// One line for each signal, without `Requested`.
    fn story(&self) -> Vec<String> {
        story(&self.signals)
    }

    fn closed(&self) -> Vec<&super::super::Exchange> {
        let closed = self.signals.iter().filter_map(|signal| match signal {
            Signal::Closed(_, exchange) => Some(&**exchange),
            _ => None,
        });
        closed.collect()
    }

    /// An authenticated session.
    fn session() -> Self {
        let mut play = Self::new(true);
        play.s(&greeting("8.0.36", !(ZSTD | COMPRESS | SSL))).c(&answer(PLAIN, "shop")).s(&okay(2, 2));
        play
    }
}

impl Side {
    fn drop(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.times.drain(..count);
        self.position = self.position.wrapping_add(count as u32);
        self.turned = false;
    }
}

fn text(exchange: &super::super::Exchange, key: &str) -> String {
    match exchange.attributes.iter().find(|(k, _)| k == key) {
        Some((_, Value::String(value))) => value.to_string(),
        Some((_, Value::Int(value))) => value.to_string(),
        _ => "-".to_owned(),
    }
}

fn story(signals: &[Signal]) -> Vec<String> {
    let lines = signals.iter().filter_map(|signal| match signal {
        Signal::Requested(_) => None,
        Signal::Opened { exchange, start, .. } => Some(format!("open {exchange} @{start}")),
        Signal::Closed(exchange, done) => Some(format!(
            "close {exchange} @{} {} {} error={} rows={}",
            done.end,
            text(done, "db.namespace"),
            text(done, "db.query.text"),
            text(done, "error.type"),
            text(done, "db.response.returned_rows")
        )),
        other => Some(format!("{other:?}")),
    });
    lines.collect()
}

const SSL: u32 = 1 << 11;
const COMPRESS: u32 = 1 << 5;
const ZSTD: u32 = 1 << 26;
const ATTRIBUTES: u32 = 1 << 27;
const MULTI: u32 = 1 << 16;
/// Protocol 4.1, database, secure connection, plugin names, several statements, several results.
const PLAIN: u32 = 1 << 9 | 1 << 3 | 1 << 15 | 1 << 19 | MULTI | 1 << 17;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes[3] = sequence;
    bytes.extend_from_slice(payload);
    bytes
}

fn packets(sequence: u8, payloads: &[&[u8]]) -> Vec<u8> {
    (0..).zip(payloads).flat_map(|(n, payload)| packet(sequence.wrapping_add(n), payload)).collect()
}

fn greeting(version: &str, capabilities: u32) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend_from_slice(version.as_bytes());
    payload.extend_from_slice(b"\0\x08\0\0\0saltsalt\0");
    payload.extend_from_slice(&capabilities.to_le_bytes()[..2]);
    payload.extend_from_slice(&[45, 2, 0]);
    payload.extend_from_slice(&capabilities.to_le_bytes()[2..]);
    payload.extend_from_slice(b"\x15\0\0\0\0\0\0\0\0\0\0saltsaltsalt\0caching_sha2_password\0");
    packet(0, &payload)
}

fn answer(capabilities: u32, database: &str) -> Vec<u8> {
    let mut payload = capabilities.to_le_bytes().to_vec();
    payload.extend_from_slice(&[0, 0, 0, 1, 45]);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(b"app\0\x05hash!");
    payload.extend_from_slice(database.as_bytes());
    payload.extend_from_slice(b"\0caching_sha2_password\0");
    packet(1, &payload)
}

fn okay(sequence: u8, status: u16) -> Vec<u8> {
    packet(sequence, &[0, 0, 0, status.to_le_bytes()[0], status.to_le_bytes()[1], 0, 0])
}

fn error(sequence: u8, code: u16, message: &str) -> Vec<u8> {
    packet(sequence, &[&[0xFF], &code.to_le_bytes()[..], b"#42S02", message.as_bytes()].concat())
}

fn query(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

const COLUMN: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";
const EOF_MORE: &[u8] = b"\xfe\0\0\x0a\0";
const OK_EOF: &[u8] = b"\xfe\0\0\x02\0\0\0";
const OK_EOF_MORE: &[u8] = b"\xfe\0\0\x0a\0\0\0";
