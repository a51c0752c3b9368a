//! Results that are passed on: which thread has whose, and who waits for it.
//!
//! A client may read the responses to all calls by one thread, its selector's, which has a worker go on with each (java.net.http). That one
//! wakes who waits for it. A worker that was woken with one response, and moves nothing before it wakes the reader of a request, has
//! probably woken it for that, if the call was made since that reader moved something the last time.
//!
//! Probably: a worker that is busy is not woken, and they wake each other, and the readers of requests, at locks as well. So a reader got the
//! result with which it was woken last before it moved something again, and none if that worker had none. And what two of them
//! got was neither's. That is claimed where nearly all requests of one sort get the same in this way ([`Replies`]).

use std::{collections::VecDeque, num::NonZeroUsize};

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use super::{Decision, Futex};
use crate::{
    event::{Strand, Time},
    protocols::likeness::Likeness,
    traces::{customs::Asking, span::Evidence, tracker::NodeId},
};

/// Threads remembered.
const THREAD_LIMIT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Results of which it is remembered who got them. A worker may wake somebody with one of which nothing is asked any more: nobody forgets that.
const TAKER_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Results that are kept of a request. One that gets more has no custom.
const RESULT_LIMIT: usize = 64;

/// What is remembered of what requests got before it was known what the custom is.
const BEFORE_LIMIT: usize = 64;

/// What a thread may wake another one for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// The response to this call, which began then.
    Result(NodeId, Time),
    /// Several, or something of which nothing is asked.
    Anything,
}

#[derive(Debug)]
struct Thread {
    held: Held,
    /// It has read the responses to others' calls: it is woken to look at other connections. Else such a one has woken it.
    reads: bool,
}

/// The reader of an open request.
#[derive(Debug)]
struct Waiting {
    request: NodeId,
    /// When it last moved something.
    moved: Time,
    /// When a worker last woke it since, or when it moved.
    woken: Time,
    /// What it got since it moved, one after the other.
    got: Vec<(NodeId, Futex)>,
    /// What it got before.
    kept: Vec<(NodeId, Futex)>,
}

/// Who got a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    Request(NodeId),
    Several,
}

/// Which threads have read the response to another one's call, were woken by one that had, or wait for it.
#[derive(Debug)]
pub(super) struct Results {
    threads: LruCache<Strand, Thread>,
    waiting: HashMap<Strand, Waiting>,
    takers: LruCache<NodeId, Taker>,
}

impl Default for Results {
    fn default() -> Self {
        let (threads, takers) = (LruCache::new(THREAD_LIMIT), LruCache::new(TAKER_LIMIT));
        Self { threads, waiting: HashMap::new(), takers }
    }
}

impl Results {
    /// A thread has read a request.
    pub(super) fn request_read(&mut self, strand: Strand, request: NodeId, time: Time) {
        self.moved(strand, time);
        let waiting = Waiting { request, moved: time, woken: time, got: Vec::new(), kept: Vec::new() };
        self.waiting.insert(strand, waiting);
    }

    /// A thread has read the response to another one's call, which began at `start`.
    pub(super) fn read(&mut self, strand: Strand, call: NodeId, start: Time) {
        let held = self.threads.peek(&strand).filter(|thread| thread.reads).map_or(Held::Nothing, |thread| thread.held);
        let result = Held::Result(call, start);
        let held = if held == Held::Nothing || held == result { result } else { Held::Anything };
        self.threads.put(strand, Thread { held, reads: true });
    }

    /// A thread has moved something else: what it does next may be for that, and it waits no longer.
    pub(super) fn moved(&mut self, strand: Strand, time: Time) {
        if let Some(thread) = self.threads.get_mut(&strand) {
            thread.held = Held::Anything;
        }
        if let Some(waiting) = self.waiting.get_mut(&strand) {
            (waiting.moved, waiting.woken) = (time, time);
            waiting.kept.append(&mut waiting.got);
            waiting.kept.truncate(RESULT_LIMIT);
        }
    }

