//! The pure pipeline: events in, spans out. No clock, no I/O, no global state; the same events give the same spans.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use crate::{
    event::{Data, Direction, End, Event, Origin, Pid, Socket, SocketId, Task, Time},
    processes::{Process, Runtime},
    protocols::{ExchangeId, Options, Role, Signal, Signals},
    streams::{Connection, Loss, Losses, order::Order},
    traces::{
        span::{Evidence, Span},
        tracker::{NodeId, Request, Tracker},
    },
};

/// Sockets followed at once; the least recently used is given up and counted. The kernel's table has the same size.
const SOCKET_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Bytes of unfinished messages held over all sockets; a socket that goes beyond it is given up and counted.
const HELD_LIMIT: usize = 64 * 1024 * 1024;

/// Processes remembered. They are dropped when they end, so only lost events let them pile up.
const PROCESS_LIMIT: usize = 65_536;

/// What a step gives.
#[derive(Debug, Default)]
pub struct Output {
    /// Finished spans.
    pub spans: Vec<Span>,
    /// What the capture should know of sockets.
    pub advice: Vec<Advice>,
}

/// What the capture may do less or more of. Following it changes costs, not results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing more can come of this socket.
    Ignore(SocketId),
    /// SQL is spoken here: the SQL budget applies.
    Sql(SocketId),
}

/// The engine.
pub struct Engine {
    order: Order,
    connections: LruCache<SocketId, Followed>,
    /// Bytes held by all connections.
    held: usize,
    /// Kept between steps so that it is allocated once.
    signals: Signals,
    traces: Traces,
}

/// What turns a connection's signals into spans: everything but the connections themselves.
struct Traces {
    options: Options,
    processes: HashMap<Pid, Arc<Process>>,
    tracker: Tracker,
    losses: Losses,
}

/// A connection and its open exchanges.
struct Followed {
    connection: Connection,
    open: HashMap<ExchangeId, NodeId>,
    /// The process that used it last: its exchanges belong to it, and it ends with it.
    pid: Pid,
    /// The connection is being set up for a request.
    setup: Setup,
}

/// Who waits for a connection to be usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setup {
    /// Nobody that is known, or it is done.
    None,
    /// A request's task connected; nothing was received yet. A first exchange now is that request's.
    Connecting(NodeId, Task),
    /// The same, and the peer has answered (greeting, authentication).
    Greeting(NodeId, Task),
}

impl Setup {
    fn opener(self) -> Option<(NodeId, Task)> {
        match self {
            Setup::None => None,
            Setup::Connecting(request, task) | Setup::Greeting(request, task) => Some((request, task)),
        }
    }
}

impl Engine {
    /// An engine that has seen nothing. Until [`Event::Start`], times are taken as Unix times and ids come from a zero seed.
    /// Evidence weaker than `weakest` makes no parent.
    #[must_use]
    pub fn new(options: Options, weakest: Evidence) -> Self {
        Self {
            order: Order::default(),
            connections: LruCache::new(SOCKET_LIMIT),
            held: 0,
            signals: Signals::new(),
            traces: Traces {
                options,
                processes: HashMap::new(),
                tracker: Tracker::new([0; 32], 0, weakest),
                losses: Losses::default(),
            },
        }
    }

    /// Takes the next event in; finished spans are added to `output`.
    pub fn step(&mut self, event: Event, output: &mut Output) {
        match event.time() {
            Some(time) => self.order.push(time, event),
            None => self.act(event, output),
        }
        while let Some(event) = self.order.pop() {
            self.act(event, output);
        }
    }

    /// No more events will come: acts on those that wait. Exchanges that are still open are counted as incomplete.
    pub fn finish(&mut self, output: &mut Output) {
        while let Some(event) = self.order.drain() {
            self.act(event, output);
        }
        self.traces.losses.add(Loss::Incomplete, self.traces.tracker.open() as u64);
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.traces.losses
    }

