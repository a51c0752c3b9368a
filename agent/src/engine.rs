//! The pure pipeline: events in, spans out. No clock, no I/O, no global state; the same events give the same spans.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    event::{Address, Data, Direction, End, Event, Origin, Pid, Socket, SocketId, Task, Time},
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

/// How long the sockets of a process that ended may show up in another one (passed on, inherited), ns.
const GRACE: Time = 1_000_000_000;

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
    /// The connections of each process, by [`Followed::pid`].
    sockets: HashMap<Pid, BTreeSet<SocketId>>,
    /// Processes that ended a short time ago, and when.
    ended: VecDeque<(Time, Pid)>,
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
    /// By process and server.
    idle: HashMap<(Pid, Address), Idle>,
}

/// Connections of a process to one server that carry nothing now. While there are any, no call waits for one; but a pool may
/// learn only at the end of a turn what was freed in it.
#[derive(Debug, Default)]
struct Idle {
    all: u32,
    /// The latest turn in which one was freed.
    turn: Option<Task>,
    /// How many of them were.
    fresh: u32,
}

/// A connection and its open exchanges.
struct Followed {
    connection: Connection,
    /// In the order of their requests.
    open: BTreeMap<ExchangeId, NodeId>,
    /// The process that used it last: its exchanges belong to it, and it ends with it.
    pid: Pid,
    /// Who waits for it without an exchange being open.
    waiting: Waiting,
    /// Who made the last call on it that is over.
    last_caller: Option<Task>,
    /// Who read something on it last.
    last_reader: Option<Task>,
    /// The process that it is counted for as idle.
    idle_of: Option<Pid>,
}

/// Who waits for something on a client's connection that is no exchange: that it is set up, or that a message which makes no
/// span is answered (a statement is prepared). Whoever it is goes on with its work when the answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Nobody.
    Nobody,
    /// A request's task connected, and nothing was received yet. A first exchange now is that request's.
    Connecting(NodeId, Task),
    /// The same, and the peer has said something (greeting, authentication), but the connection is not ready.
    Greeting(NodeId, Task),
    /// A task wrote a message that makes no span, for a request if it is known.
    Asked(Option<NodeId>, Task),
    /// The same, and (a part of) the answer was read.
    Answered(Option<NodeId>, Task),
}

