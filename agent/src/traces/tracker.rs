//! Open exchanges and their parents; a span for each when it is done.
//!
//! A parent is decided once, from the strongest evidence there is. Most are known when the request is first seen:
//! 1. `header`: a valid `traceparent` came with the request. Not if a process that is traced here merely passed on the
//!    one it had received: then the sender's span is between, and `socket` finds it.
//! 2. `socket`: the client's end of the connection is on this host.
//! 3. `task`: the strand that sends the request works for another one, see [`super::tasks`].
//!
//! Other calls wait for what shows later, for as long as a request that could have made them is open, and not much longer:
//! 4. `task` or `handoff`: whose result it was shows when it comes back, see [`super::handoffs`], [`super::coroutines`] and [`super::relays`].
//! 5. `inferred`: timing and order, see [`super::inference`].

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    event::{Address, Direction, Pid, Socket, SocketId, Strand, Task, Time, Turn, WorksFor},
    processes::{Process, Runtime},
    protocols::{Exchange, IncomingContext, Role, likeness::Likeness},
    traces::{
        context::{self, RANDOM, RemoteContext, SAMPLED},
        coroutines::Coroutines,
        ends::Ends,
        handoffs::{Decision, Handoffs},
        ids::Ids,
        inference::{Freed, Inference, Made},
        lineage::{self, Known, Lineages, Settlement},
        relays::Relays,
        span::{Evidence, Kind, Span, SpanId, TraceId},
        tasks::Tasks,
    },
};

/// Names an open exchange within the engine.
pub type NodeId = u64;

/// The attribute of a span whose response was not seen completely: its end and what it says of the response may be missing.
pub const INCOMPLETE: &str = "syspan.incomplete";

/// How long a call waits for its parent after its end, ns: for its request to end. Longer requests (streams, long polls) get what is known by
/// then.
const PATIENCE: Time = 10_000_000_000;

/// How long a call waits after its end for the end of requests that are not its likeliest one, ns (longer if who made it may answer): any of them may yet prove to be its own.
const COURTESY: Time = 1_000_000_000;

