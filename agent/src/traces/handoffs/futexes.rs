//! Futexes: which threads are woken by them.
//!
//! Who waits for a result waits by a futex of its own: Java parks a thread by one that is the thread's for as long as it lives, and a condition of
//! Python has a lock for each that waits. At a lock, or the queue of a pool, threads wait in turn by the same futex; Python's
//! interpreter lock wakes all of them all the time. Its wake-ups say nothing.

use std::num::{NonZeroU64, NonZeroUsize};

use lru::LruCache;

use crate::{event::Pid, event::Strand};

/// Futexes remembered.
const FUTEX_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// How often the same thread is woken by a futex by which others were woken before, until it is that one's: memory is used again.
const IN_A_ROW: u32 = 16;

/// Who waits by a futex.
#[derive(Debug)]
struct Waiter {
    /// The thread that was woken last.
    thread: Strand,
    /// For how many more times in a row it must be the same one.
    doubts: u32,
}

/// The futexes of all processes, by their addresses.
#[derive(Debug)]
pub(super) struct Futexes {
    waiters: LruCache<(Pid, NonZeroU64), Waiter>,
}

impl Default for Futexes {
    fn default() -> Self {
        Self { waiters: LruCache::new(FUTEX_LIMIT) }
    }
}

impl Futexes {
    /// A thread was woken by a futex. Whether nobody else waits there, as far as was seen.
    pub(super) fn is_private(&mut self, futex: NonZeroU64, thread: Strand) -> bool {
        let waiter = self.waiters.get_or_insert_mut((thread.pid(), futex), || Waiter { thread, doubts: 0 });
        if waiter.thread == thread {
            waiter.doubts = waiter.doubts.saturating_sub(1);
        } else {
            *waiter = Waiter { thread, doubts: IN_A_ROW };
        }
        waiter.doubts == 0
    }
}
