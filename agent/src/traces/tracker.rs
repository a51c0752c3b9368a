//! Open exchanges and their parents; a span for each when it is done.
//!
//! A parent is decided once, from the strongest evidence there is. Most are known when the request is first seen:
//! 1. `header`: a valid `traceparent` came with the request. Not if a process that is traced here merely passed on the
//!    one it had received: then the sender's span is between, and `socket` finds it.
//! 2. `socket`: the client's end of the connection is on this host.
//! 3. `task`: the strand that sends the request works for another one, see [`super::tasks`].
//!
//! Other calls wait for what shows later, for as long as a request that could have made them is open, and not much longer:
//! 4. `task` or `handoff`: whose result it was shows when it comes back, see [`super::handoffs`], [`super::coroutines`], [`super::relays`]
//!    and [`super::rounds`].
//! 5. `inferred`: timing and order, see [`super::inference`].

use std::{borrow::Cow, num::NonZeroUsize, sync::Arc};

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use crate::{
    event::{Address, Ancestor, Direction, Pid, Socket, SocketId, Strand, Task, Time, Turn, WorksFor},
    processes::{Process, Runtime},
    protocols::{Exchange, IncomingContext, Role, likeness::Likeness},
    traces::{
        context::{self, RANDOM, RemoteContext, SAMPLED},
        coroutines::Coroutines,
        ends::Ends,
        handoffs::{Futex, Handoffs},
        ids::Ids,
        inference::{Freed, Inference},
        lineage::{self, Known, Lineages, Settlement},
        relays::Relays,
        rounds::Rounds,
        span::{Evidence, Kind, Span, SpanId, TraceId},
        tasks::Tasks,
    },
};

mod calls;
mod decisions;

use decisions::Undecided;

/// Names an open exchange within the engine.
pub type NodeId = u64;

/// The attribute of a span whose response was not seen completely: its end and what it says of the response may be missing.
pub const INCOMPLETE: &str = "syspan.incomplete";

/// Contexts that wait for their requests. A write that begins no request leaves its own behind.
const CONTEXT_LIMIT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// An open exchange.
#[derive(Debug)]
struct Node {
    pid: Pid,
    process: Arc<Process>,
    kind: Kind,
    socket: SocketId,
    /// The turn in which the request was read or written.
    turn: Turn,
    /// The request of the same process that this call was made for.
    owner: Option<NodeId>,
    /// What the request's own headers said.
    context: Option<RemoteContext>,
    /// The header that the call carries names no span between it and its owner: its owner received it, or the kernel's side inserted it.
    forwards: bool,
    /// The program makes its span itself.
    left: bool,
    /// Its response will not be seen completely.
    incomplete: bool,
}

/// A request that a parser has recognised.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its socket.
    pub socket: &'a Socket,
    /// The observed process's role.
    pub role: Role,
    /// The call that completed (the recognised part of) it.
    pub task: Task,
    /// Whose call that was. The span is this process's, whoever reads or writes the rest (a descriptor can be passed on).
    pub process: Arc<Process>,
    /// What sort of request it is.
    pub likeness: Likeness,
    /// Its first byte.
    pub start: Time,
    /// Position of its first byte.
    pub position: u32,
    /// Its trace headers.
    pub context: IncomingContext,
    /// The program makes a span of it itself.
    pub left: bool,
    /// No other request was recognised in the same call.
    pub alone: bool,
    /// The answer to the connection's latest call was read in this turn.
    pub freed: bool,
    /// When the connection became free, if it is the only idle one.
    pub scarce: Option<Freed>,
    /// What the connections of a pool have in common.
    pub server: Address,
    /// The first exchange of a connection that was set up for a request, by this strand.
    pub opener: Option<(NodeId, Strand)>,
    /// The number that was reserved for it when its connection was opened.
    pub reserved: Option<NodeId>,
    /// The call that was written with it, as the same text, and what was decided about that at once.
    pub follows: Option<(NodeId, Option<Settlement>)>,
}

