//! Which sorts of calls are made by those who write the response, always.
//!
//! A context's address may have been another coroutine's between a request and its response, one that ended and answered nothing: it gave a
//! connection back, or had nothing to do with any request. If so, what seems to be the request's is another's. Such coroutines make the same sorts of
//! calls time and again, of which only some come to lie so. So a sort counts only if, once all is over that could have been its cause,
//! nearly all of its calls were made by who answered.

use std::{
    collections::{BTreeSet, VecDeque},
    num::NonZeroUsize,
};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use lru::LruCache;

use crate::{
    event::{Pid, Time},
    protocols::likeness::Likeness,
    traces::{handoffs::Decision, span::Evidence, tracker::NodeId},
};

/// Sorts of calls remembered.
const SORT_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Calls of a sort that wait until it counts.
const HELD_LIMIT: usize = 256;

/// Calls of a process that wait for what is to become of them. The oldest then count as nobody's.
const CALL_LIMIT: usize = 4096;

/// How long a call waits for that, ns: as long as for its parent.
const PATIENCE: Time = 10_000_000_000;

/// How many of a sort must have been seen to their end.
const OFTEN: u32 = 8;

/// One of so many may be nobody's: requests are given up, or were received unseen.
const SELDOM: u32 = 16;

/// What became of the last calls of a sort.
#[derive(Debug, Default)]
struct Sort {
    /// A bit for each, the last one's the lowest: who made it has written a response.
    answered: u32,
    /// How many there are, at most as many as there are bits.
    seen: u32,
    /// Calls that seem to be these requests', if the sort turns out to count.
    held: Vec<Decision>,
}

impl Sort {
    fn count(&mut self, answered: bool) {
        self.answered = self.answered << 1 | u32::from(answered);
        self.seen = (self.seen + 1).min(u32::BITS);
    }

    fn counts(&self) -> bool {
        self.seen >= OFTEN && (self.seen - self.answered.count_ones()) * SELDOM <= self.seen
    }
}

#[derive(Debug, Default)]
struct Process {
    /// When its open requests were received.
    open: BTreeSet<(Time, NodeId)>,
    /// Calls that any of them could have made, in the order of their beginnings.
    calls: VecDeque<(Time, NodeId, Likeness)>,
    /// Those of them that were made by who wrote a response.
    answered: HashSet<NodeId>,
}

/// What became of the calls of coroutines.
#[derive(Debug)]
pub(super) struct Habits {
    processes: HashMap<Pid, Process>,
    sorts: LruCache<(Pid, Likeness), Sort>,
    /// The calls that are held.
    held: HashSet<NodeId>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { processes: HashMap::new(), sorts: LruCache::new(SORT_LIMIT), held: HashSet::new() }
    }
}

impl Habits {
    pub(super) fn request_read(&mut self, pid: Pid, request: NodeId, time: Time) {
        self.processes.entry(pid).or_default().open.insert((time, request));
    }

    pub(super) fn request_over(&mut self, pid: Pid, request: NodeId, time: Time) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.open.remove(&(time, request));
        }
    }

    pub(super) fn call_made(&mut self, pid: Pid, call: NodeId, start: Time, sort: Likeness) {
        let process = self.processes.entry(pid).or_default();
        process.calls.push_back((start, call, sort));
        if process.calls.len() > CALL_LIMIT {
            self.settle(pid, start);
        }
    }

    /// Who made these calls, each of its sort, has written the response to a request: which are believed to be that one's. Of others, too,
    /// for which that was not known before.
    pub(super) fn answered(&mut self, pid: Pid, found: Vec<(Decision, Likeness)>, now: Time) -> Vec<Decision> {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.answered.extend(found.iter().map(|((call, ..), _)| *call));
        }
        self.settle(pid, now);
        let mut believed = Vec::new();
        for (decision, sort) in found {
            let sort = self.sorts.get_or_insert_mut((pid, sort), Sort::default);
            sort.held.push(decision);
            if sort.counts() {
                for (call, ..) in &sort.held {
                    self.held.remove(call);
                }
                believed.append(&mut sort.held);
                continue;
            }
            if sort.held.len() > HELD_LIMIT {
                let (call, ..) = sort.held.remove(0);
                self.held.remove(&call);
            }
            let (call, request, _) = decision;
            self.held.insert(call);
            believed.push((call, request, Evidence::Inferred));
        }
        believed
    }

    /// These calls are certainly those of who has written a response, or were begun by it: it does not take a habit to know that, but shows one.
    pub(super) fn shown(&mut self, pid: Pid, found: Vec<(Decision, Likeness)>, now: Time) -> Vec<Decision> {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.answered.extend(found.iter().map(|((call, ..), _)| *call));
        }
        self.settle(pid, now);
        found.into_iter().map(|(decision, _)| decision).collect()
    }

    /// Whether a sort of calls counts, or may turn out to.
    pub(super) fn may_count(&self, pid: Pid, sort: Likeness) -> bool {
        self.sorts.peek(&(pid, sort)).is_none_or(|sort| sort.seen < OFTEN || sort.counts())
    }

    pub(super) fn is_held(&self, call: NodeId) -> bool {
        self.held.contains(&call)
    }

    pub(super) fn forget(&mut self, call: NodeId) {
        self.held.remove(&call);
    }

    /// Counts the calls that no open request could have made.
    fn settle(&mut self, pid: Pid, now: Time) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let oldest = process.open.first().map_or(now, |&(time, _)| time).max(now.saturating_sub(PATIENCE));
        while let Some(&(start, call, sort)) = process.calls.front()
            && (start < oldest || process.calls.len() > CALL_LIMIT)
        {
            process.calls.pop_front();
            let answered = process.answered.remove(&call);
            self.sorts.get_or_insert_mut((pid, sort), Sort::default).count(answered);
        }
    }

    pub(super) fn exited(&mut self, pid: Pid) {
        self.processes.remove(&pid);
    }
}