impl Waiting {
    /// The request that cannot go on before this is over.
    fn request(self) -> Option<NodeId> {
        match self {
            Waiting::Connecting(request, _) | Waiting::Greeting(request, _) => Some(request),
            Waiting::Asked(request, _) => request,
            Waiting::Nobody | Waiting::Answered(..) => None,
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
            sockets: HashMap::new(),
            ended: VecDeque::new(),
            held: 0,
            signals: Signals::new(),
            traces: Traces {
                options,
                processes: HashMap::new(),
                tracker: Tracker::new([0; 32], 0, weakest),
                losses: Losses::default(),
                idle: HashMap::new(),
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
        self.bury(Time::MAX, output);
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
        if let Some(time) = event.time() {
            self.traces.tracker.tasks().advance(time);
            self.bury(time.saturating_sub(GRACE), output);
        }
        match event {
            Event::Start { wall_offset, seed, version: _ } => {
                self.begin(seed_bytes(&seed), wall_offset, output);
            }
            Event::Process(process) => {
                if self.ended.iter().any(|&(_, pid)| pid == process.pid) {
                    self.bury(Time::MAX, output); // its number is used again
                }
                if self.traces.processes.len() < PROCESS_LIMIT || self.traces.processes.contains_key(&process.pid) {
                    self.traces.processes.insert(process.pid, process);
                } else {
                    self.traces.losses.count(Loss::Evicted);
                }
            }
            Event::Exit { pid, time } => self.exit(pid, time),
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

    /// A run begins. What another one left open (recordings were joined) is given up.
    fn begin(&mut self, seed: [u8; 32], wall_offset: i64, output: &mut Output) {
        while let Some(event) = self.order.drain() {
            self.act(event, output);
        }
        self.order = Order::default();
        while let Some((socket, followed)) = self.connections.pop_lru() {
            self.traces.drop_open(socket, followed);
        }
        self.sockets.clear();
        self.ended.clear();
        self.held = 0;
        self.traces.tracker = Tracker::new(seed, wall_offset, self.traces.tracker.weakest());
    }

    fn socket(&mut self, socket: Socket, output: &mut Output) {
        if socket.origin == Origin::Unknown
            && let Some(known) = self.connections.peek(&socket.id).map(|followed| &followed.connection.socket)
            && (&known.local, &known.peer) == (&socket.local, &socket.peer)
        {
            return; // announced again after the kernel's table dropped it
        }
        self.forget(socket.id, socket.time, output);
        self.traces.tracker.ends().opened(&socket);
        let task = socket.task;
        let setup = match (socket.origin, self.traces.runtime(task.pid)) {
            (Origin::Connected, Runtime::Threads) => self.traces.tracker.tasks().working_for(task, false),
            _ => None,
        };
        if let Some(request) = setup {
            self.traces.tracker.tasks().call_made(request);
        }
        let setup = setup.map_or(Waiting::Nobody, |request| Waiting::Connecting(request, task));
        let id = socket.id;
        let followed = Followed {
            connection: Connection::new(socket),
            open: BTreeMap::new(),
            pid: task.pid,
            waiting: setup,
            last_caller: None,
            last_reader: None,
            idle_of: None,
        };
        if self.connections.len() == self.connections.cap().get()
            && let Some((&oldest, _)) = self.connections.peek_lru()
        {
            self.traces.losses.count(Loss::Evicted);
            self.remove(oldest);
        }
        self.sockets.entry(task.pid).or_default().insert(id);
        self.connections.push(id, followed);
    }

    fn data(&mut self, data: &Data, output: &mut Output) {
        if data.length == 0 {
            if data.direction == Direction::Read {
                self.end(data.socket, data.task, data.time, End::PeerClosed, output);
            }
            return;
        }
        let Some(followed) = self.connections.get_mut(&data.socket) else { return };
        if followed.pid != data.task.pid {
            let before = std::mem::replace(&mut followed.pid, data.task.pid);
            leave(&mut self.sockets, before, data.socket);
            self.sockets.entry(data.task.pid).or_default().insert(data.socket);
        }
        let before = followed.connection.held();
        let known = followed.connection.protocol();

        self.traces.moved(followed, data);
        followed.connection.data(data, &self.traces.options, &mut self.signals);
        self.traces.apply(followed, data.task, &mut self.signals, output);
        self.traces.asked(followed, data);
        self.traces.count_idle(followed);

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

    /// A process ended. Its sockets may live on in another one, which will soon show it: they are closed after [`GRACE`].
    fn exit(&mut self, pid: Pid, time: Time) {
        self.traces.tracker.tasks().exited(pid);
        self.ended.push_back((time, pid));
    }

    /// Closes what processes that ended by `until` have left and nobody has taken over.
    fn bury(&mut self, until: Time, output: &mut Output) {
        while let Some(&(time, pid)) = self.ended.front()
            && time <= until
        {
            self.ended.pop_front();
            let task = Task { pid, tid: pid, turn: 0 };
            for socket in self.sockets.remove(&pid).unwrap_or_default() {
                self.end(socket, task, time, End::Closed, output);
            }
            self.traces.processes.remove(&pid);
        }
    }

    /// A socket's number is used again.
    fn forget(&mut self, socket: SocketId, time: Time, output: &mut Output) {
        if let Some(pid) = self.connections.peek(&socket).map(|followed| followed.pid) {
            self.end(socket, Task { pid, tid: pid, turn: 0 }, time, End::Closed, output);
        }
    }

    fn remove(&mut self, socket: SocketId) {
        if let Some(followed) = self.connections.pop(&socket) {
            leave(&mut self.sockets, followed.pid, socket);
            self.held = self.held.saturating_sub(followed.connection.held());
            self.traces.drop_open(socket, followed);
        }
    }
}

/// A process has the socket no longer.
fn leave(sockets: &mut HashMap<Pid, BTreeSet<SocketId>>, pid: Pid, socket: SocketId) {
    if let Some(own) = sockets.get_mut(&pid) {
        own.remove(&socket);
        if own.is_empty() {
            sockets.remove(&pid);
        }
    }
}

impl Traces {
    /// What a thread is about to read or write says for whom it works, before the bytes are understood.
    fn moved(&mut self, followed: &mut Followed, data: &Data) {
        let task = data.task;
        let oldest = followed.open.first_key_value().map(|(_, &node)| node);
        let newest = followed.open.last_key_value().map(|(_, &node)| node);
        let tasks = self.tracker.tasks();
        match (followed.connection.local_role(), data.direction) {
            (Some(Role::Server), Direction::Write) => {
                if let Some(request) = oldest {
                    tasks.answering(task, request);
                }
            }
            (Some(Role::Server), Direction::Read) => {
                if let Some(request) = newest {
                    tasks.request_continued(task, request);
                }
            }
            (role, Direction::Read) => match (followed.waiting, oldest) {
                (Waiting::Connecting(request, caller) | Waiting::Greeting(request, caller), _) => {
                    followed.waiting = Waiting::Greeting(request, caller);
                    tasks.response_read(task, caller, Some(request));
                }
                (_, Some(call)) => {
                    if let Some((caller, owner)) = self.tracker.caller(call) {
                        self.tracker.tasks().response_read(task, caller, owner);
                    }
                }
                (Waiting::Asked(request, caller) | Waiting::Answered(request, caller), None) => {
                    self.served(followed);
                    followed.waiting = Waiting::Answered(request, caller);
                    self.tracker.tasks().response_read(task, caller, request);
                }
                // What follows an answer (a ReadyForQuery of its own) changes nothing for a thread that waited for it.
                (Waiting::Nobody, None) if role.is_some() => match followed.last_caller {
                    Some(caller) if caller == task => {}
                    _ => tasks.unknown_read(task),
                },
                (Waiting::Nobody, None) => {}
            },
            (_, Direction::Write) => {}
        }
        if data.direction == Direction::Read {
            followed.last_reader = Some(task);
        }
    }

    /// A client has written something that opened no exchange, with none under way.
    fn asked(&mut self, followed: &mut Followed, data: &Data) {
        let quiet = matches!(followed.waiting, Waiting::Nobody | Waiting::Answered(..)) && followed.open.is_empty();
        if data.direction == Direction::Write && quiet && followed.connection.local_role() == Some(Role::Client) {
            let request = match self.runtime(data.task.pid) {
                Runtime::Threads => {
                    let freed = self.is_freed(followed, data.task);
                    self.tracker.tasks().working_for(data.task, freed)
                }
                Runtime::Go => None,
            };
            if let Some(request) = request {
                self.tracker.tasks().call_made(request);
            }
            followed.waiting = Waiting::Asked(request, data.task);
        }
    }

    /// Acts on what a parser said.
    fn apply(&mut self, followed: &mut Followed, task: Task, signals: &mut Signals, output: &mut Output) {
        let opened = signals.iter().filter(|signal| matches!(signal, Signal::Opened { .. })).count();
        for signal in signals.drain(..) {
            match signal {
                Signal::Opened { exchange, start, position, context } => {
                    let Some(role) = followed.connection.local_role() else { continue };
                    let opener = match followed.waiting {
                        // Nothing was read on it since it was connected: it was connected for this.
                        Waiting::Connecting(request, _) => Some(request),
                        _ => None,
                    };
                    // Before the exchange counts: both at once would look like two calls.
                    self.served(followed);
                    let request = Request {
                        socket: &followed.connection.socket,
                        role,
                        task,
                        start,
                        position,
                        context,
                        alone: opened == 1,
                        freed: self.is_freed(followed, task),
                        opener,
                    };
                    let node = self.tracker.opened(request, self.runtime(task.pid));
                    followed.open.insert(exchange, node);
                }
                Signal::Requested(exchange) => {
                    if let Some(&node) = followed.open.get(&exchange) {
                        self.tracker.tasks().request_received(node);
                    }
                }
                Signal::Closed(exchange, done) => {
                    let Some(node) = followed.open.remove(&exchange) else { continue };
                    followed.last_caller = self.tracker.caller(node).map(|(caller, _)| caller);
                    let process = self.process(task.pid);
                    output.spans.extend(self.tracker.closed(node, *done, &process));
                }
                Signal::Dropped(exchange) => {
                    if let Some(node) = followed.open.remove(&exchange) {
                        self.tracker.dropped(node);
                    }
                }
                Signal::Ready => self.served(followed),
                Signal::Lost(loss) | Signal::Abandon(loss) => self.losses.count(loss),
                Signal::Switched => {}
            }
        }
    }

    /// Whether a call may have waited for this connection, which was in use until something was read in this turn.
    fn is_freed(&self, followed: &Followed, task: Task) -> bool {
        if followed.last_reader != Some(task) {
            return false;
        }
        let key = (task.pid, followed.connection.socket.peer.clone());
        let fresh = |idle: &Idle| if idle.turn == Some(task) { idle.fresh } else { 0 };
        self.idle.get(&key).is_none_or(|idle| idle.all <= fresh(idle))
    }

    /// Counts the connection as idle, or no longer.
    fn count_idle(&mut self, followed: &mut Followed) {
        let idle = followed.connection.local_role() == Some(Role::Client)
            && followed.open.is_empty()
            && matches!(followed.waiting, Waiting::Nobody);
        let idle_of = idle.then_some(followed.pid);
        if idle_of == followed.idle_of {
            return;
        }
        let peer = &followed.connection.socket.peer;
        if let Some(pid) = std::mem::replace(&mut followed.idle_of, idle_of) {
            let key = (pid, peer.clone());
            if let Some(idle) = self.idle.get_mut(&key) {
                idle.all -= 1;
                idle.fresh -= u32::from(idle.turn == followed.last_reader && idle.fresh > 0);
                if idle.all == 0 {
                    self.idle.remove(&key);
                }
            }
        }
        if let Some(pid) = idle_of {
            let idle = self.idle.entry((pid, peer.clone())).or_default();
            if idle.turn != followed.last_reader {
                *idle = Idle { turn: followed.last_reader, fresh: 0, ..*idle };
            }
            idle.all += 1;
            idle.fresh += 1;
        }
    }

    /// Nobody waits any more.
    fn served(&mut self, followed: &mut Followed) {
        if let Some(request) = std::mem::replace(&mut followed.waiting, Waiting::Nobody).request() {
            self.tracker.tasks().call_done(request);
        }
    }

    /// Forgets a connection's open exchanges; they were never completed.
    fn drop_open(&mut self, socket: SocketId, mut followed: Followed) {
        self.served(&mut followed);
        self.losses.add(Loss::Incomplete, followed.open.len() as u64);
        for node in std::mem::take(&mut followed.open).into_values() {
            self.tracker.dropped(node);
        }
        followed.connection.give_up();
        self.count_idle(&mut followed);
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

#[cfg(test)]
mod tests;
