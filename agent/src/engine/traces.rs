//! A connection's signals become spans: what is read and written says who works for whom, what a parser says opens and closes
//! exchanges.

use std::{collections::BTreeMap, sync::Arc};

use foldhash::HashMap;

use super::Output;
use crate::{
    accounts::Requests,
    event::{Address, Data, Direction, Pid, Socket, SocketId, Task, Turn},
    processes::{Process, Runtime},
    protocols::{
        ExchangeId, Options, Role, Signal, Signals,
        otlp::{self, Beginning},
    },
    streams::{Connection, Loss, Losses},
    traces::{
        inference::Freed,
        instrumented::Instrumented,
        lineage::Settlement,
        tracker::{NodeId, Request, Tracker},
    },
};

/// What turns a connection's signals into spans: everything but the connections themselves.
pub(super) struct Traces {
    pub(super) options: Options,
    pub(super) processes: HashMap<Pid, Arc<Process>>,
    pub(super) tracker: Tracker,
    pub(super) losses: Losses,
    /// `open` is the tracker's to know.
    pub(super) requests: Requests,
    /// Programs that trace themselves.
    pub(super) instrumented: Instrumented,
    /// By process and server.
    pub(super) idle: std::collections::HashMap<(Pid, Address), Idle>,
}

/// Connections of a process to one server that carry nothing now. While there are any, no call waits for one; but a pool may
/// learn only at the end of a turn what was freed in it.
#[derive(Debug, Default)]
pub(super) struct Idle {
    all: u32,
    /// The latest turn in which one was freed.
    turn: Option<Turn>,
    /// How many of them were.
    fresh: u32,
}

/// A connection and its open exchanges.
pub(super) struct Followed {
    pub(super) connection: Connection,
    /// In the order of their requests.
    pub(super) open: BTreeMap<ExchangeId, NodeId>,
    /// The process that used it last: its exchanges belong to it, and it ends with it.
    pub(super) pid: Pid,
    /// Who waits for it without an exchange being open.
    pub(super) waiting: Waiting,
    /// The number of the next exchange: what comes before it on this connection (it is opened, a statement is prepared) was done for
    /// the same request, whichever that is.
    pub(super) reserved: Option<NodeId>,
    /// The last call on it that was written (others that follow from the same text are opened as its results are read), and what was decided
    /// about it at once.
    pub(super) last_call: Option<(NodeId, Option<Settlement>)>,
    /// Who made the last call on it that is over.
    pub(super) last_caller: Option<Turn>,
    /// Who read something on it last.
    pub(super) last_reader: Option<Turn>,
    /// How much the ring buffer had lost when the last was told of it.
    pub(super) missed_before: u64,
    /// The process that it is counted for as idle.
    pub(super) idle_of: Option<Pid>,
    /// The request that is being sent is an export of the program's own spans.
    pub(super) exports: bool,
}

/// Who waits for something on a client's connection that is no exchange: that it is set up, or that a message which makes no
/// span is answered (a statement is prepared). Whoever it is goes on with its work when the answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Nobody.
    Nobody,
    /// A request's task connected, and nothing was received yet. A first exchange now is that request's.
    Connecting(NodeId, Turn),
    /// The same, and the peer has said something (greeting, authentication), but the connection is not ready.
    Greeting(NodeId, Turn),
    /// A task wrote a message that makes no span, for a request if it is known.
    Asked(Option<NodeId>, Turn),
    /// The same, and (a part of) the answer was read.
    Answered(Option<NodeId>, Turn),
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

