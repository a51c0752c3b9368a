#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

mod captured;
mod losses;
mod recognised;
mod statements;

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    event::{Address, Data, Direction, End, Origin, Socket, Task, Time},
    protocols::{Exchange, Options, Signal, Signals},
    streams::{Connection, Loss},
    traces::span::Value,
};

const TASK: Task = Task::thread(1, 1, 0);

/// A connection of an observed client, with the real stream before the parser.
struct Wire {
    connection: Connection,
    positions: [u32; 2],
    time: Time,
    /// Each write and read is cut into pieces of this many bytes.
    piece: usize,
    options: Options,
    signals: Signals,
}

impl Wire {
    fn older(origin: Origin) -> Self {
        let socket = Socket {
            id: 1,
            time: 0,
            task: TASK,
            local: Address::Inet([127, 0, 0, 1].into(), 40000),
            peer: Address::Inet([127, 0, 0, 1].into(), 5432),
            netns: 1,
            origin,
            positions: None,
        };
        let options = Options { returned_rows: true, ..Options::default() };
        Self {
            connection: Connection::new(socket),
            positions: [0; 2],
            time: 0,
            piece: usize::MAX,
            options,
            signals: Vec::new(),
        }
    }

    fn new() -> Self {
        Self::older(Origin::Connected)
    }

    /// After start-up, signals forgotten.
    fn started() -> Self {
        let mut wire = Self::new();
        wire.startup();
        wire.signals.clear();
        wire
    }

    fn startup(&mut self) {
        self.client(&startup(&[("user", "ada"), ("database", "shop")]));
        self.server(&[message(b'R', &[0, 0, 0, 0]), message(b'K', &[0; 8]), ready()].concat());
    }

    fn moved(&mut self, direction: Direction, bytes: &[u8], head: usize, tail: usize) {
        let position = &mut self.positions[usize::from(direction == Direction::Write)];
        let data = Data {
            socket: 1,
            task: TASK,
            direction,
            time: self.time,
            position: *position,
            length: bytes.len() as u64,
            head: Bytes::copy_from_slice(&bytes[..head]),
            tail: Bytes::copy_from_slice(&bytes[bytes.len() - tail..]),
        };
        *position = position.wrapping_add(bytes.len() as u32);
        self.connection.data(&data, &self.options, &mut self.signals);
    }

    fn send(&mut self, direction: Direction, bytes: &[u8]) {
        self.time += 10;
        for piece in bytes.chunks(self.piece) {
            self.moved(direction, piece, piece.len(), 0);
        }
    }

    fn client(&mut self, bytes: &[u8]) {
        self.send(Direction::Write, bytes);
    }

    fn server(&mut self, bytes: &[u8]) {
        self.send(Direction::Read, bytes);
    }

    /// A call of which only so much of the beginning and the last 64 bytes were captured.
    fn cut(&mut self, direction: Direction, bytes: &[u8], head: usize) {
        self.time += 10;
        let tail = (bytes.len() - head).min(64);
        self.moved(direction, bytes, head, tail);
    }

    fn close(&mut self, end: End) {
        self.time += 10;
        self.connection.end(end, self.time, &mut self.signals);
    }

    /// What was said since last asked, one line each.
    fn said(&mut self) -> Vec<String> {
        self.signals.drain(..).map(|signal| shown(&signal)).collect()
    }

    /// The exchanges that were closed since last asked.
    fn exchanges(&mut self) -> Vec<Exchange> {
        let closed = |signal| if let Signal::Closed(_, exchange) = signal { Some(*exchange) } else { None };
        self.signals.drain(..).filter_map(closed).collect()
    }

    /// Their names, with the SQLSTATE if there is one.
    fn names(&mut self) -> Vec<String> {
        let name = |exchange: Exchange| match attribute(&exchange, "error.type") {
            Some(error) => format!("{} {error}", exchange.name),
            None => exchange.name.to_string(),
        };
        self.exchanges().into_iter().map(name).collect()
    }
}

fn shown(signal: &Signal) -> String {
    match signal {
        Signal::Opened { exchange, start, .. } => format!("opened {exchange} at {start}"),
        Signal::Requested(exchange) => format!("requested {exchange}"),
        Signal::Closed(exchange, done) => {
            let mut line = format!("closed {exchange} {}..{} {}", done.start, done.end, done.name);
            for key in ["db.response.returned_rows", "db.response.status_code", "error.type"] {
                if let Some(value) = attribute(done, key) {
                    write!(line, ", {value}").unwrap();
                }
            }
            line
        }
        other => format!("{other:?}"),
    }
}

fn attribute(exchange: &Exchange, key: &str) -> Option<String> {
    exchange.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Strings(texts) => texts.join(","),
    })
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [text.as_bytes(), &[0]].concat()).collect()
}

fn startup(settings: &[(&str, &str)]) -> Vec<u8> {
    let settings: Vec<u8> = settings.iter().flat_map(|(name, value)| texts(&[name, value])).collect();
    let body = [&[0, 3, 0, 0][..], &settings, &[0]].concat();
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &texts(&[sql]))
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[texts(&[name, sql]), vec![0, 0]].concat())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', &[texts(&[portal, statement]), vec![0; 6]].concat())
}

fn describe(what: u8, name: &str) -> Vec<u8> {
    message(b'D', &[vec![what], texts(&[name])].concat())
}

fn execute(portal: &str, limit: u32) -> Vec<u8> {
    message(b'E', &[texts(&[portal]), limit.to_be_bytes().to_vec()].concat())
}

fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Parse, Bind, Execute, unnamed.
fn whole(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("", 0)].concat()
}

