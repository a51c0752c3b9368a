//! Calls whose parent is decided after they were made: what is kept of them, and how long they wait for it.

use std::{collections::VecDeque, num::NonZeroUsize};

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use super::{NodeId, Tracker};
use crate::{
    event::{Pid, Time},
    traces::{
        handoffs::Decision,
        lineage::{Known, Settlement},
        rounds::Findings,
        span::{Evidence, Span},
    },
};

/// How long a call waits for its parent after its end, ns: for its request to end. Longer requests (streams, long polls) get what is known by
/// then.
const PATIENCE: Time = 10_000_000_000;

/// How long a call waits after its end for the end of requests that are not its likeliest one, ns (longer if who made it may answer): any of them
/// may yet prove to be its own.
const COURTESY: Time = 1_000_000_000;

/// Decisions remembered for statements that follow from the same text.
const DECIDED_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Spans that wait for their trace, calls without a parent and what is below them. Beyond it, the oldest calls wait no longer.
const WAITING_LIMIT: usize = 16_384;

/// Calls whose parent is not decided.
#[derive(Debug)]
pub(super) struct Undecided {
    /// Their processes.
    calls: HashMap<NodeId, Pid>,
    /// How many of each process.
    of: HashMap<Pid, usize>,
    /// Calls that follow from the same text as one of them.
    followers: HashMap<NodeId, Vec<NodeId>>,
    /// What was decided lately about others.
    decided: LruCache<NodeId, Settlement>,
    /// Those that are over, and since when.
    over: VecDeque<(Time, NodeId)>,
    /// Those whose likeliest request takes longer than others.
    over_long: VecDeque<(Time, NodeId)>,
}

impl Default for Undecided {
    fn default() -> Self {
        Self {
            calls: HashMap::new(),
            of: HashMap::new(),
            followers: HashMap::new(),
            decided: LruCache::new(DECIDED_LIMIT),
            over: VecDeque::new(),
            over_long: VecDeque::new(),
        }
    }
}

impl Undecided {
    pub(super) fn add(&mut self, call: NodeId, pid: Pid) {
        self.calls.insert(call, pid);
        *self.of.entry(pid).or_default() += 1;
    }

    pub(super) fn contains(&self, call: NodeId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Whether a process has any.
    pub(super) fn is_any_of(&self, pid: Pid) -> bool {
        self.of.contains_key(&pid)
    }

    /// A call follows from the same text as `first`: what was decided about that, unless it is to be told when that is.
    pub(super) fn follow(&mut self, first: NodeId, call: NodeId) -> Option<Settlement> {
        if let Some(settlement) = self.decided.get(&first) {
            return Some(settlement.clone());
        }
        if !self.contains(first) {
            return Some(Settlement::Root);
        }
        self.followers.entry(first).or_default().push(call);
        None
    }

    /// A call is over, and waits.
    pub(super) fn is_over(&mut self, call: NodeId, now: Time) {
        self.over.push_back((now, call));
    }

    /// A call is decided. Whether it was not before.
    fn take(&mut self, call: NodeId) -> bool {
        let Some(pid) = self.calls.remove(&call) else { return false };
        if let Some(count) = self.of.get_mut(&pid) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&pid);
            }
        }
        true
    }
}

impl Tracker {
    /// A parent, if evidence like that makes one, or else a link.
    pub(super) fn by(&self, parent: NodeId, known: Known) -> Settlement {
        if self.weakest >= known.evidence {
            Settlement::Child(parent, known)
        } else {
            Settlement::Linked(parent, known)
        }
    }

    /// Decides about a call, and those that follow from the same text.
    fn settle(&mut self, call: NodeId, settlement: Settlement, spans: &mut Vec<Span>) {
        for follower in self.undecided.followers.remove(&call).unwrap_or_default() {
            self.lineages.settle(follower, settlement.clone(), spans);
        }
        self.undecided.decided.push(call, settlement.clone());
        self.lineages.settle(call, settlement, spans);
    }

    /// Calls turned out to be these requests'.
    pub(super) fn decide(&mut self, pid: Pid, decisions: Vec<Decision>, spans: &mut Vec<Span>) {
        for (call, request, evidence) in decisions {
            if evidence == Evidence::Inferred {
                self.inference.seems(pid, call, request);
                continue;
            }
            if !self.undecided.take(call) {
                continue;
            }
            self.handoffs.forget(call);
            self.coroutines.decided(call, request);
            self.relays.forget(call);
            self.rounds.decided(call, request);
            self.inference.decided(pid, call, request);
            self.settle(call, self.by(request, Known::by(evidence, false)), spans);
        }
    }

