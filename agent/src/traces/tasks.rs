//! For whom a thread is working: evidence `task`, by the guarded turn.
//!
//! A thread that serves one request at a time works for the request it has read until it has written the response. An
//! event-loop thread works for whatever it read last (a request, or the response to a call made for a request), until it
//! waits for events again; and what it writes then proves nothing while some other request of the process could be the
//! one that writes (it is open, received, and neither has a call under way nor has begun to answer): a connection pool
//! may have handed a connection to it. Without these guards the rule is wrong more often than right.
//!
//! A process whose calls' responses are read by other threads than those that made the calls may move requests between threads. Then a
//! thread is evidence only where each request stays with the one that has read it ([`STAYED`]).
//!
//! A goroutine or coroutine does one thing at a time, whatever thread runs it, so it needs no guard. But a coroutine works for nobody unless it has
//! read the request itself, nor does one that has read a request while another one of its was open.
//!
//! A request with a call under way could write as well, if it does several things at once. A process shows that it has such
//! requests ([`Process::overlapped`]), usually with the first of them; from then on any other open request could be the
//! writer where something but the thread's own reads can make it write: a connection that has just become free, or a
//! timer.

use std::{collections::BTreeSet, num::NonZeroUsize};

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use crate::{
    event::{Pid, SocketId, Strand, Time, Turn},
    traces::tracker::NodeId,
};

/// Threads remembered; the least recently active is forgotten and works for nobody then.
const THREAD_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Processes remembered; what the least recently active has shown is forgotten.
const PROCESS_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// How long an open request that shows no sign of life counts against evidence, ns. Longer than a pool lets anybody wait; what
/// lost events have left behind counts no longer than this either.
const PATIENCE: Time = 60_000_000_000;

/// How long what requests of a process have shown counts against its evidence, ns: that they make several calls at once, that
/// handlers are put off, that threads take up each other's work. Rare requests come back within it.
const LESSON: Time = 600_000_000_000;

/// How often reads and writes must have taken turns for a process to be taken for one that acts on what it has read at once.
const INTERLEAVED: u32 = 8;

/// How many requests in a row must have been answered by the thread that had read them, without reading another one before, for threads of a process
/// to be taken for ones that wait while others work for them (Java's HTTP client has threads of its own).
const STAYED: u32 = 16;

/// How the current work of a thread began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Began {
    /// It read the request itself.
    Request,
    /// It read the response to a call that was made in an earlier turn.
    Response,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    request: NodeId,
    began: Began,
}

#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    turn: u32,
    /// It has read something in this turn.
    read: bool,
    /// How many things it has read one after the other, and whether it has written something since.
    row: u32,
    wrote: bool,
    /// What it has read from last in this turn.
    last: Option<SocketId>,
    work: Option<Work>,
    /// It has been seen to leave a request open and wait for others: it never serves one at a time.
    event_loop: bool,
}

/// An open request, as far as the guards need it.
#[derive(Debug, Clone, Copy)]
struct Request {
    pid: Pid,
    /// Who read it.
    reader: Turn,
    /// It is received completely.
    received: bool,
    /// A part of the response was written.
    answering: bool,
    /// Calls made for it that are not answered, connections being set up for it included.
    calls: u32,
    /// When any of this last changed.
    since: Time,
}

impl Request {
    /// It could act at any moment, on its own account or because something that it waits for is handed to it.
    fn could_act(&self) -> bool {
        self.received && !self.answering && self.calls == 0
    }
}