impl Traces {
    /// What a strand reads or writes says for whom it works, before the bytes are understood.
    pub(super) fn moved(&mut self, followed: &mut Followed, data: &Data, output: &mut Output) {
        let task = data.task;
        let oldest = followed.open.first_key_value().map(|(_, &node)| node);
        let newest = followed.open.last_key_value().map(|(_, &node)| node);
        match (followed.connection.local_role(), data.direction) {
            (Some(Role::Server), Direction::Write) => {
                if let Some(request) = oldest {
                    self.tracker.answering(task, request, &mut output.spans);
                }
            }
            (Some(Role::Server), Direction::Read) => {
                if let Some(request) = newest {
                    self.tracker.request_continued(task, request);
                }
            }
            (role, Direction::Read) => match (followed.waiting, oldest) {
                (Waiting::Connecting(request, caller) | Waiting::Greeting(request, caller), _) => {
                    followed.waiting = Waiting::Greeting(request, caller);
                    self.tracker.other_read(task, Some((caller, Some(request))));
                }
                (_, Some(call)) => self.tracker.response_read(task, call),
                (Waiting::Asked(request, caller) | Waiting::Answered(request, caller), None) => {
                    self.served(followed);
                    if let Some(number) = followed.reserved {
                        self.tracker.reserved_answered(task, number);
                    }
                    followed.waiting = Waiting::Answered(request, caller);
                    self.tracker.other_read(task, Some((caller, request)));
                }
                // What follows an answer (a ReadyForQuery of its own) changes nothing for a strand that waited for it.
                (Waiting::Nobody, None) if role.is_some() => match followed.last_caller {
                    Some(caller) if caller == task.in_turn() => {}
                    _ => self.tracker.other_read(task, None),
                },
                (Waiting::Nobody, None) => {}
            },
            (_, Direction::Write) => {}
        }
        if data.direction == Direction::Read {
            followed.last_reader = Some(task.in_turn());
            self.tracker.tasks().read_from(task.in_turn(), data.socket);
        }
    }

    /// Looks for exports of spans in what a process sends and receives.
    pub(super) fn watch_exports(&mut self, followed: &mut Followed, data: &Data) {
        if self.options.trace_instrumented {
            return;
        }
        let protocol = followed.connection.protocol();
        if followed.connection.is_over() || !matches!(protocol, Some("http") | None) {
            return;
        }
        let (pid, sends) = (data.task.pid, data.direction == Direction::Write);
        let beginning = otlp::beginning(&data.head, protocol.is_none());
        match beginning {
            Beginning::Spans if sends => followed.exports = true,
            Beginning::Spans => self.instrumented.receives(pid),
            Beginning::Other => followed.exports = false,
            Beginning::Nothing => {}
        }
        if followed.exports && sends {
            for bytes in [&data.head, &data.tail] {
                self.instrumented.exports(pid, otlp::covered(bytes));
            }
        }
    }

    /// Whether the process makes a span of this request itself. Its exports are nobody's.
    fn is_left(&self, followed: &Followed, pid: Pid, role: Role, named: bool) -> bool {
        let protocol = followed.connection.protocol().unwrap_or_default();
        self.instrumented.covers(pid, protocol, role, named)
            || (role == Role::Client && followed.exports && self.instrumented.contains(pid))
    }

    /// A client has written something that opened no exchange, with none under way.
    pub(super) fn asked(&mut self, followed: &mut Followed, data: &Data) {
        let quiet = matches!(followed.waiting, Waiting::Nobody | Waiting::Answered(..)) && followed.open.is_empty();
        let over = followed.connection.is_over();
        if data.direction == Direction::Write
            && quiet
            && !over
            && followed.connection.local_role() == Some(Role::Client)
        {
            let freed = self.is_freed(followed, data.task);
            let request = self.working_for(data.task, freed);
            if let Some(request) = request {
                self.tracker.begun(data.task, request);
            }
            // What was asked before it was answered: it may have been another one's.
            if matches!(followed.waiting, Waiting::Answered(..))
                && let Some(number) = followed.reserved.take()
            {
                self.tracker.reserved_over(data.task.pid, number);
            }
            if request.is_none() && followed.reserved.is_none() {
                let (server, freed) = (server(followed), self.scarce(followed, data.task));
                followed.reserved =
                    self.tracker.reserve(&followed.connection.socket, server, data.task, data.time, freed);
            }
            followed.waiting = Waiting::Asked(request, data.task.in_turn());
        }
    }

