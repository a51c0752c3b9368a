//! Open exchanges and their parents; a span for each when it is done.
//!
//! Every parent is decided when the request is first seen, from the strongest evidence there is, and never changed:
//! 1. `header`: a valid `traceparent` came with the request. Not if a process that is traced here merely passed on the
//!    one it had received: then the sender's span is between, and `socket` finds it.
//! 2. `socket`: the client's end of the connection is on this host.
//! 3. `task`: the thread that sends the request works for another one, see [`super::tasks`].

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use crate::{
    event::{Pid, Socket, SocketId, Task, Time},
    processes::{Process, Runtime},
    protocols::{Exchange, IncomingContext, Role},
    traces::{
        context::{self, RANDOM, RemoteContext, SAMPLED},
        ends::Ends,
        ids::Ids,
        span::{Evidence, Kind, Parent, Span, SpanId, TraceId},
        tasks::Tasks,
    },
};

/// Names an open exchange within the engine.
pub type NodeId = u64;

/// The attribute that says how a span's parent is known.
pub const EVIDENCE: &str = "syspan.parent.evidence";

/// The attribute of a span whose response was not seen completely: its end and what it says of the response may be missing.
pub const INCOMPLETE: &str = "syspan.incomplete";

/// An open exchange.
#[derive(Debug)]
struct Node {
    pid: Pid,
    process: Arc<Process>,
    kind: Kind,
    socket: SocketId,
    trace_id: TraceId,
    span_id: SpanId,
    trace_flags: u8,
    trace_state: Arc<str>,
    parent: Option<Parent>,
    /// Who read or wrote the request.
    task: Task,
    /// The request of the same process that this call was made for.
    owner: Option<NodeId>,
    /// What the request's own headers said.
    context: Option<RemoteContext>,
    /// The call carries the very context that its owner received.
    forwards: bool,
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
    /// Its first byte.
    pub start: Time,
    /// Position of its first byte.
    pub position: u32,
    /// Its trace headers.
    pub context: IncomingContext,
    /// No other request was recognised in the same call.
    pub alone: bool,
    /// The answer to the connection's latest call was read in this turn.
    pub freed: bool,
    /// The first exchange of a connection that was set up for a request.
    pub opener: Option<NodeId>,
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

    /// A request was sent or received: decides its parent.
    pub fn opened(&mut self, request: Request<'_>, runtime: Runtime) -> NodeId {
        let id = self.next;
        self.next += 1;
        let context = context::extract(&request.context);
        let node = match request.role {
            Role::Server => self.serve(id, &request, context),
            Role::Client => self.call(id, &request, context, runtime),
        };
        self.nodes.insert(id, node);
        id
    }

    fn serve(&mut self, id: NodeId, request: &Request<'_>, context: Option<RemoteContext>) -> Node {
        let client = self.ends.take(request.socket, request.position, request.start);
        let mut node = self.root(Kind::Server, request);
        let client = client.and_then(|client| self.nodes.get(&client));
        match (&context, client) {
            (Some(remote), client) if !client.is_some_and(|client| client.forwards) => {
                node.continues(remote, Evidence::Header, true);
            }
            (_, Some(client)) if self.weakest >= Evidence::Socket => node.child_of(client, Evidence::Socket, true),
            (Some(remote), _) => node.continues(remote, Evidence::Header, true),
            _ => {}
        }
        if let Some(context) = &context {
            let key = (request.task.pid, context.trace_id, context.span_id);
            self.received.entry(key).or_default().push(id);
        }
        node.context = context;
        self.tasks.request_read(request.task, id, request.alone);
        node
    }

