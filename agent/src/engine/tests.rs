//! Whole scenarios through the engine: a little world of processes, threads and sockets writes the events.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

mod accounts;
mod bounds;
mod calls;
mod connections;
mod contexts;
mod coroutines;
mod event_loops;
mod headers;
mod inference;
mod instrumented;
mod losses;
mod proxies;
mod simulation;
mod tokio_tasks;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::*;
use crate::{
    accounts::Requests,
    event::{Address, Ancestor, Coroutine, Limits},
    processes::{Process, Runtime},
    traces::span::{Kind, Value},
};

/// A thread: process id and thread id.
type Thread = (Pid, u32);

/// Nanoseconds between two events.
const STEP: Time = 1000;

/// What happened on a host, written down as it happens.
pub(crate) struct World {
    pub(crate) events: Vec<Event>,
    pub(crate) time: Time,
    turns: HashMap<Thread, u32>,
    coroutines: HashMap<Thread, Coroutine>,
    /// Position of the next byte of a socket's direction.
    positions: HashMap<(SocketId, Direction), u32>,
    sockets: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let start =
            Event::Start { version: 1, wall_offset: 1_000_000_000_000, seed: "07".repeat(32), limits: Limits::DEFAULT };
        Self {
            events: vec![start],
            time: 1_000_000,
            turns: HashMap::new(),
            coroutines: HashMap::new(),
            positions: HashMap::new(),
            sockets: 0,
        }
    }

    pub(crate) fn process(&mut self, pid: Pid, name: &str, runtime: Runtime) {
        let resource = vec![("service.name".to_owned(), name.to_owned())];
        self.events.push(Event::Process(Arc::new(Process { pid, started: 0, runtime, resource })));
    }

    pub(crate) fn task(&self, (pid, tid): Thread) -> Task {
        let task = Task::thread(pid, tid, self.turns.get(&(pid, tid)).copied().unwrap_or(0));
        Task { coroutine: self.coroutines.get(&(pid, tid)).copied(), ..task }
    }

    /// The thread runs this coroutine from now on.
    fn runs(&mut self, thread: Thread, coroutine: Coroutine) {
        self.coroutines.insert(thread, coroutine);
    }

    /// The coroutine that the thread runs is seen for the first time: when it began, and in which others.
    fn began(&mut self, thread: Thread, time: Time, ancestors: Vec<Ancestor>) {
        let task = self.task(thread);
        self.events.push(Event::Coroutine { time, task, ancestors });
    }

    /// The thread waits for several files.
    fn wait(&mut self, thread: Thread) {
        *self.turns.entry(thread).or_default() += 1;
    }

    fn tick(&mut self) -> Time {
        self.time += STEP;
        self.time
    }

    /// An end of a TCP connection whose other end is another host's.
    fn tcp(&mut self, thread: Thread, origin: Origin, local: u16, peer: u16) -> SocketId {
        let other = if local == 80 { [10, 0, 0, 2] } else { [10, 0, 0, 3] };
        self.socket(thread, origin, Address::Inet([10, 0, 0, 1].into(), local), Address::Inet(other.into(), peer))
    }

    fn socket(&mut self, thread: Thread, origin: Origin, local: Address, peer: Address) -> SocketId {
        self.sockets += 1;
        let id = self.sockets;
        self.announce(id, thread, origin, local, peer);
        id
    }

    fn announce(&mut self, id: SocketId, thread: Thread, origin: Origin, local: Address, peer: Address) {
        let (task, time) = (self.task(thread), self.tick());
        // Sequence numbers begin anywhere, some shortly before they wrap.
        self.positions.insert((id, Direction::Read), (u32::MAX - 100).wrapping_add(7 * id as u32));
        self.positions.insert((id, Direction::Write), 0x7fff_fff0u32.wrapping_mul(id as u32));
        self.events.push(Event::Socket(Socket { id, time, task, local, peer, netns: 1, origin, positions: None }));
    }

    /// An accepted connection to port 80.
    fn accept(&mut self, thread: Thread) -> SocketId {
        let port = 20_000 + self.sockets as u16;
        self.tcp(thread, Origin::Accepted, 80, port)
    }

    /// A new connection to another host's port.
    fn connect(&mut self, thread: Thread, port: u16) -> SocketId {
        let own = 20_000 + self.sockets as u16;
        self.tcp(thread, Origin::Connected, own, port)
    }

    /// Both ends of a loopback connection: (client's, server's).
    fn loopback(&mut self, client: Thread, server: Thread, origins: (Origin, Origin)) -> (SocketId, SocketId) {
        let own = Address::Inet([127, 0, 0, 1].into(), 30_000 + self.sockets as u16);
        let service = Address::Inet([127, 0, 0, 1].into(), 8080);
        let near = self.socket(client, origins.0, own.clone(), service.clone());
        let far = self.socket(server, origins.1, service, own);
        for (read, write) in [(near, far), (far, near)] {
            let position = self.positions[&(write, Direction::Write)];
            self.positions.insert((read, Direction::Read), position);
        }
        (near, far)
    }

    /// Both ends of a Unix connection, whose positions count from what was first seen.
    fn unix(&mut self, client: Thread, server: Thread) -> (SocketId, SocketId) {
        let (one, two) = (900 + self.sockets, 700 + self.sockets);
        let path = Some("/run/app.sock".to_owned());
        let near = self.socket(client, Origin::Connected, Address::Unix(one, None), Address::Unix(two, path.clone()));
        let far = self.socket(server, Origin::Accepted, Address::Unix(two, path), Address::Unix(one, None));
        (near, far)
    }

    pub(crate) fn moved(&mut self, thread: Thread, socket: SocketId, direction: Direction, bytes: &[u8]) {
        let (task, time) = (self.task(thread), self.tick());
        let position = self.positions.get_mut(&(socket, direction)).unwrap();
        let data = Data {
            socket,
            task,
            direction,
            time,
            position: *position,
            length: bytes.len() as u64,
            head: Bytes::copy_from_slice(bytes),
            tail: Bytes::new(),
        };
        *position = position.wrapping_add(bytes.len() as u32);
        self.events.push(Event::Data(data));
    }

    fn read(&mut self, thread: Thread, socket: SocketId, bytes: impl AsRef<[u8]>) {
        self.moved(thread, socket, Direction::Read, bytes.as_ref());
    }

    fn write(&mut self, thread: Thread, socket: SocketId, bytes: impl AsRef<[u8]>) {
        self.moved(thread, socket, Direction::Write, bytes.as_ref());
    }

    /// The next bytes of a direction are moved, and nobody sees it.
    fn unseen(&mut self, socket: SocketId, direction: Direction, length: u32) {
        let position = self.positions.get_mut(&(socket, direction)).unwrap();
        *position = position.wrapping_add(length);
    }

    /// The server's thread receives a request.
    fn request(&mut self, thread: Thread, socket: SocketId, path: &str) {
        self.read(thread, socket, get(path));
    }

    /// The server's thread answers.
    fn answer(&mut self, thread: Thread, socket: SocketId) {
        self.write(thread, socket, OK);
    }

    /// The client's thread sends a request.
    fn call(&mut self, thread: Thread, socket: SocketId, path: &str) {
        self.write(thread, socket, get(path));
    }

    /// The client's thread receives the response.
    fn result(&mut self, thread: Thread, socket: SocketId) {
        self.read(thread, socket, OK);
    }

    /// A call and its response, by a thread that waits for nothing else.
    fn blocking_call(&mut self, thread: Thread, socket: SocketId, path: &str) {
        self.call(thread, socket, path);
        self.result(thread, socket);
    }

    fn end(&mut self, thread: Thread, socket: SocketId, end: End) {
        let (task, time) = (self.task(thread), self.tick());
        self.events.push(Event::End { socket, task, time, end, positions: None });
    }

    /// The same, and the kernel tells how far both directions came.
    fn end_at(&mut self, thread: Thread, socket: SocketId, end: End) {
        self.end(thread, socket, end);
        let reached = [Direction::Read, Direction::Write].map(|direction| self.positions[&(socket, direction)]);
        if let Some(Event::End { positions, .. }) = self.events.last_mut() {
            *positions = Some(reached);
        }
    }

    fn exit(&mut self, pid: Pid) {
        let time = self.tick();
        self.events.push(Event::Exit { time, pid });
    }

    fn run(&self) -> Run {
        self.run_with(Evidence::Handoff)
    }

    pub(crate) fn run_with(&self, weakest: Evidence) -> Run {
        let mut engine = Engine::new(Options::default(), weakest);
        let mut output = Output::default();
        for event in &self.events {
            engine.step(event.clone(), &mut output);
        }
        engine.finish(&mut output);
        Run { spans: output.spans, advice: output.advice, engine }
    }
}