/// Requests of one process.
#[derive(Debug, Default)]
struct Process {
    /// Open requests, and since when they are as they are.
    open: BTreeSet<(Time, NodeId)>,
    /// Those of them that could act.
    could_act: BTreeSet<(Time, NodeId)>,
    /// When a request last acted although it had something under way: it made a second call at once, made a call before it
    /// was received or after its answer began, or answered before its call was. Then calls may be waiting in a pool unseen.
    overlapped: Option<Time>,
    /// When an event loop last wrote in a turn in which it had read nothing: timers, or handlers put off to a later turn.
    deferred: Option<Time>,
    /// How often a thread read something, wrote, and read something else in the same turn: what it writes follows from what it has read last.
    interleaved: u32,
    /// When a thread last answered a request in a turn in which it had read several things, and something else last: it reads all first.
    batched: Option<Time>,
    /// When a thread last read the response to a call that another thread had made for the request it worked for: requests move between threads.
    moved: Option<Time>,
    /// How many requests in a row were answered in the turn in which they were read.
    stayed: u32,
    /// The only open request made a call in the turn in which it was read: handlers run as soon as their bytes are read.
    at_once: bool,
    /// When a response was last written by another thread than the one that read the request: threads take up others' work.
    handed_off: Option<Time>,
}

/// The threads and open requests of all processes.
#[derive(Debug)]
pub struct Tasks {
    threads: LruCache<Strand, Thread>,
    requests: HashMap<NodeId, Request>,
    processes: LruCache<Pid, Process>,
    /// The time of the event that is acted on.
    now: Time,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            threads: LruCache::new(THREAD_LIMIT),
            requests: HashMap::new(),
            processes: LruCache::new(PROCESS_LIMIT),
            now: 0,
        }
    }
}

impl Tasks {
    /// Time has come so far.
    pub fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// A thread has read a request. `alone`: it read no other in the same call.
    pub fn request_read(&mut self, turn: Turn, request: NodeId, alone: bool) {
        let still_open = self.thread(turn).work.is_some_and(|work| self.requests.contains_key(&work.request));
        let since = self.now;
        self.requests.insert(
            request,
            Request { pid: turn.strand.pid(), reader: turn, received: false, answering: false, calls: 0, since },
        );
        self.processes.get_or_insert_mut(turn.strand.pid(), Process::default).open.insert((since, request));
        let thread = self.thread_reads(turn);
        thread.event_loop |= still_open;
        thread.work = alone.then_some(Work { request, began: Began::Request });
    }

    /// A thread has read more on the connection of a request, the newest there.
    pub fn request_continued(&mut self, turn: Turn, request: NodeId) {
        match self.requests.get(&request) {
            // The beginning of another one.
            Some(Request { received: true, .. }) | None => self.unknown_read(turn),
            Some(_) => self.thread_reads(turn).work = Some(Work { request, began: Began::Request }),
        }
    }

    /// The request is received completely.
    pub fn request_received(&mut self, request: NodeId) {
        self.change(request, |request| request.received = true);
    }

    /// A part of the response was written. Whether it is the first.
    pub fn answering(&mut self, turn: Turn, request: NodeId) -> bool {
        let Some(&Request { reader, calls, answering, .. }) = self.requests.get(&request) else { return false };
        self.change(request, |request| request.answering = true);
        let thread = self.thread(turn);
        thread.wrote = true;
        let batched = thread.row > 1 && thread.work.is_some_and(|work| work.request != request);
        if reader.strand == turn.strand && reader.number != turn.number {
            self.thread(turn).event_loop = true;
        }
        let is_loop = self.thread(turn).event_loop;
        if let Some(process) = self.processes.get_mut(&turn.strand.pid()) {
            if reader.strand != turn.strand {
                process.handed_off = Some(self.now);
            }
            if reader != turn || is_loop {
                process.stayed = 0;
            } else if !answering {
                process.stayed = process.stayed.saturating_add(1);
            }
            if calls > 0 {
                process.overlapped = Some(self.now);
            }
            if batched {
                process.batched = Some(self.now);
            }
        }
        !answering
    }

    /// The response was written, or the request is over otherwise: nobody works for it any more.
    pub fn request_done(&mut self, request: NodeId) {
        let Some(done) = self.requests.remove(&request) else { return };
        if let Some(process) = self.processes.get_mut(&done.pid) {
            process.open.remove(&(done.since, request));
            process.could_act.remove(&(done.since, request));
        }
    }

    /// A call was made for a request, or a connection is being set up for it.
    pub fn call_made(&mut self, request: NodeId) {
        self.change(request, |request| request.calls += 1);
        if let Some(&Request { pid, calls, received, answering, .. }) = self.requests.get(&request)
            && (calls > 1 || !received || answering)
            && let Some(process) = self.processes.get_mut(&pid)
        {
            process.overlapped = Some(self.now);
        }
    }