    /// Acts on what a parser said when a task moved bytes in a direction, or ended one (`None`).
    pub(super) fn apply(
        &mut self,
        followed: &mut Followed,
        (task, moved): (Task, Option<Direction>),
        signals: &mut Signals,
        output: &mut Output,
    ) {
        let reads = moved == Some(Direction::Read) && followed.connection.local_role() == Some(Role::Client);
        let opened = signals.iter().filter(|signal| matches!(signal, Signal::Opened { .. })).count();
        for signal in signals.drain(..) {
            match signal {
                Signal::Opened { exchange, start, position, context, likeness } => {
                    let Some(role) = followed.connection.local_role() else { continue };
                    let opener = match followed.waiting {
                        // Nothing was read on it since it was connected: it was connected for this.
                        Waiting::Connecting(request, caller) => Some((request, caller.strand)),
                        _ => None,
                    };
                    let reserved = followed.reserved.take();
                    // Before the exchange counts: both at once would look like two calls.
                    self.served(followed);
                    let left = self.is_left(followed, task.pid, role, !context.traceparent.is_empty());
                    let is_call = role == Role::Client;
                    let request = Request {
                        left,
                        socket: &followed.connection.socket,
                        role,
                        task,
                        process: self.process(task.pid),
                        likeness,
                        start,
                        position,
                        context,
                        alone: opened == 1,
                        freed: is_call && self.is_freed(followed, task),
                        scarce: if is_call { self.scarce(followed, task) } else { None },
                        server: server(followed),
                        opener,
                        reserved,
                        follows: if reads { followed.last_call.clone() } else { None },
                    };
                    self.requests.opened += 1;
                    let runtime = self.runtime(task.pid);
                    let (node, settlement) = self.tracker.opened(request, runtime, &mut output.spans);
                    if !reads {
                        followed.last_call = Some((node, settlement));
                    }
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
                    match self.tracker.is_left(node) {
                        true => self.requests.left += 1,
                        false => self.requests.spans += 1,
                    }
                    self.tracker.closed(node, task, *done, &mut output.spans);
                }
                Signal::Dropped(exchange) => {
                    if let Some(node) = followed.open.remove(&exchange) {
                        self.requests.not_executed += 1;
                        self.tracker.dropped(node, &mut output.spans);
                    }
                }
                Signal::Incomplete(exchange) => {
                    if let Some(&node) = followed.open.get(&exchange) {
                        self.tracker.incomplete(node);
                    }
                    self.losses.count(Loss::Incomplete);
                }
                Signal::Ready => self.served(followed),
                Signal::Lost(loss) | Signal::Abandon(loss) => self.losses.count(loss),
                Signal::Switched => {}
            }
        }
    }

    /// Whether a call may have waited for this connection, which was in use until something was read in this turn.
    fn is_freed(&self, followed: &Followed, task: Task) -> bool {
        let turn = task.in_turn();
        if followed.last_reader != Some(turn) {
            return false;
        }
        let key = (task.pid, server(followed));
        let fresh = |idle: &Idle| if idle.turn == Some(turn) { idle.fresh } else { 0 };
        self.idle.get(&key).is_none_or(|idle| idle.all <= fresh(idle))
    }

    /// When the connection became free that is used now, if the process has no other idle one to its server: others may have waited for it.
    fn scarce(&mut self, followed: &Followed, task: Task) -> Option<Freed> {
        let (turn, freed) = (task.in_turn(), followed.last_reader?);
        let own = u32::from(followed.idle_of.is_some());
        let others = self.idle.get(&(task.pid, server(followed))).is_some_and(|idle| idle.all > own);
        match turn.number.wrapping_sub(freed.number) {
            _ if others || turn.strand != freed.strand || followed.last_caller.is_none() => None,
            0 if self.tracker.tasks().has_read_last(turn, followed.connection.socket.id) => Some(Freed::JustNow),
            0 => Some(Freed::ThisTurn),
            1 => Some(Freed::LastTurn),
            _ => None,
        }
    }