/// All open exchanges.
#[derive(Debug)]
pub struct Tracker {
    nodes: HashMap<NodeId, Node>,
    /// Open requests of a process by the context they came with, which senders choose.
    received: std::collections::HashMap<(Pid, TraceId, SpanId), Vec<NodeId>>,
    next: NodeId,
    ids: Ids,
    ends: Ends,
    tasks: Tasks,
    handoffs: Handoffs,
    coroutines: Coroutines,
    relays: Relays,
    rounds: Rounds,
    inference: Inference,
    lineages: Lineages,
    /// Contexts that were told before their requests.
    contexts: LruCache<(SocketId, Role, u32), (TraceId, Option<SpanId>)>,
    undecided: Undecided,
    /// The time of the event that is acted on.
    now: Time,
    /// Nanoseconds to add to a time for Unix time.
    wall_offset: i64,
    /// Weaker evidence makes no parent.
    weakest: Evidence,
}

impl Tracker {
    /// No exchange is open.
    #[must_use]
    pub fn new(seed: [u8; 32], wall_offset: i64, weakest: Evidence) -> Self {
        Self {
            nodes: HashMap::new(),
            received: std::collections::HashMap::new(),
            next: 0,
            ids: Ids::new(seed),
            ends: Ends::default(),
            tasks: Tasks::default(),
            handoffs: Handoffs::default(),
            coroutines: Coroutines::default(),
            relays: Relays::default(),
            rounds: Rounds::default(),
            inference: Inference::default(),
            lineages: Lineages::default(),
            contexts: LruCache::new(CONTEXT_LIMIT),
            undecided: Undecided::default(),
            now: 0,
            wall_offset,
            weakest,
        }
    }

    /// The weakest evidence that makes a parent.
    #[must_use]
    pub fn weakest(&self) -> Evidence {
        self.weakest
    }

    /// The ends of connections.
    pub fn ends(&mut self) -> &mut Ends {
        &mut self.ends
    }

    /// Who works for whom.
    pub fn tasks(&mut self) -> &mut Tasks {
        &mut self.tasks
    }

    /// Open exchanges.
    #[must_use]
    pub fn open(&self) -> usize {
        self.nodes.len()
    }

    /// A request was sent or received: decides its parent, or that it is to be decided later.
    pub fn opened(
        &mut self,
        request: Request<'_>,
        runtime: Runtime,
        spans: &mut Vec<Span>,
    ) -> (NodeId, Option<Settlement>) {
        let id = request.reserved.unwrap_or_else(|| self.number());
        let context = context::extract(&request.context);
        let told = self.contexts.pop(&(request.socket.id, request.role, request.position));
        // A header that the programs inserted is the request's own, not its caller's.
        let inserted = request.role == Role::Client
            && context.as_ref().is_some_and(|context| told == Some((context.trace_id, Some(context.span_id))));
        let context = context.filter(|_| !inserted);
        let mut ids = lineage::Ids { span_id: self.ids.span(), trace_id: self.ids.trace(), is_sent: false };
        match told {
            // Within this host both ends are seen, and the call keeps the parent that is found for it, whatever trace was sent.
            Some((trace_id, Some(span_id))) if request.role == Role::Client => {
                ids = lineage::Ids { span_id, trace_id, is_sent: !request.socket.is_local() };
            }
            // What it causes was sent in this trace.
            Some((trace_id, None)) => ids.trace_id = trace_id,
            _ => {}
        }
        self.lineages.open(id, ids);
        if request.left {
            self.lineages.leave(id);
        }
        let beside = match (request.role, told) {
            (Role::Server, Some((trace_id, Some(span_id)))) => {
                Some(RemoteContext { trace_id, span_id, flags: SAMPLED | RANDOM, state: String::new() })
            }
            _ => None,
        };
        if let Some((first, settlement)) = &request.follows {
            self.nodes.insert(id, self.node(Kind::Client, &request));
            if let Some(settlement) = settlement.clone().or_else(|| self.undecided.follow(*first, id)) {
                self.lineages.settle(id, settlement, spans);
            }
            return (id, None);
        }
        let (node, settlement) = match request.role {
            Role::Server => self.serve(id, &request, context, beside),
            Role::Client => {
                let (node, settlement) = self.call(id, &request, context, runtime);
                (Node { forwards: node.forwards || inserted, ..node }, settlement)
            }
        };
        self.nodes.insert(id, node);
        if let Some(settlement) = settlement.clone() {
            self.lineages.settle(id, settlement, spans);
        } else {
            self.undecided.add(id, request.task.pid);
        }
        (id, settlement)
    }