    /// A call that was made for a request, or the set-up of its connection, is over.
    pub fn call_done(&mut self, request: NodeId) {
        self.change(request, |request| request.calls = request.calls.saturating_sub(1));
    }

    /// A thread has read (a part of) the response to a call, which `caller` wrote for `request` (unknown: `None`).
    pub fn response_read(&mut self, turn: Turn, caller: Turn, request: Option<NodeId>) {
        let request = request.filter(|request| self.requests.contains_key(request));
        let is_same = |work: Work| request.is_none_or(|request| request == work.request);
        if caller == turn && self.thread(turn).work.is_none_or(is_same) {
            return; // it waited for the response with nothing in between: still the same work
        }
        let thread = self.thread_reads(turn);
        if is_own(turn.strand, thread.work) {
            return;
        }
        thread.event_loop |= caller.strand == turn.strand;
        thread.work = request.map(|request| Work { request, began: Began::Response });
    }

    /// A thread has read the response to a call that another thread had made in its work for a request.
    pub fn moved(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.moved = Some(self.now);
        }
    }

    /// A thread has read something that belongs to nobody that is known.
    pub fn unknown_read(&mut self, turn: Turn) {
        let thread = self.thread_reads(turn);
        if !is_own(turn.strand, thread.work) {
            thread.work = None;
        }
    }

    /// For which request the thread is working, if that is certain: the owner of what it now sends, or of the connection it
    /// opens. `freed`: the answer to the connection's latest call was read in this very turn, so that it may have been
    /// handed to a call that waited for it.
    pub fn working_for(&mut self, turn: Turn, freed: bool) -> Option<NodeId> {
        self.thread(turn).wrote = true;
        let thread = *self.thread(turn);
        let process = self.processes.get_mut(&turn.strand.pid())?;
        if thread.event_loop && !thread.read {
            process.deferred = Some(self.now);
        }
        let work = thread.work?;
        if matches!(turn.strand, Strand::Coroutine(..)) && (thread.event_loop || work.began != Began::Request) {
            return None;
        }
        let oldest = self.now.saturating_sub(PATIENCE);
        let lesson = self.now.saturating_sub(LESSON);
        let recent = |seen: Option<Time>| seen.is_some_and(|time| time >= lesson);
        let request = self.requests.get(&work.request).filter(|request| request.pid == turn.strand.pid())?;
        let sequential = !matches!(turn.strand, Strand::Thread(..));
        let stays = work.began == Began::Request
            && !thread.event_loop
            && process.stayed >= STAYED
            && !recent(process.handed_off);
        if !sequential && !stays && recent(process.moved) && process.open.len() > 1 {
            return None;
        }
        if !sequential && (thread.event_loop || recent(process.handed_off) || work.began != Began::Request) {
            let itself = (request.since, work.request);
            let other_open = has_other(&mut process.open, itself, oldest);
            let other_idle = has_other(&mut process.could_act, itself, oldest);
            let unordered = recent(process.deferred) || recent(process.handed_off);
            // Who reads all first may have let a request wait for its turn; else only what is freed lets one that waits act.
            let own = work.began == Began::Request && process.at_once && !unordered && !recent(process.batched);
            // Unless it is the reader's own, something made it write that the thread did not read: a connection or a timer.
            let by_another = if own { freed } else { freed || unordered };
            let doubtful = (other_idle && (freed || !own)) || (recent(process.overlapped) && by_another);
            // It has read all that there was first: anything of it can be what it acts on.
            let batch = thread.row > 1 && (process.interleaved < INTERLEAVED || recent(process.batched));
            if other_open && (doubtful || batch) {
                return None;
            }
        }
        process.at_once |= work.began == Began::Request && process.open.len() == 1;
        Some(work.request)
    }

    /// The request that a coroutine has read and works for, if that could act: it waits for nothing that is seen.
    #[must_use]
    pub fn could_act(&self, strand: Strand) -> Option<NodeId> {
        let thread = self.threads.peek(&strand)?;
        let work = thread.work.filter(|_| is_own(strand, thread.work) && !thread.event_loop)?;
        self.requests.get(&work.request).filter(|request| request.could_act()).map(|_| work.request)
    }

    /// Whether a coroutine works for several requests at once.
    #[must_use]
    pub fn is_shared(&self, strand: Strand) -> bool {
        matches!(strand, Strand::Coroutine(..)) && self.threads.peek(&strand).is_some_and(|thread| thread.event_loop)
    }

    /// A strand has read from a socket.
    pub fn read_from(&mut self, turn: Turn, socket: SocketId) {
        self.thread(turn).last = Some(socket);
    }

    /// Whether this socket is the one that a strand has read from last, in this turn.
    #[must_use]
    pub fn has_read_last(&self, turn: Turn, socket: SocketId) -> bool {
        let thread = self.threads.peek(&turn.strand);
        thread.is_some_and(|thread| thread.turn == turn.number && thread.last == Some(socket))
    }

    /// Whether requests of a process are open: somebody could be working for them.
    #[must_use]
    pub fn has_open(&self, pid: Pid) -> bool {
        self.processes.peek(&pid).is_some_and(|process| !process.open.is_empty())
    }

    /// Whether a process has shown lately that what its threads do in a turn need not follow from what they read in it.
    #[must_use]
    pub fn is_unordered(&self, pid: Pid) -> bool {
        let lesson = self.now.saturating_sub(LESSON);
        let recent = |seen: Option<Time>| seen.is_some_and(|time| time >= lesson);
        self.processes.peek(&pid).is_some_and(|process| recent(process.deferred) || recent(process.handed_off))
    }

    /// A process ended: its threads are gone.
    pub fn exited(&mut self, pid: Pid) {
        if self.processes.pop(&pid).is_some() {
            self.requests.retain(|_, request| request.pid != pid);
        }
    }

    /// The thread, which reads something.
    fn thread_reads(&mut self, turn: Turn) -> &mut Thread {
        let thread = self.thread(turn);
        let interleaves = thread.read && thread.wrote && thread.row == 1;
        thread.row = if thread.wrote { 1 } else { thread.row + 1 };
        thread.read = true;
        thread.wrote = false;
        if interleaves && let Some(process) = self.processes.get_mut(&turn.strand.pid()) {
            process.interleaved = process.interleaved.saturating_add(1);
        }
        self.thread(turn)
    }

    /// The thread, in the turn it is in now.
    fn thread(&mut self, turn: Turn) -> &mut Thread {
        let thread = self.threads.get_or_insert_mut(turn.strand, Thread::default);
        if thread.turn != turn.number {
            thread.turn = turn.number;
            thread.read = false;
            thread.row = 0;
            thread.wrote = false;
            thread.last = None;
            // A request left open over a wait for several files: not served alone. It may be over by now; the guards then cost
            // nothing.
            thread.event_loop |= thread.work.is_some_and(|work| self.requests.contains_key(&work.request));
            thread.work = None;
        }
        thread
    }

    fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Request)) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(process) = self.processes.get_mut(&request.pid) else { return };
        process.open.remove(&(request.since, id));
        process.could_act.remove(&(request.since, id));
        change(request);
        request.since = self.now;
        process.open.insert((request.since, id));
        if request.could_act() {
            process.could_act.insert((request.since, id));
        }
    }
}

/// Whether it is the work of a coroutine, which has begun with a request: it goes on with it whatever it reads.
fn is_own(strand: Strand, work: Option<Work>) -> bool {
    matches!(strand, Strand::Coroutine(..)) && work.is_some_and(|work| work.began == Began::Request)
}

/// Whether a set has a request besides `itself`. Those that are older than `oldest` are dropped from it: nobody waits so long.
fn has_other(requests: &mut BTreeSet<(Time, NodeId)>, itself: (Time, NodeId), oldest: Time) -> bool {
    while requests.first().is_some_and(|&(since, _)| since < oldest) {
        requests.pop_first();
    }
    requests.len() > usize::from(requests.contains(&itself))
}

#[cfg(test)]
mod tests;