    /// Counts the connection as idle, or no longer.
    pub(super) fn count_idle(&mut self, followed: &mut Followed) {
        let idle = !followed.connection.is_over()
            && followed.connection.local_role() == Some(Role::Client)
            && followed.open.is_empty()
            && matches!(followed.waiting, Waiting::Nobody);
        let idle_of = idle.then_some(followed.pid);
        if idle_of == followed.idle_of {
            return;
        }
        if let Some(pid) = std::mem::replace(&mut followed.idle_of, idle_of) {
            let key = (pid, server(followed));
            if let Some(idle) = self.idle.get_mut(&key) {
                idle.all -= 1;
                idle.fresh -= u32::from(idle.turn == followed.last_reader && idle.fresh > 0);
                if idle.all == 0 {
                    self.idle.remove(&key);
                }
            }
        }
        if let Some(pid) = idle_of {
            let idle = self.idle.entry((pid, server(followed))).or_default();
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

    /// A connection's open exchanges will never be completed.
    pub(super) fn unfinished(&mut self, followed: &mut Followed, output: &mut Output) {
        self.losses.add(Loss::Unfinished, followed.open.len() as u64);
        for node in std::mem::take(&mut followed.open).into_values() {
            self.tracker.dropped(node, &mut output.spans);
        }
    }

    /// A connection is followed no longer.
    pub(super) fn drop_open(&mut self, socket: SocketId, mut followed: Followed, output: &mut Output) {
        self.served(&mut followed);
        if let Some(number) = followed.reserved.take() {
            self.tracker.unreserve(followed.pid, number);
        }
        self.unfinished(&mut followed, output);
        followed.connection.give_up();
        self.count_idle(&mut followed);
        self.tracker.ends().closed(socket);
    }

    /// How much did not fit into the ring buffer so far.
    pub(super) fn missed(&self) -> u64 {
        self.losses.get(Loss::RingFull) + self.losses.get(Loss::NoticeLost)
    }

    /// The request for which a strand works, if that is certain: goroutines change threads without any wait, so a thread of theirs shows nothing.
    pub(super) fn working_for(&mut self, task: Task, freed: bool) -> Option<NodeId> {
        if self.runtime(task.pid) == Runtime::Go && task.goroutine.is_none() {
            return None;
        }
        self.tracker.working_for(task, freed)
    }

    /// A process connects to a server: for whom, or else the number of the first call that follows.
    pub(super) fn connects(&mut self, socket: &Socket) -> (Waiting, Option<NodeId>) {
        let task = socket.task;
        if let Some(request) = self.working_for(task, false) {
            self.tracker.begun(task, request);
            return (Waiting::Connecting(request, task.in_turn()), None);
        }
        (Waiting::Nobody, self.tracker.reserve(socket, server_of(&socket.peer), task, socket.time, None))
    }

    pub(super) fn runtime(&self, pid: Pid) -> Runtime {
        self.processes.get(&pid).map_or(Runtime::default(), |process| process.runtime)
    }

    /// Who the process is; a stranger (its event was lost, or a recording leaves it out) has only its number.
    fn process(&self, pid: Pid) -> Arc<Process> {
        self.processes.get(&pid).map_or_else(|| Arc::new(Process::unknown(pid, None)), Arc::clone)
    }
}

/// What a pool's connections have in common. On a Unix socket each has its own number, and the server's path.
fn server(followed: &Followed) -> Address {
    server_of(&followed.connection.socket.peer)
}

fn server_of(peer: &Address) -> Address {
    match peer {
        Address::Unix(_, path @ Some(_)) => Address::Unix(0, path.clone()),
        peer => peer.clone(),
    }
}