    /// The programs in the kernel have sent or received a request's context, or begun a trace for it. `position`: of its first byte.
    pub fn context(&mut self, socket: SocketId, role: Role, position: u32, trace_id: TraceId, span_id: Option<SpanId>) {
        // Ids of zeros alone are none (W3C Trace Context §3.2.2.3, §3.2.2.4); another host may have sent them.
        let is_valid = trace_id.0 != [0; 16] && span_id.is_none_or(|span_id| span_id.0 != [0; 8]);
        if is_valid {
            self.contexts.push((socket, role, position), (trace_id, span_id));
        }
    }

    fn number(&mut self) -> NodeId {
        let number = self.next;
        self.next += 1;
        number
    }

    fn serve(
        &mut self,
        id: NodeId,
        request: &Request<'_>,
        context: Option<RemoteContext>,
        beside: Option<RemoteContext>,
    ) -> (Node, Option<Settlement>) {
        let client = self.ends.take(request.socket, request.position, request.start);
        let client = client.filter(|client| self.nodes.contains_key(client));
        let forwarded = client.and_then(|client| self.nodes.get(&client)).is_some_and(|client| client.forwards);
        let header = Known::by(Evidence::Header, true);
        let remote = incoming(context.as_ref(), beside);
        let settlement = match (remote, client) {
            (Some(remote), _) if context.is_some() && !forwarded => Settlement::Continues(remote, header),
            (_, Some(client)) if self.weakest >= Evidence::Socket => {
                Settlement::Child(client, Known::by(Evidence::Socket, true))
            }
            (Some(remote), _) => Settlement::Continues(remote, header),
            (None, Some(client)) => Settlement::Linked(client, Known::by(Evidence::Socket, true)),
            (None, None) => Settlement::Root,
        };
        if let Some(context) = &context {
            let key = (request.task.pid, context.trace_id, context.span_id);
            self.received.entry(key).or_default().push(id);
        }
        let turn = request.task.in_turn();
        self.tasks.request_read(turn, id, request.alone);
        self.handoffs.request_read(turn.strand, id, self.now, request.likeness);
        self.coroutines.request_read(request.task, id, self.now, request.likeness);
        self.relays.request_read(turn.strand, id, request.likeness);
        self.rounds.request_read(turn, id);
        self.inference.request_read(turn, id, request.start, request.likeness);
        (Node { context, ..self.node(Kind::Server, request) }, Some(settlement))
    }

    /// A strand has moved bytes, and what that says is known.
    pub fn moved(&mut self, task: Task, direction: Direction) {
        self.relays.moved(task, direction);
    }

    /// A strand has read (a part of) the response to a call.
    pub fn response_read(&mut self, task: Task, call: NodeId) {
        let Some(node) = self.nodes.get(&call) else { return };
        let turn = task.in_turn();
        if node.owner.is_some() && matches!(turn.strand, Strand::Thread(..)) && turn.strand != node.turn.strand {
            self.tasks.moved(task.pid);
        }
        self.tasks.response_read(turn, node.turn, node.owner);
        self.handoffs.call_read(turn, call, self.now);
        self.coroutines.has_read(task);
        self.coroutines.call_read(task.context(), call, self.now);
        self.relays.call_read(call);
        self.rounds.call_read(turn, call);
    }