/// Contexts that wait for their requests. A write that begins no request leaves its own behind.
const CONTEXT_LIMIT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Decisions remembered for statements that follow from the same text.
const DECIDED_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Spans that wait for their trace, calls without a parent and what is below them. Beyond it, the oldest calls wait no longer.
const WAITING_LIMIT: usize = 16_384;

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
    /// Open requests of a process by the context they came with.
    received: HashMap<(Pid, TraceId, SpanId), Vec<NodeId>>,
    next: NodeId,
    ids: Ids,
    ends: Ends,
    tasks: Tasks,
    handoffs: Handoffs,
    coroutines: Coroutines,
    relays: Relays,
    inference: Inference,
    lineages: Lineages,
    /// Contexts that were told before their requests.
    contexts: LruCache<(SocketId, Role, u32), (TraceId, Option<SpanId>)>,
    /// Calls whose parent is not decided, and their processes.
    undecided: HashMap<NodeId, Pid>,
    /// How many of each process.
    undecided_of: HashMap<Pid, usize>,
    /// Calls that follow from the same text as an undecided one.
    followers: HashMap<NodeId, Vec<NodeId>>,
    /// What was decided lately about calls that had waited for it.
    decided_late: LruCache<NodeId, Settlement>,
    /// Those of them that are over, and since when.
    waiting: VecDeque<(Time, NodeId)>,
    /// Those of them whose likeliest request takes longer than others.
    waiting_long: VecDeque<(Time, NodeId)>,
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
            received: HashMap::new(),
            next: 0,
            ids: Ids::new(seed),
            ends: Ends::default(),
            tasks: Tasks::default(),
            handoffs: Handoffs::default(),
            coroutines: Coroutines::default(),
            relays: Relays::default(),
            inference: Inference::default(),
            lineages: Lineages::default(),
            contexts: LruCache::new(CONTEXT_LIMIT),
            undecided: HashMap::new(),
            undecided_of: HashMap::new(),
            followers: HashMap::new(),
            decided_late: LruCache::new(DECIDED_LIMIT),
            waiting: VecDeque::new(),
            waiting_long: VecDeque::new(),
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
        let (span_id, trace_id) = (self.ids.span(), self.ids.trace());
        let ids = match told {
            Some((trace_id, Some(span_id))) if request.role == Role::Client => {
                // Within this host both ends are seen, and the call keeps the parent that is found for it, whatever trace was sent.
                lineage::Ids { span_id, trace_id, is_sent: !request.socket.is_local() }
            }
            // What it causes was sent in this trace.
            Some((trace_id, None)) => lineage::Ids { span_id, trace_id, is_sent: false },
            _ => lineage::Ids { span_id, trace_id, is_sent: false },
        };
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
            let settlement = settlement.clone().or_else(|| self.decided_late.get(first).cloned());
            match settlement {
                Some(settlement) => self.lineages.settle(id, settlement, spans),
                None if self.undecided.contains_key(first) => self.followers.entry(*first).or_default().push(id),
                None => self.lineages.settle(id, Settlement::Root, spans),
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
            let pid = request.task.pid;
            self.undecided.insert(id, pid);
            *self.undecided_of.entry(pid).or_default() += 1;
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

    /// Decides about a call, and those that follow from the same text.
    fn settle(&mut self, call: NodeId, settlement: Settlement, spans: &mut Vec<Span>) {
        for follower in self.followers.remove(&call).unwrap_or_default() {
            self.lineages.settle(follower, settlement.clone(), spans);
        }
        self.decided_late.push(call, settlement.clone());
        self.lineages.settle(call, settlement, spans);
    }

    fn number(&mut self) -> NodeId {
        let number = self.next;
        self.next += 1;
        number
    }

    /// A call begins with something that makes no span, and it is not known for which request: its number.
    pub fn reserve(
        &mut self,
        socket: &Socket,
        server: Address,
        task: Task,
        time: Time,
        freed: Option<Freed>,
    ) -> Option<NodeId> {
        if !self.tasks.has_open(task.pid) {
            return None;
        }
        let call = self.number();
        if matches!(task.strand(), Strand::Coroutine(..)) && self.relays.is_crowded(task.pid) {
            return Some(call);
        }
        let (turn, sort) = (task.in_turn(), Likeness::default());
        let made = Made { call, turn, time, socket: socket.id, server, sort, freed };
        self.inference.call_made(&made, None);
        Some(call)
    }

    /// What a call began with was answered.
    pub fn reserved_answered(&mut self, task: Task, number: NodeId) {
        self.inference.call_returned(task.in_turn(), number);
    }

    /// What was answered was all: no call follows from it.
    pub fn reserved_over(&mut self, pid: Pid, number: NodeId) {
        self.inference.forget_call(pid, number);
    }

    /// No call follows.
    pub fn unreserve(&mut self, pid: Pid, number: NodeId) {
        self.inference.call_dropped(pid, number);
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
        self.inference.request_read(turn, id, request.start, request.likeness);
        (Node { context, ..self.node(Kind::Server, request) }, Some(settlement))
    }

    fn call(
        &mut self,
        id: NodeId,
        request: &Request<'_>,
        context: Option<RemoteContext>,
        runtime: Runtime,
    ) -> (Node, Option<Settlement>) {
        let pid = request.task.pid;
        let turn = request.task.in_turn();
        let by_task = self.works_for(request, runtime);
        let expected = by_task.map(|(owner, _)| owner);
        let forwarded_by = context.as_ref().and_then(|context| self.received(context, pid, expected));
        // Both tell the same where both speak; what counts then is what may count.
        let by_header = forwarded_by.filter(|_| expected != forwarded_by || self.weakest < Evidence::Task);
        let owner = by_header.map(|owner| (owner, Evidence::Header)).or(by_task);
        let known = |evidence| Known::by(evidence, false);
        let settlement = match (&context, owner) {
            // An SDK in the process made the header: its span is the parent, and continues whatever trace it is in.
            (Some(remote), _) if forwarded_by.is_none() => {
                Some(Settlement::Continues(remote.clone(), known(Evidence::Header)))
            }
            (_, Some((owner, evidence))) if self.weakest >= evidence => Some(Settlement::Child(owner, known(evidence))),
            (_, Some((owner, evidence))) => Some(Settlement::Linked(owner, known(evidence))),
            (_, None) if self.tasks.has_open(pid) => None,
            (_, None) => Some(Settlement::Root),
        };
        let owner = owner.map(|(owner, _)| owner);
        if let Some(owner) = owner {
            self.tasks.call_made(owner);
        }
        // A thread that runs goroutines does nothing in a row.
        let is_sequence = runtime != Runtime::Go || matches!(turn.strand, Strand::Goroutine(..));
        if settlement.is_none() && is_sequence {
            self.handoffs.call_made(turn, id, request.start, request.likeness);
        } else {
            self.handoffs.written(turn.strand);
        }
        let is_relayed = settlement.is_none() && matches!(turn.strand, Strand::Coroutine(..));
        if is_relayed {
            self.relayed(id, request);
        }
        if let Some(context) = request.task.context() {
            if settlement.is_none() || owner.is_some() {
                self.coroutines.call_made(context, id, request.start, request.likeness, owner);
            } else {
                self.coroutines.idle_call_made(context, id, request.start, request.likeness);
            }
        }
        if is_relayed && self.relays.is_crowded(pid) {
            // Nothing is foreseen of what tasks wait for.
            self.inference.forget_call(pid, id);
        } else if request.reserved.is_some() {
            self.inference.call_is(pid, id, request.likeness);
            match (owner, &settlement) {
                (Some(owner), _) => self.inference.decided(pid, id, owner),
                (None, Some(_)) => self.inference.forget_call(pid, id),
                (None, None) => {}
            }
        } else if settlement.is_none() || owner.is_some() {
            let made = Made {
                call: id,
                turn,
                time: request.start,
                socket: request.socket.id,
                sort: request.likeness,
                freed: request.scarce,
                server: request.server.clone(),
            };
            self.inference.call_made(&made, owner);
        }
        self.ends.requested(request.socket.id, id, request.position, request.start);
        (Node { forwards: forwarded_by.is_some(), context, owner, ..self.node(Kind::Client, request) }, settlement)
    }

    /// A task has made a call for it is not known whom: it may have been asked for it.
    fn relayed(&mut self, id: NodeId, request: &Request<'_>) {
        if request.opener.is_some() || request.reserved.is_some() {
            self.relays.first_call(request.task.pid);
        } else if let Some(asker) = self.relays.reader_before(request.task)
            && let Some(owner) = self.tasks.could_act(asker)
        {
            self.relays.asked(owner, id, request.likeness);
        }
    }

    /// A strand has moved bytes, and what that says is known.
    pub fn moved(&mut self, task: Task, direction: Direction) {
        self.relays.moved(task, direction);
    }

    /// The request for which a call is made, if that is certain now.
    fn works_for(&mut self, request: &Request<'_>, runtime: Runtime) -> Option<(NodeId, Evidence)> {
        let turn = request.task.in_turn();
        // Goroutines change threads and threads change goroutines without any wait: a thread is no evidence there.
        if runtime == Runtime::Go && matches!(turn.strand, Strand::Thread(..)) {
            return None;
        }
        // A task of its own, which has the connection now, writes for anybody: hyper's clients take another one that becomes free meanwhile.
        let is_relay = |by: Strand| matches!(turn.strand, Strand::Coroutine(..)) && by != turn.strand;
        if let Some((opener, by)) = request.opener
            && !is_relay(by)
        {
            return Some((opener, Evidence::Task));
        }
        let by_turn = self.working_for(request.task, request.freed);
        // It began in an earlier turn, when nobody could tell whose it was: this turn tells no more.
        if let Some(owner) = by_turn.filter(|_| request.reserved.is_none()) {
            return Some((owner, Evidence::Task));
        }
        let by = match request.task.works_for() {
            Some((by, WorksFor::HandedBy(_))) => {
                self.tasks.working_for(by, false).or_else(|| self.handoffs.started_for(by.strand))
            }
            Some((by, WorksFor::StartedBy(_))) => self.started_by(by, turn.strand),
            _ => self.handoffs.started_for(turn.strand),
        };
        by.map(|owner| (owner, Evidence::Handoff))
    }

    /// The request for which a strand works by what it has read in this turn, if that is certain.
    pub fn working_for(&mut self, task: Task, freed: bool) -> Option<NodeId> {
        let request = self.tasks.working_for(task.in_turn(), freed);
        request.filter(|_| self.coroutines.goes_on(task))
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
    }

    /// A strand has read something on a client's connection that is no response to a known call: it may go on with `work`.
    pub fn other_read(&mut self, task: Task, work: Option<(Turn, Option<NodeId>)>) {
        let turn = task.in_turn();
        match work {
            Some((caller, request)) => self.tasks.response_read(turn, caller, request),
            None => self.tasks.unknown_read(turn),
        }
        self.handoffs.other_read(turn.strand);
        self.coroutines.has_read(task);
    }

    /// A strand has read more of the newest request of a connection.
    pub fn request_continued(&mut self, task: Task, request: NodeId) {
        self.tasks.request_continued(task.in_turn(), request);
        self.handoffs.other_read(task.strand());
        self.coroutines.has_read(task);
        if let Some(context) = task.context() {
            self.coroutines.request_continued(context, request, self.now);
        }
    }

    /// A strand writes a part of the response to a request.
    pub fn answering(&mut self, task: Task, request: NodeId, spans: &mut Vec<Span>) {
        let turn = task.in_turn();
        let first = self.tasks.answering(turn, request);
        if let Some(context) = task.context() {
            let decisions = self.coroutines.answered(context, request, first, self.now);
            self.decide(task.pid, decisions, spans);
        }
        if !first {
            self.handoffs.written(turn.strand);
            return;
        }
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
        self.inference.answered(turn, request);
    }

    /// A thread woke another one of its process.
    pub fn woke(&mut self, task: Task, woken: u32) {
        self.handoffs.woke(task, woken, self.now);
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

    /// The request for which a strand works that was started in a turn: the first thing that is seen of it.
    fn started_by(&mut self, by: Turn, strand: Strand) -> Option<NodeId> {
        if self.handoffs.knows(strand) {
            return self.handoffs.started_for(strand);
        }
        let owner = self.tasks.working_for(by, false)?;
        self.handoffs.started(strand, owner);
        Some(owner)
    }

    /// Calls turned out to be these requests'.
    fn decide(&mut self, pid: Pid, decisions: Vec<Decision>, spans: &mut Vec<Span>) {
        for (call, request, evidence) in decisions {
            if evidence == Evidence::Inferred {
                self.inference.seems(pid, call, request);
                continue;
            }
            if self.is_decided(call) {
                continue;
            }
            self.handoffs.forget(call);
            self.coroutines.decided(call, request);
            self.relays.forget(call);
            self.inference.decided(pid, call, request);
            let known = Known::by(evidence, false);
            let settlement = if self.weakest >= evidence {
                Settlement::Child(request, known)
            } else {
                Settlement::Linked(request, known)
            };
            self.settle(call, settlement, spans);
        }
    }

    /// Decides by what can be inferred by now.
    fn infer(&mut self, call: NodeId, spans: &mut Vec<Span>) {
        let Some(&pid) = self.undecided.get(&call) else { return };
        let settlement = match self.inference.parent(pid, call) {
            Some((request, confidence)) => {
                let known = Known { evidence: Evidence::Inferred, confidence: Some(confidence), remote: false };
                if self.weakest >= Evidence::Inferred {
                    Settlement::Child(request, known)
                } else {
                    Settlement::Linked(request, known)
                }
            }
            None => Settlement::Root,
        };
        self.is_decided(call);
        self.handoffs.forget(call);
        self.coroutines.forget(call);
        self.relays.forget(call);
        self.inference.forget_call(pid, call);
        self.settle(call, settlement, spans);
    }

    /// Whether a call was decided before; it is from now on.
    fn is_decided(&mut self, call: NodeId) -> bool {
        let Some(pid) = self.undecided.remove(&call) else { return true };
        if let Some(count) = self.undecided_of.get_mut(&pid) {
            *count -= 1;
            if *count == 0 {
                self.undecided_of.remove(&pid);
            }
        }
        false
    }

    /// Time has come so far: what has waited long enough waits no longer.
    pub fn advance(&mut self, now: Time, spans: &mut Vec<Span>) {
        self.now = self.now.max(now);
        self.tasks.advance(now);
        let crowded = self.lineages.waiting() > WAITING_LIMIT;
        while let Some(&(time, call)) = self.waiting.front()
            && (time <= self.now.saturating_sub(COURTESY) || crowded || !self.undecided.contains_key(&call))
        {
            self.waiting.pop_front();
            let likely = |pid: &Pid| {
                self.coroutines.may_answer(call)
                    || self.relays.is_waiting(call)
                    || self.inference.is_likeliest_open(*pid, call)
            };
            if !crowded && self.undecided.get(&call).is_some_and(likely) {
                self.waiting_long.push_back((time, call));
            } else {
                self.infer(call, spans);
            }
        }
        while let Some(&(time, call)) = self.waiting_long.front()
            && (time <= self.now.saturating_sub(PATIENCE) || crowded || !self.undecided.contains_key(&call))
        {
            self.waiting_long.pop_front();
            self.infer(call, spans);
        }
        self.lineages.expire(self.now);
    }

    /// No more will come: decides everything that is over.
    pub fn finish(&mut self, spans: &mut Vec<Span>) {
        let mut undecided: Vec<NodeId> = self.undecided.keys().copied().collect();
        undecided.sort_unstable();
        for call in undecided {
            self.infer(call, spans);
        }
    }

    /// A process ended.
    pub fn exited(&mut self, pid: Pid) {
        self.tasks.exited(pid);
        self.handoffs.exited(pid);
        self.coroutines.exited(pid);
        self.relays.exited(pid);
    }

    /// The open request of a process that received this very context: the expected one, or the only one.
    fn received(&self, context: &RemoteContext, pid: Pid, expected: Option<NodeId>) -> Option<NodeId> {
        let requests = self.received.get(&(pid, context.trace_id, context.span_id))?;
        match (expected, requests.as_slice()) {
            (Some(id), requests) if requests.contains(&id) => Some(id),
            (_, &[only]) => Some(only),
            _ => None,
        }
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
        let in_doubt = node.kind == Kind::Server && self.undecided_of.contains_key(&node.pid);
        self.lineages.finish(id, span, in_doubt.then_some(self.now), spans);
        match node.kind {
            Kind::Server => self.request_done(node.pid, id, spans),
            Kind::Client if self.undecided.contains_key(&id) => {
                let is_of_task = matches!(node.turn.strand, Strand::Coroutine(..));
                if self.inference.is_any_open(node.pid, id) || (is_of_task && self.tasks.has_open(node.pid)) {
                    self.waiting.push_back((self.now, id));
                } else {
                    self.infer(id, spans);
                }
            }
            Kind::Client => self.coroutines.forget(id),
        }
    }

    /// A request is over: so is the waiting of the calls that are likely its.
    fn request_done(&mut self, pid: Pid, request: NodeId, spans: &mut Vec<Span>) {
        self.handoffs.forget(request);
        self.coroutines.forget(request);
        self.relays.forget(request);
        for call in self.inference.calls_without(pid, request) {
            // One that is still under way may yet turn out to be another's, and what waits for its like to be seen more often may become certain.
            let may_change =
                self.nodes.contains_key(&call) || self.handoffs.awaits(call) || self.coroutines.is_held(call);
            if !may_change {
                self.infer(call, spans);
            }
        }
        self.inference.request_done(pid, request);
    }

    /// The exchange will never be complete and makes no span.
    pub fn dropped(&mut self, id: NodeId, spans: &mut Vec<Span>) {
        let Some(node) = self.remove(id, None) else { return };
        if !self.is_decided(id) {
            self.settle(id, Settlement::Root, spans);
        }
        self.lineages.drop(id, spans);
        match node.kind {
            Kind::Server => self.request_done(node.pid, id, spans),
            Kind::Client => {
                self.handoffs.forget(id);
                self.coroutines.forget(id);
                self.relays.forget(id);
            }
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
