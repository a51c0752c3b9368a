//! The pure pipeline: events in, spans out. No clock, no I/O, no global state; the same events give the same spans.

mod traces;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
};

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use self::traces::{Followed, Traces, Waiting};
use crate::{
    accounts::{Accounts, Events, Requests},
    event::{Context, Data, Direction, End, Event, Origin, Pid, Socket, SocketId, Task, Time},
    protocols::{Options, Role, Signals, otlp::Covered},
    streams::{Connection, Loss, Losses, order::Order},
    traces::{
        handoffs::Futex,
        instrumented::Instrumented,
        span::{Evidence, Span, SpanId, TraceId},
        tracker::Tracker,
    },
};

/// Sockets followed at once; the least recently used is given up and counted. The kernel's table has the same size.
const SOCKET_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Bytes of unfinished messages, prepared statements and open exchanges held over all sockets. Some thousand connections with the
/// statements of a usual application fit; beyond it, those that were not used for longest are given up and counted.
pub const HELD_LIMIT: usize = 64 * 1024 * 1024;

/// How much is made free then, so that looking for it is rare.
const HELD_ROOM: usize = HELD_LIMIT / 8;

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
    /// There was no room for this socket any more: it is to be announced again when it is used again.
    Forget(SocketId),
    /// SQL is spoken here: the SQL budget applies.
    Sql(SocketId),
}

/// The engine.
pub struct Engine {
    order: Order,
    connections: LruCache<SocketId, Followed>,
    /// Sockets that there was no room for any more and that were not announced again yet.
    forgotten: LruCache<SocketId, ()>,
    /// The connections of each process, by [`Followed::pid`].
    sockets: HashMap<Pid, BTreeSet<SocketId>>,
    /// Processes that ended a short time ago, and when.
    ended: VecDeque<(Time, Pid)>,
    /// Bytes held by all connections.
    held: usize,
    /// Kept between steps so that it is allocated once.
    signals: Signals,
    traces: Traces,
    events: Events,
}

impl Engine {
    /// An engine that has seen nothing. Until [`Event::Start`], times are taken as Unix times and ids come from a zero seed.
    /// Evidence weaker than `weakest` makes no parent.
    #[must_use]
    pub fn new(options: Options, weakest: Evidence) -> Self {
        Self {
            order: Order::default(),
            connections: LruCache::new(SOCKET_LIMIT),
            forgotten: LruCache::new(SOCKET_LIMIT),
            sockets: HashMap::new(),
            ended: VecDeque::new(),
            held: 0,
            signals: Signals::new(),
            traces: Traces {
                options,
                processes: HashMap::new(),
                tracker: Tracker::new([0; 32], 0, weakest),
                losses: Losses::default(),
                requests: Requests::default(),
                instrumented: Instrumented::default(),
                idle: std::collections::HashMap::new(),
            },
            events: Events::default(),
        }
    }

    /// Takes the next event in; finished spans are added to `output`.
    pub fn step(&mut self, event: Event, output: &mut Output) {
        self.events.count(&event);
        match event.time() {
            Some(time) => self.order.push(time, event),
            None => self.act(event, output),
        }
        while let Some(event) = self.order.pop() {
            self.act(event, output);
        }
    }

    /// No more events will come: acts on those that wait. Exchanges that are still open are given up and counted.
    pub fn finish(&mut self, output: &mut Output) {
        while let Some(event) = self.order.drain() {
            self.act(event, output);
        }
        self.bury(Time::MAX, output);
        self.traces.tracker.finish(&mut output.spans);
        for (_, followed) in &mut self.connections {
            self.traces.unfinished(followed, output);
            self.traces.losses.add(Loss::UnknownProtocol, u64::from(followed.connection.is_unrecognised()));
        }
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.traces.losses
    }