    /// Exchanges open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.traces.tracker.open()
    }

    fn act(&mut self, event: Event, output: &mut Output) {
        match event {
            Event::Start { wall_offset, seed, version: _ } => {
                self.traces.tracker = Tracker::new(seed_bytes(&seed), wall_offset, self.traces.tracker.weakest());
            }
            Event::Process(process) => {
                if self.traces.processes.len() < PROCESS_LIMIT || self.traces.processes.contains_key(&process.pid) {
                    self.traces.processes.insert(process.pid, process);
                } else {
                    self.traces.losses.count(Loss::Evicted);
                }
            }
            Event::Exit { pid, time } => self.exit(pid, time, output),
            Event::Socket(socket) => self.socket(socket, output),
            Event::Data(data) => self.data(&data, output),
            Event::End { socket, task, time, end } => self.end(socket, task, time, end, output),
            Event::Lost { cause, count, .. } => {
                if let Some(loss) = Losses::named(&cause) {
                    self.traces.losses.add(loss, count);
                }
            }
            Event::Tick { .. } => {}
        }
    }

    fn socket(&mut self, socket: Socket, output: &mut Output) {
        if self.connections.contains(&socket.id) && socket.origin == Origin::Unknown {
            return; // announced again after the kernel's table dropped it
        }
        self.forget(socket.id, socket.time, output);
        self.traces.tracker.ends().opened(&socket);
        let task = socket.task;
        let setup = match (socket.origin, self.traces.runtime(task.pid)) {
            (Origin::Connected, Runtime::Threads) => self.traces.tracker.tasks().working_for(task, socket.id),
            _ => None,
        };
        if let Some(request) = setup {
            self.traces.tracker.tasks().call_made(request);
        }
        let setup = setup.map_or(Setup::None, |request| Setup::Connecting(request, task));
        let id = socket.id;
        let followed = Followed { connection: Connection::new(socket), open: HashMap::new(), pid: task.pid, setup };
        if let Some((old, evicted)) = self.connections.push(id, followed)
            && old != id
        {
            self.traces.losses.count(Loss::Evicted);
            self.traces.drop_open(old, evicted);
        }
    }

    fn data(&mut self, data: &Data, output: &mut Output) {
        let Some(followed) = self.connections.get_mut(&data.socket) else { return };
        followed.pid = data.task.pid;
        let before = followed.connection.held();
        let known = followed.connection.protocol();

        self.traces.moved(followed, data);
        followed.connection.data(data, &self.traces.options, &mut self.signals);
        self.traces.apply(followed, data.task, &mut self.signals, output);

        if known.is_none() && matches!(followed.connection.protocol(), Some("postgresql" | "mysql")) {
            output.advice.push(Advice::Sql(data.socket));
        }
        self.held = (self.held + followed.connection.held()).saturating_sub(before);
        if self.held > HELD_LIMIT && followed.connection.held() > 0 {
            self.traces.losses.count(Loss::Evicted);
            self.held = self.held.saturating_sub(followed.connection.held());
            followed.connection.give_up();
        }
        if followed.connection.is_over() {
            output.advice.push(Advice::Ignore(data.socket));
            self.remove(data.socket);
        }
    }

    fn end(&mut self, socket: SocketId, task: Task, time: Time, end: End, output: &mut Output) {
        let Some(followed) = self.connections.get_mut(&socket) else { return };
        let before = followed.connection.held();
        followed.connection.end(end, time, &mut self.signals);
        self.traces.apply(followed, task, &mut self.signals, output);
        self.held = (self.held + followed.connection.held()).saturating_sub(before);
        if followed.connection.is_over() {
            self.remove(socket);
        }
    }

    fn exit(&mut self, pid: Pid, time: Time, output: &mut Output) {
        if !self.traces.processes.contains_key(&pid) {
            return; // it never used a socket
        }
        let task = Task { pid, tid: pid, turn: 0 };
        let owned: Vec<SocketId> =
            self.connections.iter().filter(|(_, followed)| followed.pid == pid).map(|(id, _)| *id).collect();
        for socket in owned {
            self.end(socket, task, time, End::Closed, output);
        }
        self.traces.tracker.tasks().exited(pid);
        self.traces.processes.remove(&pid);
    }

    /// A socket's number is used again.
    fn forget(&mut self, socket: SocketId, time: Time, output: &mut Output) {
        if let Some(pid) = self.connections.peek(&socket).map(|followed| followed.pid) {
            self.end(socket, Task { pid, tid: pid, turn: 0 }, time, End::Closed, output);
        }
    }

    fn remove(&mut self, socket: SocketId) {
        if let Some(followed) = self.connections.pop(&socket) {
            self.traces.drop_open(socket, followed);
        }
    }
}