    /// A thread woke another one by a futex that is that one's own. The call for whose result it was, and the request that got it, probably.
    pub(super) fn woke(&mut self, strand: Strand, woken: Strand, futex: Futex, time: Time) -> Option<(NodeId, NodeId)> {
        if self.threads.peek(&woken).is_some_and(|thread| thread.reads) {
            return None;
        }
        let waker = self.threads.get_mut(&strand)?;
        if !waker.reads {
            let held = waker.held;
            return self.got(woken, held, futex, time);
        }
        // Who reads all responses gives them to workers. It wakes others at a lock.
        if !self.waiting.contains_key(&woken) {
            let held = std::mem::replace(&mut waker.held, Held::Nothing);
            self.threads.put(woken, Thread { held, reads: false });
        }
        None
    }

    /// A worker woke the reader of a request.
    fn got(&mut self, reader: Strand, held: Held, futex: Futex, time: Time) -> Option<(NodeId, NodeId)> {
        let Self { waiting, takers, .. } = self;
        let waiting = waiting.get_mut(&reader)?;
        let before = std::mem::replace(&mut waiting.woken, time);
        let result = match held {
            Held::Result(call, start) if start > waiting.moved => Some((call, start)),
            _ => None,
        };
        // One that began before the reader was woken the last time was not waited for after another one.
        if result.is_none_or(|(_, start)| start <= before) {
            for (call, _) in waiting.got.drain(..) {
                if takers.peek(&call) == Some(&Taker::Request(waiting.request)) {
                    takers.pop(&call);
                }
            }
        }
        let (call, _) = result?;
        waiting.got.push((call, futex));
        waiting.got.truncate(RESULT_LIMIT);
        let taker = takers.get_or_insert_mut(call, || Taker::Request(waiting.request));
        if *taker != Taker::Request(waiting.request) {
            *taker = Taker::Several;
            return None;
        }
        Some((call, waiting.request))
    }

    /// The reader of a request answers it: the results that it got, which nobody else got.
    pub(super) fn answered(&mut self, strand: Strand, request: NodeId, time: Time) -> Vec<(NodeId, Futex)> {
        self.moved(strand, time);
        let Some(waiting) = self.waiting.get_mut(&strand).filter(|waiting| waiting.request == request) else {
            return Vec::new();
        };
        let mut kept = std::mem::take(&mut waiting.kept);
        kept.retain(|(call, _)| self.takers.peek(call) == Some(&Taker::Request(request)));
        kept
    }

    /// A request is over, or nothing is asked of a call any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.takers.pop(&node);
    }

    /// A thread waits for nothing more for a request.
    pub(super) fn closed(&mut self, strand: Strand, request: NodeId) {
        if self.waiting.get(&strand).is_some_and(|waiting| waiting.request == request) {
            self.waiting.remove(&strand);
        }
    }
}

/// What requests of one sort get.
#[derive(Debug, Default)]
pub(super) struct Replies {
    asking: Asking,
    /// What was got before it was known what the custom is.
    before: VecDeque<Got>,
}

/// The results that a request got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) request: NodeId,
    /// The calls, with their sorts.
    pub(super) calls: Vec<(NodeId, Likeness)>,
}

impl Got {
    fn sorts(&self) -> Vec<Likeness> {
        let mut sorts: Vec<_> = self.calls.iter().map(|&(_, sort)| sort).collect();
        sorts.sort_unstable();
        sorts
    }

    /// That all of them are the request's.
    pub(super) fn decisions(&self, evidence: Evidence) -> Vec<Decision> {
        self.calls.iter().map(|&(call, _)| (call, self.request, evidence)).collect()
    }
}

impl Replies {
    /// Takes what another request got while others were open, of which calls of these sorts are `known` otherwise. What is thereby known of it and
    /// of those before.
    pub(super) fn got(&mut self, got: Got, known: &[Likeness]) -> Vec<Decision> {
        let sorts = got.sorts();
        // The first call on a connection is often made by who opened it.
        let excused = known.iter().any(|sort| self.asking.usual().contains(sort));
        if self.asking.is_kept(sorts.clone(), excused) {
            let like = self.before.drain(..).filter(|before| before.sorts() == sorts);
            let mut decisions: Vec<Decision> = like.flat_map(|before| before.decisions(Evidence::Handoff)).collect();
            decisions.extend(got.decisions(Evidence::Handoff));
            return decisions;
        }
        let likely = got.decisions(Evidence::Inferred);
        if !likely.is_empty() {
            if self.before.len() >= BEFORE_LIMIT {
                self.before.pop_front();
            }
            self.before.push_back(got);
        }
        likely
    }
}

#[cfg(test)]
mod tests;
