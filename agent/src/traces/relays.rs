//! Calls that a task has another one make: `handoff`.
//!
//! In Tokio programs a client's connection is often a task of its own, which writes what others send it through a channel (hyper, and so reqwest
//! and tonic; tokio-postgres). Nobody sees the channel. But Tokio runs a task that has been woken next, on the thread of the one that woke it
//! (the "LIFO slot" of its schedulers). So when a task that works for no request makes a call, and the last thing that happened on its thread,
//! in the same turn, was that a task with an open request read something and waits for nothing that is seen, then that task has probably asked
//! for the call.
//!
//! Probably: it may wait for something that is not seen (a timer, a lock, a blocking task), and so may the true one have done. Then such calls
//! go to whoever happened to read something before, and some requests get several of them and others none. So it is claimed only where
//! requests of one sort, while others are open, nearly always get the same calls in this way ([`Asking`]), and only when the response is
//! written and this one got them as well. The first call on a connection tells nothing: what was waited for was the connection.

use std::num::NonZeroUsize;

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use crate::{
    event::{Direction, Pid, Strand, Task},
    protocols::likeness::Likeness,
    traces::{customs::Asking, handoffs::Decision, span::Evidence, tracker::NodeId},
};

/// Threads remembered.
const THREAD_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Sorts of requests of which it is remembered what is asked for them.
const CUSTOM_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Calls that are kept of a request. One that asks for more has no custom.
const CALL_LIMIT: usize = 64;

/// What a thread did last.
#[derive(Debug, Clone, Copy)]
struct Last {
    turn: u32,
    strand: Strand,
    direction: Direction,
}

/// A call that was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    call: NodeId,
    sort: Likeness,
    returned: bool,
}

/// An open request.
#[derive(Debug)]
struct Request {
    pid: Pid,
    sort: Likeness,
    asked: Vec<Asked>,
    /// Another one of its process was open meanwhile.
    crowded: bool,
    /// How many calls of its process had been the first on their connections when it was received.
    first_calls: u64,
}

/// The open requests of a process.
#[derive(Debug, Default)]
struct Process {
    open: Vec<NodeId>,
    first_calls: u64,
}

/// Which tasks have asked for calls that others made.
#[derive(Debug)]
pub struct Relays {
    threads: LruCache<(Pid, u32), Last>,
    requests: HashMap<NodeId, Request>,
    processes: HashMap<Pid, Process>,
    /// Who has probably asked for a call that waits.
    askers: HashMap<NodeId, NodeId>,
    /// By process, sort, and whether other requests were open.
    customs: LruCache<(Pid, Likeness, bool), Asking>,
}

impl Default for Relays {
    fn default() -> Self {
        Self {
            threads: LruCache::new(THREAD_LIMIT),
            requests: HashMap::new(),
            processes: HashMap::new(),
            askers: HashMap::new(),
            customs: LruCache::new(CUSTOM_LIMIT),
        }
    }
}

impl Relays {
    /// A task has read a request.
    pub fn request_read(&mut self, strand: Strand, request: NodeId, sort: Likeness) {
        if !matches!(strand, Strand::Coroutine(..)) {
            return;
        }
        let pid = strand.pid();
        let process = self.processes.entry(pid).or_default();
        for other in &process.open {
            if let Some(other) = self.requests.get_mut(other) {
                other.crowded = true;
            }
        }
        let (crowded, first_calls) = (!process.open.is_empty(), process.first_calls);
        process.open.push(request);
        self.requests.insert(request, Request { pid, sort, asked: Vec::new(), crowded, first_calls });
    }

    /// Who has acted on a task's thread right before it, and has read something then.
    #[must_use]
    pub fn reader_before(&self, task: Task) -> Option<Strand> {
        let last = self.threads.peek(&(task.pid, task.tid))?;
        let is_next = last.turn == task.turn && last.strand != task.strand() && last.direction == Direction::Read;
        is_next.then_some(last.strand)
    }

    /// A task that works for no request has made a call; this request's has probably asked for it.
    pub fn asked(&mut self, request: NodeId, call: NodeId, sort: Likeness) {
        if let Some(known) = self.requests.get_mut(&request)
            && known.asked.len() < CALL_LIMIT
        {
            known.asked.push(Asked { call, sort, returned: false });
            self.askers.insert(call, request);
        }
    }

    /// Whether several requests of a process are open that tasks have read.
    #[must_use]
    pub fn is_crowded(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.open.len() > 1)
    }

    /// Whether a call waits for what becomes of the request that has probably asked for it.
    #[must_use]
    pub fn is_waiting(&self, call: NodeId) -> bool {
        self.askers.contains_key(&call)
    }

    /// A task that works for no request has made the first call on a connection.
    pub fn first_call(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.first_calls += 1;
        }
    }

    /// A task has moved bytes.
    pub fn moved(&mut self, task: Task, direction: Direction) {
        let (thread, strand) = ((task.pid, task.tid), task.strand());
        if matches!(strand, Strand::Coroutine(..)) {
            self.threads.put(thread, Last { turn: task.turn, strand, direction });
        } else if !self.threads.is_empty() {
            self.threads.pop(&thread);
        }
    }

    /// (A part of) the response to a call was read.
    pub fn call_read(&mut self, call: NodeId) {
        if let Some(request) = self.askers.get(&call).and_then(|asker| self.requests.get_mut(asker)) {
            request.asked.iter_mut().filter(|asked| asked.call == call).for_each(|asked| asked.returned = true);
        }
    }

    /// The first part of the response to a request is written: the calls that were made for it.
    pub fn answered(&mut self, request: NodeId) -> Vec<Decision> {
        let Some(Request { pid, sort, asked, crowded, first_calls }) = self.close(request) else { return Vec::new() };
        let key = (pid, sort, crowded);
        if asked.is_empty() && !self.customs.contains(&key) {
            return Vec::new();
        }
        let mut calls: Vec<Likeness> = asked.iter().map(|asked| asked.sort).collect();
        calls.sort_unstable();
        let excused = self.processes.get(&pid).is_some_and(|process| process.first_calls > first_calls);
        if !self.customs.get_or_insert_mut(key, Asking::default).is_kept(calls, excused) {
            return Vec::new();
        }
        let returned = asked.into_iter().filter(|asked| asked.returned);
        returned.map(|asked| (asked.call, request, Evidence::Handoff)).collect()
    }

    /// A request is over, or a call is explained otherwise.
    pub fn forget(&mut self, node: NodeId) {
        self.close(node);
        if let Some(request) = self.askers.remove(&node).and_then(|asker| self.requests.get_mut(&asker)) {
            request.asked.retain(|asked| asked.call != node);
        }
    }

    /// A process ended.
    pub fn exited(&mut self, pid: Pid) {
        for request in self.processes.remove(&pid).map(|process| process.open).unwrap_or_default() {
            self.close(request);
        }
    }

    /// Takes a request out.
    fn close(&mut self, node: NodeId) -> Option<Request> {
        let request = self.requests.remove(&node)?;
        for asked in &request.asked {
            self.askers.remove(&asked.call);
        }
        if let Some(process) = self.processes.get_mut(&request.pid) {
            process.open.retain(|open| *open != node);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests;