impl Traces {
    /// What a thread is about to read or write says for whom it works, before the bytes are understood.
    fn moved(&mut self, followed: &mut Followed, data: &Data) {
        let socket = data.socket;
        match (followed.connection.local_role(), data.direction) {
            (Some(Role::Server), Direction::Write) => {
                if let Some(oldest) = followed.open.iter().min_by_key(|(id, _)| **id).map(|(_, node)| *node) {
                    self.tracker.tasks().answering(data.task, oldest);
                }
            }
            (Some(Role::Server), Direction::Read) => {
                if let Some(newest) = followed.open.iter().max_by_key(|(id, _)| **id).map(|(_, node)| *node) {
                    self.tracker.tasks().request_continued(data.task, newest);
                }
            }
            (_, Direction::Read) => {
                if let Some((request, task)) = followed.setup.opener() {
                    followed.setup = Setup::Greeting(request, task);
                    self.tracker.tasks().response_read(data.task, socket, task, Some(request));
                } else if let Some(oldest) = followed.open.iter().min_by_key(|(id, _)| **id).map(|(_, node)| *node) {
                    if let Some((caller, owner)) = self.tracker.caller(oldest) {
                        self.tracker.tasks().response_read(data.task, socket, caller, owner);
                    }
                } else if followed.connection.local_role().is_some() {
                    self.tracker.tasks().unknown_read(data.task);
                }
            }
            _ => {}
        }
    }

    /// Acts on what a parser said.
    fn apply(&mut self, followed: &mut Followed, task: Task, signals: &mut Signals, output: &mut Output) {
        let opened = signals.iter().filter(|signal| matches!(signal, Signal::Opened { .. })).count();
        for signal in signals.drain(..) {
            match signal {
                Signal::Opened { exchange, start, position, context } => {
                    let Some(role) = followed.connection.local_role() else { continue };
                    let opener = match followed.setup {
                        // Nothing was read on it since it was connected: it was connected for this.
                        Setup::Connecting(request, _) => Some(request),
                        _ => None,
                    };
                    let request = Request {
                        socket: &followed.connection.socket,
                        role,
                        task,
                        start,
                        position,
                        context,
                        alone: opened == 1,
                        opener,
                    };
                    let node = self.tracker.opened(request, self.runtime(task.pid));
                    self.set_up(followed);
                    followed.open.insert(exchange, node);
                }
                Signal::Requested(exchange) => {
                    if let Some(&node) = followed.open.get(&exchange) {
                        self.tracker.tasks().request_received(node);
                    }
                }
                Signal::Closed(exchange, done) => {
                    let Some(node) = followed.open.remove(&exchange) else { continue };
                    let process = self.process(task.pid);
                    output.spans.extend(self.tracker.closed(node, *done, &process));
                }
                Signal::Dropped(exchange) => {
                    if let Some(node) = followed.open.remove(&exchange) {
                        self.tracker.dropped(node);
                    }
                }
                Signal::Ready => self.set_up(followed),
                Signal::Lost(loss) | Signal::Abandon(loss) => self.losses.count(loss),
                Signal::Switched => {}
            }
        }
    }

    /// The connection is usable, or in use.
    fn set_up(&mut self, followed: &mut Followed) {
        if let Some((request, _)) = std::mem::replace(&mut followed.setup, Setup::None).opener() {
            self.tracker.tasks().call_done(request);
        }
    }

    /// Forgets a connection's open exchanges; they were never completed.
    fn drop_open(&mut self, socket: SocketId, mut followed: Followed) {
        self.set_up(&mut followed);
        self.losses.add(Loss::Incomplete, followed.open.len() as u64);
        for node in followed.open.into_values() {
            self.tracker.dropped(node);
        }
        self.tracker.ends().closed(socket);
    }

    fn runtime(&self, pid: Pid) -> Runtime {
        self.processes.get(&pid).map_or(Runtime::default(), |process| process.runtime)
    }

    /// Who the process is; a stranger (its event was lost, or a recording leaves it out) has only its number.
    fn process(&self, pid: Pid) -> Arc<Process> {
        self.processes.get(&pid).map_or_else(|| Arc::new(Process::unknown(pid, None)), Arc::clone)
    }
}

/// The seed's bytes; what is missing or no hexadecimal digit counts as zero.
fn seed_bytes(seed: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(seed.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    bytes
}
