//! Futexes: which threads are woken by them.
//!
//! Who waits for a result waits by a futex of its own: Java parks a thread by one that is the thread's for as long as it lives, and a condition of
//! Python has a lock for each that waits. At a lock, or the queue of a pool, threads wait in turn by the same futex; Python's
//! interpreter lock wakes all of them all the time. Its wake-ups say nothing.
//!
//! So a futex is a thread's own until another one is woken by it, and then not soon again. One in which a thread waits as for a lock has to show
//! first that it is no lock.

use std::num::{NonZeroU64, NonZeroUsize};

use lru::LruCache;

use crate::{event::Pid, event::Strand};

/// A futex in which a thread was blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Futex {
    /// Its address in the process's memory.
    pub address: NonZeroU64,
    /// The thread waited as glibc's locks have it. (musl has all its threads wait so.)
    pub lock: bool,
}

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
    pub(super) fn is_private(&mut self, futex: Futex, thread: Strand) -> bool {
        let doubts = if futex.lock { IN_A_ROW } else { 0 };
        let waiter = self.waiters.get_or_insert_mut((thread.pid(), futex.address), || Waiter { thread, doubts });
        if waiter.thread == thread {
            waiter.doubts = waiter.doubts.saturating_sub(1);
        } else {
            *waiter = Waiter { thread, doubts: IN_A_ROW };
        }
        waiter.doubts == 0
    }

    /// Whether that still holds.
    pub(super) fn is_still_private(&self, futex: Futex, thread: Strand) -> bool {
        let waiter = self.waiters.peek(&(thread.pid(), futex.address));
        waiter.is_none_or(|waiter| waiter.thread == thread && waiter.doubts == 0)
    }
}
