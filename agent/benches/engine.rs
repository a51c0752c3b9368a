//! How fast the engine turns events into spans: what one thread can follow.
//!
//! The events are those of an event-loop server under a load of 16 keep-alive connections: `/hello` answers at once,
//! `/checkout` first makes two queries on connections of a pool, a plain one and one with a parameter, in the bytes
//! that Node's `pg` sends and PostgreSQL answers.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syspan::{
    engine::{Engine, Output},
    event::{Address, Data, Direction, Event, Limits, Origin, Socket, SocketId, Task, Time},
    processes::{Process, Runtime},
    protocols::Options,
    traces::span::Evidence,
};

/// The server's process and its only thread.
const PID: u32 = 4_321;

/// Connections that are busy at the same time.
const CONNECTIONS: u32 = 16;

/// Requests on each connection.
const ROUNDS: u32 = 250;

/// Between two system calls, ns: the server makes some 50 000 a second.
const STEP: Time = 20_000;

/// Writes events down.
struct Recorder {
    events: Vec<Event>,
    time: Time,
    turn: u32,
    /// By socket: next positions of the bytes read and written.
    positions: Vec<[u32; 2]>,
}

impl Recorder {
    fn new() -> Self {
        let resource = [("process.pid", "4321"), ("service.name", "orders")];
        let process = Process {
            pid: PID,
            started: 1,
            runtime: Runtime::Threads,
            resource: resource.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        let start = Event::Start {
            version: 1,
            wall_offset: 1_700_000_000_000_000_000,
            seed: "5a".repeat(32),
            limits: Limits::DEFAULT,
        };
        Self { events: vec![start, Event::Process(Arc::new(process))], time: STEP, turn: 0, positions: Vec::new() }
    }

    fn task(&self) -> Task {
        Task::thread(PID, PID, self.turn)
    }

    fn tick(&mut self) -> Time {
        self.time += STEP;
        self.time
    }

    /// A connection: accepted from a client on port 3000, or made to PostgreSQL.
    fn socket(&mut self, origin: Origin) -> SocketId {
        let id = self.positions.len() as SocketId;
        let ephemeral = 40_000 + u16::try_from(id).unwrap_or(0);
        let end = |port| Address::Inet(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let (local, peer) = if origin == Origin::Accepted { (3_000, ephemeral) } else { (ephemeral, 5_432) };
        let (time, task) = (self.tick(), self.task());
        self.positions.push([1_000; 2]);
        self.events.push(Event::Socket(Socket {
            id,
            time,
            task,
            local: end(local),
            peer: end(peer),
            netns: 1,
            origin,
            positions: None,
        }));
        id
    }

    /// One system call, in a turn of its own if it is a read: the loop has waited for it.
    fn data(&mut self, socket: SocketId, direction: Direction, bytes: &Bytes) {
        self.turn += u32::from(direction == Direction::Read);
        let (time, task, length) = (self.tick(), self.task(), bytes.len() as u64);
        let Some([read, write]) = usize::try_from(socket).ok().and_then(|index| self.positions.get_mut(index)) else {
            return;
        };
        let next = if direction == Direction::Read { read } else { write };
        let position = *next;
        *next = next.wrapping_add(u32::try_from(length).unwrap_or(0));
        let (head, tail) = (bytes.clone(), Bytes::new());
        self.events.push(Event::Data(Data { socket, task, direction, time, position, length, head, tail }));
    }

    fn read(&mut self, socket: SocketId, bytes: &Bytes) {
        self.data(socket, Direction::Read, bytes);
    }

    fn write(&mut self, socket: SocketId, bytes: &Bytes) {
        self.data(socket, Direction::Write, bytes);
    }
}

fn request(path: &str) -> Bytes {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n").into()
}

fn response(kind: &str, body: &str) -> Bytes {
    format!(
        "HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
         ETag: W/\"6-7CJgY3TcDbFVkeo0N3H4yQ\"\r\nDate: Sat, 21 Nov 2026 04:13:47 GMT\r\nConnection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn hello() -> Vec<Event> {
    let mut recorder = Recorder::new();
    let clients: Vec<SocketId> = (0..CONNECTIONS).map(|_| recorder.socket(Origin::Accepted)).collect();
    let (request, response) = (request("/hello"), response("text/html", "hello\n"));
    for _ in 0..ROUNDS {
        for &client in &clients {
            recorder.read(client, &request);
            recorder.write(client, &response);
        }
    }
    recorder.events
}

/// A message of PostgreSQL's protocol 3: type, length including itself, content.
fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).unwrap_or(u32::MAX);
    [&[kind], length.to_be_bytes().as_slice(), content].concat()
}

/// RowDescription of one text column `marker`, a row, CommandComplete, ReadyForQuery.
fn rows() -> Vec<u8> {
    let description = b"\0\x01marker\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let row = b"\0\x01\0\0\0\x0ccheckout-1-a";
    [message(b'T', description), message(b'D', row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

fn checkout() -> Vec<Event> {
    let mut recorder = Recorder::new();
    let database: Vec<SocketId> = (0..CONNECTIONS).map(|_| recorder.socket(Origin::Connected)).collect();
    let startup = b"\0\x03\0\0user\0postgres\0database\0postgres\0client_encoding\0UTF8\0\0";
    let startup: Bytes = [(startup.len() as u32 + 4).to_be_bytes().as_slice(), startup].concat().into();
    let greeting: Bytes = [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0015.14\0"),
        message(b'K', &[0, 0, 1, 2, 3, 4, 5, 6]),
        message(b'Z', b"I"),
    ]
    .concat()
    .into();
    for &connection in &database {
        recorder.write(connection, &startup);
        recorder.read(connection, &greeting);
    }
    let clients: Vec<SocketId> = (0..CONNECTIONS).map(|_| recorder.socket(Origin::Accepted)).collect();

    let request = request("/checkout?id=1");
    let plain: Bytes = message(b'Q', b"SELECT 'checkout-1-a' AS marker\0").into();
    let parameter: Bytes = [
        message(b'P', b"\0SELECT 'checkout-1-b' AS marker, $1::int AS number\0\0\0"),
        message(b'B', b"\0\0\0\0\0\x01\0\0\0\x011\0\x01\0\0"),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat()
    .into();
    let plain_answer: Bytes = rows().into();
    let parameter_answer: Bytes = [message(b'1', b""), message(b'2', b""), rows()].concat().into();
    let response = response("application/json", "{\"markers\":[\"checkout-1-a\",\"checkout-1-b\"]}");
    for _ in 0..ROUNDS {
        let pairs = || clients.iter().copied().zip(database.iter().copied());
        for (client, connection) in pairs() {
            recorder.read(client, &request);
            recorder.write(connection, &plain);
        }
        for (_, connection) in pairs() {
            recorder.read(connection, &plain_answer);
            recorder.write(connection, &parameter);
        }
        for (client, connection) in pairs() {
            recorder.read(connection, &parameter_answer);
            recorder.write(client, &response);
        }
    }
    recorder.events
}

/// Replays it and gives the number of spans.
fn replay(events: Vec<Event>) -> usize {
    let mut engine = Engine::new(Options::default(), Evidence::Task);
    let mut output = Output::default();
    let mut spans = 0;
    for event in events {
        engine.step(event, &mut output);
        spans += black_box(output.spans.drain(..)).count();
        output.advice.clear();
    }
    engine.finish(&mut output);
    spans + output.spans.len()
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    for (name, events) in [("hello", hello()), ("checkout", checkout())] {
        group.throughput(Throughput::Elements(events.len() as u64));
        // The number of spans is the parameter, for the report's time of a span.
        let spans = replay(events.clone());
        group.bench_function(BenchmarkId::new(name, spans), |bencher| {
            bencher.iter_batched(|| events.clone(), replay, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