    fn call(&mut self, id: NodeId, request: &Request<'_>, context: Option<RemoteContext>, runtime: Runtime) -> Node {
        // Goroutines change threads and threads change goroutines without any wait: no evidence there.
        let by_task = match runtime {
            Runtime::Threads => request.opener.or_else(|| self.tasks.working_for(request.task, request.freed)),
            Runtime::Go => None,
        };
        let mut node = self.root(Kind::Client, request);
        let forwarded_by = context.as_ref().and_then(|context| self.received(context, request.task.pid, by_task));
        let owner = forwarded_by.or(by_task);
        // Both tell the same where both speak; what counts then is what may count.
        let by_header = forwarded_by.is_some() && (by_task != forwarded_by || self.weakest < Evidence::Task);
        let evidence = if by_header { Evidence::Header } else { Evidence::Task };
        match (&context, owner.and_then(|owner| self.nodes.get(&owner))) {
            // An SDK in the process made the header: its span is the parent, and continues whatever trace it is in.
            (Some(remote), _) if forwarded_by.is_none() => node.continues(remote, Evidence::Header, false),
            (_, Some(parent)) if self.weakest >= evidence => node.child_of(parent, evidence, false),
            _ => {}
        }
        node.forwards = forwarded_by.is_some();
        node.context = context;
        if let Some(owner) = owner {
            node.owner = Some(owner);
            self.tasks.call_made(owner);
        }
        self.ends.requested(request.socket.id, id, request.position, request.start);
        node
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

    /// Takes an exchange out.
    fn remove(&mut self, id: NodeId) -> Option<Node> {
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
                self.ends.finished(node.socket, id);
                if let Some(owner) = node.owner {
                    self.tasks.call_done(owner);
                }
            }
        }
        Some(node)
    }

    fn root(&mut self, kind: Kind, request: &Request<'_>) -> Node {
        Node {
            pid: request.task.pid,
            process: Arc::clone(&request.process),
            kind,
            socket: request.socket.id,
            trace_id: self.ids.trace(),
            span_id: self.ids.span(),
            trace_flags: SAMPLED | RANDOM,
            trace_state: Arc::from(""),
            parent: None,
            task: request.task,
            owner: None,
            context: None,
            forwards: false,
            incomplete: false,
        }
    }

    /// Who wrote a call's request, and for which request of the process.
    #[must_use]
    pub fn caller(&self, node: NodeId) -> Option<(Task, Option<NodeId>)> {
        self.nodes.get(&node).map(|node| (node.task, node.owner))
    }

    /// The exchange's response will not be seen completely.
    pub fn incomplete(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.incomplete = true;
        }
    }

    /// The exchange is over: its span.
    pub fn closed(&mut self, id: NodeId, exchange: Exchange) -> Option<Span> {
        let node = self.remove(id)?;
        let Exchange { name, start, end, mut attributes, status } = exchange;
        if let Some(parent) = node.parent {
            attributes.push((Cow::Borrowed(EVIDENCE), parent.evidence.as_str().into()));
        }
        if node.incomplete {
            attributes.push((Cow::Borrowed(INCOMPLETE), true.into()));
        }
        let start = self.wall(start);
        Some(Span {
            trace_id: node.trace_id,
            span_id: node.span_id,
            parent: node.parent,
            trace_flags: node.trace_flags,
            trace_state: node.trace_state.to_string(),
            kind: node.kind,
            name,
            start,
            end: self.wall(end).max(start),
            attributes,
            status,
            links: Vec::new(),
            process: node.process,
        })
    }

    /// The exchange will never be complete and makes no span.
    pub fn dropped(&mut self, id: NodeId) {
        self.remove(id);
    }

    fn wall(&self, time: Time) -> u64 {
        time.saturating_add_signed(self.wall_offset)
    }
}

impl Node {
    fn child_of(&mut self, parent: &Node, evidence: Evidence, remote: bool) {
        self.trace_id = parent.trace_id;
        self.trace_flags = parent.trace_flags;
        self.trace_state = Arc::clone(&parent.trace_state);
        self.parent = Some(Parent { span_id: parent.span_id, evidence, remote });
    }

    fn continues(&mut self, remote: &RemoteContext, evidence: Evidence, is_remote: bool) {
        self.trace_id = remote.trace_id;
        self.trace_flags = remote.flags;
        self.trace_state = Arc::from(remote.state.as_str());
        self.parent = Some(Parent { span_id: remote.span_id, evidence, remote: is_remote });
    }
}