    /// A strand has read something on a client's connection that is no response to a known call: it may go on with `work`.
    pub fn other_read(&mut self, task: Task, work: Option<(Turn, Option<NodeId>)>) {
        let turn = task.in_turn();
        match work {
            Some((caller, request)) => self.tasks.response_read(turn, caller, request),
            None => self.tasks.unknown_read(turn),
        }
        self.handoffs.other_read(turn.strand, self.now);
        self.coroutines.has_read(task);
    }

    /// A strand has read more of the newest request of a connection.
    pub fn request_continued(&mut self, task: Task, request: NodeId) {
        self.tasks.request_continued(task.in_turn(), request);
        self.handoffs.other_read(task.strand(), self.now);
        self.coroutines.has_read(task);
        if let Some(context) = task.context() {
            self.coroutines.request_continued(context, request, self.now);
        }
    }

    /// A strand writes a part of the response to a request.
    pub fn answering(&mut self, task: Task, request: NodeId, spans: &mut Vec<Span>) {
        let turn = task.in_turn();
        let first = self.tasks.answering(turn, request);
        if first {
            // Before it is known which calls were the request's: how well that was foreseen tells how far the solvers can be believed.
            self.inference.answered(turn, request);
        }
        if let Some(context) = task.context() {
            let decisions = self.coroutines.answered(context, request, first, self.now);
            self.decide(task.pid, decisions, spans);
        }
        if !first {
            self.handoffs.written(turn.strand, self.now);
            return;
        }
        self.rounds.answered(turn, request);
        let unordered = self.tasks.is_unordered(task.pid);
        let mut decisions = self.handoffs.answered(turn, request, unordered, self.now);
        if self.tasks.is_shared(turn.strand) {
            decisions.clear(); // all that it does is in one turn
        }
        if let Some(context) = task.context() {
            decisions.retain(|(call, ..)| !self.coroutines.belongs_elsewhere(*call, context));
        }
        self.decide(task.pid, decisions, spans);
        let decisions = self.relays.answered(request);
        self.decide(task.pid, decisions, spans);
    }

    /// A thread woke another one of its process, by a futex or else by a write.
    pub fn woke(&mut self, task: Task, woken: u32, futex: Option<Futex>) {
        if let Some((call, request, _)) = self.handoffs.woke(task, woken, futex, self.now) {
            self.inference.seems(task.pid, call, request);
        }
    }

    /// A thread started another one.
    pub fn thread_started(&mut self, task: Task, started: u32) {
        if let Some(request) = self.working_for(task, false) {
            self.handoffs.started(Strand::Thread(task.pid, started), request);
        }
    }

    /// A goroutine is about to have another one send a request for it.
    pub fn goroutine_appeared(&mut self, task: Task) {
        if let Some((by, WorksFor::StartedBy(_))) = task.works_for() {
            self.started_by(by, task.strand());
        }
    }

    /// A coroutine, which began then in these others, is about to do something.
    pub fn coroutine_began(&mut self, task: Task, time: Time, ancestors: &[Ancestor]) {
        self.coroutines.began(task, time, ancestors);
    }

    /// A process ended.
    pub fn exited(&mut self, pid: Pid) {
        self.tasks.exited(pid);
        self.handoffs.exited(pid);
        self.coroutines.exited(pid);
        self.relays.exited(pid);
    }

    /// Takes an exchange out. `last`: the turn in which the end of the response was read.
    fn remove(&mut self, id: NodeId, last: Option<Turn>) -> Option<Node> {
        let node = self.nodes.remove(&id)?;
        if let (Kind::Server, Some(context)) = (node.kind, &node.context) {
            let key = (node.pid, context.trace_id, context.span_id);
            if let Some(requests) = self.received.get_mut(&key) {
                requests.retain(|&request| request != id);
                if requests.is_empty() {
                    self.received.remove(&key);
                }
            }
        }
        match node.kind {
            Kind::Server => self.tasks.request_done(id),
            Kind::Client => {
                match last {
                    Some(turn) => self.inference.call_returned(turn, id),
                    None => self.inference.call_dropped(node.pid, id),
                }
                self.ends.finished(node.socket, id);
                if let Some(owner) = node.owner {
                    self.tasks.call_done(owner);
                }
            }
        }
        Some(node)
    }