/// What the engine made of a world.
pub(crate) struct Run {
    pub(crate) spans: Vec<Span>,
    advice: Vec<Advice>,
    engine: Engine,
}

impl Run {
    /// The span of this kind whose URL ends so.
    fn span(&self, kind: Kind, path: &str) -> &Span {
        let key = if kind == Kind::Server { "url.path" } else { "url.full" };
        let mut found = self
            .spans
            .iter()
            .filter(|span| span.kind == kind && span.string(key).is_some_and(|url| url == path || url.ends_with(path)));
        let span = found.next().unwrap_or_else(|| panic!("no {kind:?} {path} in {:#?}", self.spans));
        assert!(found.next().is_none(), "{kind:?} {path} twice");
        span
    }

    fn server(&self, path: &str) -> &Span {
        self.span(Kind::Server, path)
    }

    fn client(&self, path: &str) -> &Span {
        self.span(Kind::Client, path)
    }

    #[track_caller]
    fn assert_edge(&self, child: &Span, parent: &Span, evidence: Evidence) {
        let edge = child.parent.unwrap_or_else(|| panic!("{} has no parent", child.name));
        assert_eq!((edge.span_id, edge.evidence), (parent.span_id, evidence));
        assert_eq!(edge.remote, child.process.pid != parent.process.pid);
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(child.trace_state, parent.trace_state);
        assert_eq!(child.string("syspan.parent.evidence"), Some(evidence.as_str()));
        assert!(parent.start <= child.start, "a child begins before its parent");
    }

    #[track_caller]
    fn assert_root(&self, span: &Span) {
        assert_eq!(span.parent, None);
        assert_eq!(span.string("syspan.parent.evidence"), None);
    }

    #[track_caller]
    fn assert_no_losses(&self) {
        let losses: Vec<_> = self.engine.losses().iter().collect();
        assert_eq!(losses, []);
    }

    fn lost(&self, loss: Loss) -> u64 {
        self.engine.losses().get(loss)
    }
}

fn get(path: &str) -> Vec<u8> {
    with_headers(path, "")
}

fn with_headers(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop\r\n{headers}\r\n").into_bytes()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
