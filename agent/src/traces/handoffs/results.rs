//! Results that are passed on: which thread has whose.
//!
//! A client may read the responses to all calls by one thread, its selector's, which has another one go on with each (java.net.http). That one
//! wakes who waits for it. A thread that has one result, and moves nothing before it wakes the next one, has probably woken that one for it.
//! Probably: the others of the client wake each other for more reasons than that, and a worker that is busy is not woken.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::{event::Strand, traces::tracker::NodeId};

/// Threads remembered.
const THREAD_LIMIT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// What a thread may wake another one for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// The response to this call.
    Result(NodeId),
    /// Several, or something of which nothing is asked.
    Anything,
}

#[derive(Debug)]
struct Thread {
    held: Held,
    /// It has read the responses to others' calls: it is woken to look at other connections.
    reads: bool,
}

/// Which threads have read the response to another one's call, or were woken by one that had.
#[derive(Debug)]
pub(super) struct Results {
    threads: LruCache<Strand, Thread>,
}

impl Default for Results {
    fn default() -> Self {
        Self { threads: LruCache::new(THREAD_LIMIT) }
    }
}

impl Results {
    /// A thread has read the response to another one's call.
    pub(super) fn read(&mut self, strand: Strand, call: NodeId) {
        let thread = self.threads.get_or_insert_mut(strand, || Thread { held: Held::Nothing, reads: true });
        let is_only = !thread.reads || thread.held == Held::Nothing || thread.held == Held::Result(call);
        *thread = Thread { held: if is_only { Held::Result(call) } else { Held::Anything }, reads: true };
    }

    /// A thread has moved something else: what it does next may be for that.
    pub(super) fn moved(&mut self, strand: Strand) {
        if let Some(thread) = self.threads.get_mut(&strand) {
            thread.held = Held::Anything;
        }
    }

    /// A thread woke another one, which waits for something of its own, `awaits`, or for anything. The call for whose result it was, probably.
    pub(super) fn woke(&mut self, strand: Strand, woken: Strand, awaits: bool) -> Option<NodeId> {
        if self.threads.peek(&woken).is_some_and(|thread| thread.reads) {
            return None;
        }
        let held = self.threads.get_mut(&strand).map(|thread| std::mem::replace(&mut thread.held, Held::Nothing));
        match held {
            Some(Held::Result(call)) if awaits => return Some(call),
            Some(held) if !awaits => {
                self.threads.put(woken, Thread { held, reads: false });
            }
            _ => {
                self.threads.pop(&woken);
            }
        }
        None
    }
}