    fn node(&self, kind: Kind, request: &Request<'_>) -> Node {
        Node {
            pid: request.task.pid,
            process: Arc::clone(&request.process),
            kind,
            socket: request.socket.id,
            turn: request.task.in_turn(),
            owner: None,
            context: None,
            forwards: false,
            left: request.left,
            incomplete: false,
        }
    }

    /// In which turn a call's request was written, and for which request of the process.
    #[must_use]
    pub fn caller(&self, node: NodeId) -> Option<(Turn, Option<NodeId>)> {
        self.nodes.get(&node).map(|node| (node.turn, node.owner))
    }

    /// Whether the program makes an exchange's span itself.
    #[must_use]
    pub fn is_left(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.left)
    }

    /// The exchange's response will not be seen completely.
    pub fn incomplete(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.incomplete = true;
        }
    }

    /// The exchange is over: its span is given out, or waits for its trace. `task` saw its end.
    pub fn closed(&mut self, id: NodeId, task: Task, exchange: Exchange, spans: &mut Vec<Span>) {
        let Some(node) = self.remove(id, Some(task.in_turn())) else { return };
        let Exchange { name, start, end, mut attributes, status } = exchange;
        if node.incomplete {
            attributes.push((Cow::Borrowed(INCOMPLETE), true.into()));
        }
        let start = self.wall(start);
        let span = Span {
            trace_id: TraceId([0; 16]),
            span_id: SpanId([0; 8]),
            parent: None,
            trace_flags: 0,
            trace_state: String::new(),
            kind: node.kind,
            name,
            start,
            end: self.wall(end).max(start),
            attributes,
            status,
            links: Vec::new(),
            process: node.process,
        };
        let in_doubt = node.kind == Kind::Server && self.undecided.is_any_of(node.pid);
        self.lineages.finish(id, span, in_doubt.then_some(self.now), spans);
        match node.kind {
            Kind::Server => self.request_done(node.pid, id, spans),
            Kind::Client if self.undecided.contains(id) => {
                let is_of_task = matches!(node.turn.strand, Strand::Coroutine(..));
                if self.inference.is_any_open(node.pid, id)
                    || self.rounds.awaits(id)
                    || (is_of_task && self.tasks.has_open(node.pid))
                {
                    self.undecided.is_over(id, self.now);
                } else {
                    self.infer(id, spans);
                }
            }
            Kind::Client => self.coroutines.forget(id),
        }
    }

    /// The exchange will never be complete and makes no span.
    pub fn dropped(&mut self, id: NodeId, spans: &mut Vec<Span>) {
        let Some(node) = self.remove(id, None) else { return };
        self.undo(id, spans);
        match node.kind {
            Kind::Server => self.request_done(node.pid, id, spans),
            Kind::Client => self.forget(id),
        }
    }

    fn wall(&self, time: Time) -> u64 {
        time.saturating_add_signed(self.wall_offset)
    }
}

/// The caller of a request by its own header and by what came beside it. If both name one trace, the header was passed on or made within
/// the sender, whose span, which came beside it, is between. If not, a header says more.
fn incoming(header: Option<&RemoteContext>, beside: Option<RemoteContext>) -> Option<RemoteContext> {
    match (header, beside) {
        (Some(header), Some(beside)) if beside.trace_id == header.trace_id => {
            Some(RemoteContext { span_id: beside.span_id, ..header.clone() })
        }
        (Some(header), _) => Some(header.clone()),
        (None, beside) => beside,
    }
}
