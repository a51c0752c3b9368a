//! The parent of a call, as far as it is known when the call is made.

use super::{Node, NodeId, Request, Tracker};
use crate::{
    event::{Address, Pid, Socket, Strand, Task, Time, Turn, WorksFor},
    processes::Runtime,
    protocols::likeness::Likeness,
    traces::{
        context::RemoteContext,
        inference::{Freed, Made},
        lineage::{Known, Settlement},
        span::{Evidence, Kind},
    },
};

impl Tracker {
    /// Something is begun for a request that is no exchange: a connection is opened, a statement is prepared.
    pub fn begun(&mut self, task: Task, request: NodeId) {
        self.tasks.call_made(request);
        self.rounds.begun(task.in_turn(), request);
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
        self.rounds.call_made(turn, call, None);
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
        self.rounds.forget(number);
        self.inference.forget_call(pid, number);
    }

    /// No call follows.
    pub fn unreserve(&mut self, pid: Pid, number: NodeId) {
        self.rounds.forget(number);
        self.inference.call_dropped(pid, number);
    }

    pub(super) fn call(
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
            (_, Some((owner, evidence))) => Some(self.by(owner, known(evidence))),
            (_, None) if self.tasks.has_open(pid) => None,
            (_, None) => Some(Settlement::Root),
        };
        let owner = owner.map(|(owner, _)| owner);
        if let Some(owner) = owner {
            self.tasks.call_made(owner);
            self.handoffs.call_known(owner, request.likeness);
        }
        match owner {
            Some(owner) if request.reserved.is_some() => self.rounds.decided(id, owner),
            _ if request.reserved.is_some() || (settlement.is_some() && owner.is_none()) => {}
            _ => self.rounds.call_made(turn, id, owner),
        }
        // A thread that runs goroutines does nothing in a row.
        let is_sequence = runtime != Runtime::Go || matches!(turn.strand, Strand::Goroutine(..));
        if settlement.is_none() && is_sequence {
            self.handoffs.call_made(turn, id, request.start, request.likeness);
        } else {
            self.handoffs.written(turn.strand, self.now);
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

    /// The request for which a strand works that was started in a turn: the first thing that is seen of it.
    pub(super) fn started_by(&mut self, by: Turn, strand: Strand) -> Option<NodeId> {
        if self.handoffs.knows(strand) {
            return self.handoffs.started_for(strand);
        }
        let owner = self.tasks.working_for(by, false)?;
        self.handoffs.started(strand, owner);
        Some(owner)
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
}