    /// What was seen so far and what became of it.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        let requests = Requests { open: self.open() as u64, ..self.traces.requests };
        Accounts { events: self.events, requests, losses: self.losses().clone() }
    }

    /// Bytes that are held of all connections: unfinished messages, and what their parsers keep.
    #[must_use]
    pub fn held(&self) -> usize {
        debug_assert_eq!(
            self.held,
            self.connections.iter().map(|(_, followed)| followed.connection.held()).sum::<usize>(),
            "each connection's bytes are counted"
        );
        self.held
    }

    /// Processes that turned out to trace themselves since this was asked, and what they cover.
    pub fn instrumented(&mut self) -> Vec<(Pid, String, Covered)> {
        let name =
            |pid| self.traces.processes.get(&pid).map_or_else(String::new, |process| process.service_name().to_owned());
        self.traces.instrumented.found().into_iter().map(|(pid, covered)| (pid, name(pid), covered)).collect()
    }

    /// Exchanges open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.traces.tracker.open()
    }

    fn act(&mut self, event: Event, output: &mut Output) {
        if let Some(time) = event.time() {
            self.traces.tracker.advance(time, &mut output.spans);
            self.bury(time.saturating_sub(GRACE), output);
        }
        match event {
            Event::Start { wall_offset, seed, limits, version: _ } => {
                self.begin(seed_bytes(&seed), wall_offset, output);
                self.traces.options.head_limit = limits.head as usize;
                self.traces.options.sql_limit = limits.sql as usize;
            }
            Event::Process(process) => {
                // Its number is used again: the sockets of the one before are nobody's.
                if let Some(at) = self.ended.iter().position(|&(_, pid)| pid == process.pid)
                    && let Some((time, pid)) = self.ended.remove(at)
                {
                    self.close_all(pid, time, output);
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
            Event::End { socket, task, time, end, positions } => {
                let before = |connection: &mut Connection, signals: &mut Signals| {
                    if let Some(positions) = positions {
                        connection.reached(positions, time, signals);
                    }
                };
                self.end(socket, task, time, end, before, output);
            }
            Event::Lost { cause, count, .. } => {
                if let Some(loss) = Losses::named(&cause) {
                    self.traces.losses.add(loss, count);
                }
            }
            Event::Wake { task, woken, futex, lock, .. } => {
                self.traces.tracker.woke(task, woken, futex.map(|address| Futex { address, lock }));
            }
            Event::Thread { task, started, .. } => self.traces.tracker.thread_started(task, started),
            Event::Goroutine { task, .. } => self.traces.tracker.goroutine_appeared(task),
            Event::Coroutine { time, task, ancestors } => self.traces.tracker.coroutine_began(task, time, &ancestors),
            Event::Context(Context { socket, direction, position, trace_id, span_id, .. }) => {
                let role = if direction == Direction::Write { Role::Client } else { Role::Server };
                let span_id = span_id.map(SpanId);
                self.traces.tracker.context(socket, role, position, TraceId(trace_id), span_id);
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
            self.traces.drop_open(socket, followed, output);
        }
        self.traces.tracker.finish(&mut output.spans);
        self.sockets.clear();
        self.ended.clear();
        self.held = 0;
        self.traces.tracker = Tracker::new(seed, wall_offset, self.traces.tracker.weakest());
    }

    fn socket(&mut self, socket: Socket, output: &mut Output) {
        if socket.origin == Origin::Unknown
            && let Some(Followed { connection, .. }) = self.connections.get_mut(&socket.id)
            && (&connection.socket.local, &connection.socket.peer) == (&socket.local, &socket.peer)
        {
            connection.announced_again(); // the kernel's table had dropped it
            return;
        }
        self.forget(socket.id, socket.time, output);
        self.traces.tracker.ends().opened(&socket);
        let task = socket.task;
        let (waiting, reserved) =
            if socket.origin == Origin::Connected { self.traces.connects(&socket) } else { (Waiting::Nobody, None) };
        let id = socket.id;
        let followed = Followed {
            connection: Connection::new(socket),
            open: BTreeMap::new(),
            pid: task.pid,
            waiting,
            reserved,
            last_call: None,
            last_caller: None,
            last_reader: None,
            missed_before: self.traces.missed(),
            idle_of: None,
            exports: false,
        };
        if self.connections.len() == self.connections.cap().get()
            && let Some((&oldest, _)) = self.connections.peek_lru()
        {
            self.evict(oldest, output);
        }
        self.forgotten.pop(&id);
        self.sockets.entry(task.pid).or_default().insert(id);
        self.connections.push(id, followed);
    }

    fn data(&mut self, data: &Data, output: &mut Output) {
        if data.length == 0 {
            if data.direction == Direction::Read {
                self.end(data.socket, data.task, data.time, End::PeerClosed, |_, _| (), output);
            }
            return;
        }
        let Some(followed) = self.connections.get_mut(&data.socket) else {
            // Others were given up: what more they move is not missed.
            if self.forgotten.contains(&data.socket) {
                self.traces.losses.count(Loss::Unfollowed);
            }
            return;
        };
        if followed.pid != data.task.pid {
            let before = std::mem::replace(&mut followed.pid, data.task.pid);
            leave(&mut self.sockets, before, data.socket);
            self.sockets.entry(data.task.pid).or_default().insert(data.socket);
        }
        followed.missed_before = self.traces.missed();
        let before = followed.connection.held();
        let known = followed.connection.protocol();

        self.traces.watch_exports(followed, data);
        self.traces.moved(followed, data, output);
        followed.connection.data(data, &self.traces.options, &mut self.signals);
        self.traces.apply(followed, (data.task, Some(data.direction)), &mut self.signals, output);
        self.traces.asked(followed, data);
        self.traces.tracker.moved(data.task, data.direction);
        self.traces.count_idle(followed);

        if known.is_none() && matches!(followed.connection.protocol(), Some("postgresql" | "mysql")) {
            output.advice.push(Advice::Sql(data.socket));
        }
        self.held = (self.held + followed.connection.held()).saturating_sub(before);
        if followed.connection.is_over() {
            output.advice.push(Advice::Ignore(data.socket));
            self.remove(data.socket, output);
        }
        if self.held > HELD_LIMIT {
            self.make_room(output);
        }
    }

    /// Gives up what was not used for longest and holds anything.
    fn make_room(&mut self, output: &mut Output) {
        let mut wanted = (self.held + HELD_ROOM).saturating_sub(HELD_LIMIT);
        let mut evicted = Vec::new();
        for (&socket, Followed { connection, .. }) in self.connections.iter().rev() {
            if wanted == 0 {
                break;
            }
            if connection.held() > 0 {
                wanted = wanted.saturating_sub(connection.held());
                evicted.push(socket);
            }
        }
        for socket in evicted {
            self.evict(socket, output);
        }
    }

    /// There is no room for it any more. Should it be used again, it is announced again, and read as an older connection.
    fn evict(&mut self, socket: SocketId, output: &mut Output) {
        self.traces.losses.count(Loss::Evicted);
        output.advice.push(Advice::Forget(socket));
        self.forgotten.push(socket, ());
        self.remove(socket, output);
    }

    /// A direction, or both, ended; `first` tells the connection what is to be known before.
    fn end(
        &mut self,
        socket: SocketId,
        task: Task,
        time: Time,
        end: End,
        first: impl FnOnce(&mut Connection, &mut Signals),
        output: &mut Output,
    ) {
        let Some(followed) = self.connections.get_mut(&socket) else { return };
        let before = followed.connection.held();
        first(&mut followed.connection, &mut self.signals);
        followed.connection.end(end, time, &mut self.signals);
        self.traces.apply(followed, (task, None), &mut self.signals, output);
        self.held = (self.held + followed.connection.held()).saturating_sub(before);
        if followed.connection.is_over() {
            self.remove(socket, output);
        }
    }

    /// A process ended. Its sockets may live on in another one, which will soon show it: they are closed after [`GRACE`].
    fn exit(&mut self, pid: Pid, time: Time) {
        self.traces.tracker.exited(pid);
        self.ended.push_back((time, pid));
    }

    /// Closes what processes that ended by `until` have left and nobody has taken over.
    fn bury(&mut self, until: Time, output: &mut Output) {
        while let Some(&(time, pid)) = self.ended.front()
            && time <= until
        {
            self.ended.pop_front();
            self.close_all(pid, time, output);
        }
    }

    /// Closes what a process has left, and forgets it.
    fn close_all(&mut self, pid: Pid, time: Time, output: &mut Output) {
        let task = Task::thread(pid, pid, 0);
        for socket in self.sockets.remove(&pid).unwrap_or_default() {
            self.gone(socket, task, time, output);
        }
        self.traces.processes.remove(&pid);
        self.traces.instrumented.exited(pid);
    }

    /// A socket's number is used again.
    fn forget(&mut self, socket: SocketId, time: Time, output: &mut Output) {
        if let Some(pid) = self.connections.peek(&socket).map(|followed| followed.pid) {
            self.gone(socket, Task::thread(pid, pid, 0), time, output);
        }
    }

    /// A socket is closed, and nobody told how. If something was lost since the last that was told of it, that may have been the
    /// rest of what it carried.
    fn gone(&mut self, socket: SocketId, task: Task, time: Time, output: &mut Output) {
        let missed = self.traces.missed();
        let in_doubt = self
            .connections
            .peek(&socket)
            .is_some_and(|followed| followed.missed_before < missed && !followed.open.is_empty());
        let first = |connection: &mut Connection, signals: &mut Signals| {
            if in_doubt {
                connection.lose(time, signals);
            }
        };
        self.end(socket, task, time, End::Closed, first, output);
    }

    fn remove(&mut self, socket: SocketId, output: &mut Output) {
        if let Some(followed) = self.connections.pop(&socket) {
            leave(&mut self.sockets, followed.pid, socket);
            self.held = self.held.saturating_sub(followed.connection.held());
            self.traces.drop_open(socket, followed, output);
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