/// What a server answers to that.
fn whole_answer(tag: &str) -> Vec<u8> {
    [message(b'1', &[]), message(b'2', &[]), complete(tag)].concat()
}

fn row(bytes: usize) -> Vec<u8> {
    let value = vec![b'x'; bytes];
    message(b'D', &[&[0, 1][..], &(bytes as u32).to_be_bytes(), &value].concat())
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &texts(&[tag]))
}

fn error(code: &str) -> Vec<u8> {
    failure("ERROR", code)
}

fn failure(severity: &str, code: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{code}\0Mvalue 'SECRET' is wrong\0\0");
    message(b'E', fields.as_bytes())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// A conversation with a bit of everything.
fn everything(wire: &mut Wire) {
    wire.startup();
    wire.client(&query("SELECT 1 FROM a; UPDATE b SET c = 'x'; SELECT 2 FROM never"));
    wire.server(&[row(3), complete("SELECT 1"), error("42P01"), ready()].concat());
    wire.client(&[parse("s", "SELECT $1 FROM d"), describe(b'S', "s"), sync()].concat());
    wire.server(&[message(b'1', &[]), message(b't', &[0, 0]), message(b'n', &[]), ready()].concat());
    wire.client(&[bind("", "s"), execute("", 1), message(b'H', &[])].concat());
    wire.server(&[message(b'2', &[]), row(9), message(b's', &[])].concat());
    wire.client(&[execute("", 0), sync()].concat());
    wire.server(&[message(b'N', &texts(&["Mx"])), row(9), complete("SELECT 1"), ready()].concat());
    wire.client(&query("COPY t FROM STDIN"));
    wire.server(&message(b'G', &[0, 0, 0]));
    wire.client(&[message(b'd', &[b'S'; 300]), message(b'c', &[])].concat());
    wire.server(&[complete("COPY 7"), ready()].concat());
    wire.client(
        &[whole("SELECT 1 FROM e"), whole("BROKEN"), whole("SELECT 3"), sync(), whole("SELECT 4"), sync()].concat(),
    );
    wire.server(&[whole_answer("SELECT 1"), error("42601"), ready(), whole_answer("SELECT 0"), ready()].concat());
    wire.client(&message(b'X', &[]));
    wire.close(End::Closed);
}

#[test]
fn any_split_says_the_same() {
    let run = |piece| {
        let mut wire = Wire::new();
        wire.piece = piece;
        everything(&mut wire);
        wire.said()
    };
    let whole = run(usize::MAX);
    assert_eq!(
        whole,
        [
            "Ready",
            "opened 0 at 30",
            "requested 0",
            "closed 0 30..40 SELECT a, 1",
            "opened 1 at 40",
            "requested 1",
            "closed 1 40..40 UPDATE b, 42P01, 42P01",
            "opened 2 at 70",
            "requested 2",
            "closed 2 70..80 SELECT d",
            "opened 3 at 90",
            "requested 3",
            "closed 3 90..100 SELECT d, 1",
            "opened 4 at 110",
            "requested 4",
            "closed 4 110..140 COPY t, 7",
            "opened 5 at 150",
            "requested 5",
            "opened 6 at 150",
            "requested 6",
            "opened 7 at 150",
            "requested 7",
            "opened 8 at 150",
            "requested 8",
            "closed 5 150..160 SELECT e, 1",
            "closed 6 150..160 shop, 42601, 42601",
            "Dropped(7)",
            "closed 8 150..160 SELECT, 0",
        ]
    );
    for piece in 1..40 {
        assert_eq!(run(piece), whole, "pieces of {piece} bytes");
    }
}

/// Every exchange that was opened is closed or dropped, once.
fn consistent(signals: &[Signal]) -> bool {
    let mut open = std::collections::BTreeSet::new();
    signals.iter().all(|signal| match signal {
        Signal::Opened { exchange, .. } => open.insert(*exchange),
        Signal::Requested(exchange) => open.contains(exchange),
        Signal::Closed(exchange, _) | Signal::Dropped(exchange) => open.remove(exchange),
        _ => true,
    }) && open.is_empty()
}

/// What either side may send, sensible or not.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let messages = prop::sample::select(vec![
        query("SELECT 1; SELECT 2"),
        parse("s", "SELECT $1"),
        parse("", "INSERT INTO t VALUES ('x')"),
        bind("", "s"),
        bind("", ""),
        execute("", 0),
        describe(b'P', ""),
        sync(),
        message(b'H', &[]),
        message(b'c', &[]),
        message(b'X', &[]),
        message(b'1', &[]),
        message(b'2', &[]),
        message(b'n', &[]),
        message(b's', &[]),
        message(b'G', &[0, 0, 0]),
        complete("SELECT 1"),
        error("42601"),
        failure("FATAL", "57P01"),
        ready(),
        ready(),
        row(80),
    ]);
    let noise = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![8 => messages, 1 => noise], 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn hostile_bytes_neither_panic_nor_leave_anything_open(
        older in any::<bool>(),
        calls in prop::collection::vec((any::<bool>(), anything(), prop::option::weighted(0.2, 0_usize..90)), 0..30),
    ) {
        let mut wire = Wire::older(if older { Origin::Unknown } else { Origin::Connected });
        if !older {
            wire.startup();
        }
        for (write, bytes, cut) in calls {
            let direction = if write { Direction::Write } else { Direction::Read };
            match cut {
                Some(head) if head < bytes.len() => wire.cut(direction, &bytes, head),
                _ => wire.send(direction, &bytes),
            }
        }
        wire.close(End::Closed);
        prop_assert!(consistent(&wire.signals), "{:?}", wire.said());
        let leaked = wire.said().iter().any(|line| line.contains("SECRET"));
        prop_assert!(!leaked);
    }
}