    /// Decides by what can be inferred by now.
    pub(super) fn infer(&mut self, call: NodeId, spans: &mut Vec<Span>) {
        let findings = self.rounds.conclude(call);
        self.found(findings, spans);
        let Some(&pid) = self.undecided.calls.get(&call) else { return };
        let settlement = match self.inference.parent(pid, call) {
            Some((request, confidence)) => {
                self.by(request, Known { evidence: Evidence::Inferred, confidence: Some(confidence), remote: false })
            }
            None => Settlement::Root,
        };
        self.undecided.take(call);
        self.forget(call);
        self.inference.forget_call(pid, call);
        self.settle(call, settlement, spans);
    }

    /// The turns of threads have shown something of calls, or nothing.
    fn found(&mut self, findings: Findings, spans: &mut Vec<Span>) {
        for (pid, decision) in findings.decisions {
            self.decide(pid, vec![decision], spans);
        }
        for call in findings.released {
            let Some(&pid) = self.undecided.calls.get(&call) else { continue };
            if !self.inference.is_any_open(pid, call) && !self.may_change(call) {
                self.infer(call, spans);
            }
        }
    }

    /// Whether a call may yet turn out to be a certain request's, although no request is open that could likely have made it: it is still under
    /// way, or what waits for its like to be seen more often may become certain.
    fn may_change(&self, call: NodeId) -> bool {
        self.nodes.contains_key(&call)
            || self.handoffs.awaits(call)
            || self.coroutines.is_held(call)
            || self.rounds.awaits(call)
    }

    /// A request is over, or a call is, or is explained otherwise: nobody waits for what would explain it.
    pub(super) fn forget(&mut self, exchange: NodeId) {
        self.handoffs.forget(exchange);
        self.coroutines.forget(exchange);
        self.relays.forget(exchange);
        self.rounds.forget(exchange);
    }

    /// An exchange makes no span: nobody is to wait for it.
    pub(super) fn undo(&mut self, exchange: NodeId, spans: &mut Vec<Span>) {
        if self.undecided.take(exchange) {
            self.settle(exchange, Settlement::Root, spans);
        }
        self.lineages.drop(exchange, spans);
    }

    /// Time has come so far: what has waited long enough waits no longer.
    pub fn advance(&mut self, now: Time, spans: &mut Vec<Span>) {
        self.now = self.now.max(now);
        self.tasks.advance(now);
        let findings = self.rounds.advance(now);
        self.found(findings, spans);
        let crowded = self.lineages.waiting() > WAITING_LIMIT;
        while let Some(&(time, call)) = self.undecided.over.front()
            && (time <= self.now.saturating_sub(COURTESY) || crowded || !self.undecided.contains(call))
        {
            self.undecided.over.pop_front();
            let likely = |pid: &Pid| {
                self.coroutines.may_answer(call)
                    || self.relays.is_waiting(call)
                    || self.inference.is_likeliest_open(*pid, call)
            };
            if !crowded && self.undecided.calls.get(&call).is_some_and(likely) {
                self.undecided.over_long.push_back((time, call));
            } else {
                self.infer(call, spans);
            }
        }
        while let Some(&(time, call)) = self.undecided.over_long.front()
            && (time <= self.now.saturating_sub(PATIENCE) || crowded || !self.undecided.contains(call))
        {
            self.undecided.over_long.pop_front();
            self.infer(call, spans);
        }
        self.lineages.expire(self.now);
    }

    /// No more will come: decides everything that is over.
    pub fn finish(&mut self, spans: &mut Vec<Span>) {
        let mut undecided: Vec<NodeId> = self.undecided.calls.keys().copied().collect();
        undecided.sort_unstable();
        for call in undecided {
            self.infer(call, spans);
        }
    }

    /// A request is over: so is the waiting of the calls that are likely its.
    pub(super) fn request_done(&mut self, pid: Pid, request: NodeId, spans: &mut Vec<Span>) {
        self.forget(request);
        self.rounds.request_done(request);
        for call in self.inference.calls_without(pid, request) {
            if !self.may_change(call) {
                self.infer(call, spans);
            }
        }
        self.inference.request_done(pid, request);
    }
}
