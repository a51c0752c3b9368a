//! Calls of several requests that were read in one turn: evidence `task`, by the order of a thread's round.
//!
//! A proxy like HAProxy reads all that there is (requests of clients, responses of servers) before it acts on any of it, in one turn of its
//! loop. What it then writes belongs to several requests. Two things tell which is whose, neither of them for certain:
//!
//! - *forward*: as many calls are made in the turn as requests were read. Then the calls are probably in the order of the requests.
//! - *backward*: as many requests are answered in a turn as responses were read. Then the answers are probably in the order of the responses.
//!
//! A call is claimed for a request only where both say so. The two look at different turns, mostly together with other requests: who does things in
//! another order is contradicted soon. It is claimed only for processes where this is a custom: [`ENOUGH`] times were
//! a forward and a backward round that had nothing but one call in common of one mind about it, one of them at least with several requests. And it is claimed nowhere for a while after
//! the two have contradicted each other, or anything else has contradicted them: a program may keep another order for some requests alone.
//!
//! Nothing is said of a turn forward
//! - if the numbers differ: a request waits in a queue, one was sent once more, or a connection is being opened;
//! - while a request of the thread from an earlier turn has no call under way and is not answered: it may be the one that acts now.
//!
//! A request that is answered in the turn in which it was read (from a cache, or with an error) has made no call and is left out.

use std::{
    collections::BTreeSet,
    mem::{replace, take},
    num::NonZeroUsize,
};

use lru::LruCache;

use crate::{
    event::{Pid, Strand, Time, Turn},
    traces::{customs::Custom, handoffs::Decision, span::Evidence, tracker::NodeId},
};

/// Threads remembered.
const THREAD_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Requests, and calls, remembered.
const NODE_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Processes of which it is remembered in which order they do things.
const PROCESS_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What is kept of a turn, of each sort. Loops take no more from the kernel at once; a thread whose turn goes on for longer is none of them.
const ROUND_LIMIT: usize = 512;

/// How many rounds must have told that an order is kept: one that is kept for most requests, but not for all, holds good for a while.
const ENOUGH: u32 = 64;

/// Calls of a process that wait for it to be a custom. The oldest are given up for others.
const HELD_LIMIT: usize = 1024;

/// How long a request without a call counts as one that may act, ns; what lost events have left behind counts no longer either.
const PATIENCE: Time = 60_000_000_000;

/// How long it counts that the order was another one, ns.
const LESSON: Time = 600_000_000_000;

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
struct Answered {
    request: NodeId,
    /// Its call, by the forward order.
    call: Option<NodeId>,
}

/// What a thread does in one turn, each in its order.
#[derive(Debug, Default)]
struct Round {
    number: u32,
    /// Requests that were read and are not explained otherwise.
    read: Vec<NodeId>,
    /// Calls whose request is not known.
    made: Vec<NodeId>,
    /// Calls of earlier turns whose responses were read.
    returned: Vec<NodeId>,
    /// Requests of earlier turns.
    answered: Vec<Answered>,
    /// Something else was done as well: it says nothing.
    unclear: bool,
    /// A call came before the request that would have made it: it says nothing forward.
    early: bool,
    /// A request of an earlier turn could have acted when it began.
    awaited: bool,
    /// Requests of earlier turns that could act, since then.
    waiting: BTreeSet<(Time, NodeId)>,
}

/// An open request.
#[derive(Debug, Clone, Copy)]
struct Request {
    strand: Strand,
    /// Since when it could act.
    waiting: Option<Time>,
    /// Its call, by the forward order.
    call: Option<NodeId>,
}

/// A call, until all is known of it.
#[derive(Debug, Clone, Copy)]
struct Call {
    turn: Turn,
    /// For which request it was made, by the forward order or by other evidence.
    request: Option<NodeId>,
    /// The round of which the forward order was, and how many requests were read in it; none for other evidence.
    round: Option<(u64, usize)>,
    /// It is decided.
    known: bool,
    returned: bool,
    /// All that there is to be seen of it was seen.
    concluded: bool,
}

/// Whether a process keeps the order.
#[derive(Debug, Default)]
struct Order {
    custom: Custom<bool>,
    is_kept: bool,
    /// When it was last another one.
    failed: Option<Time>,
    /// What would be claimed if it was a custom.
    held: Vec<(NodeId, NodeId)>,
}

impl Order {
    fn has_failed_lately(&self, now: Time) -> bool {
        self.failed.is_some_and(|time| time >= now.saturating_sub(LESSON))
    }
}

/// What was found out about calls.
#[derive(Debug, Default)]
pub struct Findings {
    /// Whose they are.
    pub decisions: Vec<(Pid, Decision)>,
    /// Calls of which nothing will be found out here.
    pub released: Vec<NodeId>,
}

/// The turns of threads that work for several requests at once.
#[derive(Debug)]
pub struct Rounds {
    threads: LruCache<Strand, Round>,
    requests: LruCache<NodeId, Request>,
    calls: LruCache<NodeId, Call>,
    orders: LruCache<Pid, Order>,
    findings: Findings,
    /// How many rounds were paired.
    rounds: u64,
    /// The time of the event that is acted on.
    now: Time,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            threads: LruCache::new(THREAD_LIMIT),
            requests: LruCache::new(NODE_LIMIT),
            calls: LruCache::new(NODE_LIMIT),
            orders: LruCache::new(PROCESS_LIMIT),
            findings: Findings::default(),
            rounds: 0,
            now: 0,
        }
    }
}

impl Rounds {
    /// Time has come so far. What was found out since the last time.
    pub fn advance(&mut self, now: Time) -> Findings {
        self.now = self.now.max(now);
        take(&mut self.findings)
    }

    /// A strand has read a request.
    pub fn request_read(&mut self, turn: Turn, request: NodeId) {
        let strand = turn.strand;
        if let Some(round) = self.round(turn) {
            round.read.push(request);
            self.requests.put(request, Request { strand, waiting: None, call: None });
        }
    }

    /// A call, or something that comes before one (a connection is opened), was begun for a request that is known.
    pub fn begun(&mut self, turn: Turn, request: NodeId) {
        if let Some(round) = self.round(turn) {
            round.read.retain(|read| *read != request);
        }
        self.waits_no_longer(request);
    }

    /// A call was made or begun, for a request if that is known.
    pub fn call_made(&mut self, turn: Turn, call: NodeId, request: Option<NodeId>) {
        match request {
            Some(request) => self.begun(turn, request),
            None => {
                let Some(round) = self.round(turn) else { return };
                round.early |= round.made.len() >= round.read.len();
                round.made.push(call);
            }
        }
        if matches!(turn.strand, Strand::Thread(..)) {
            let known = request.is_some();
            self.calls.put(call, Call { turn, request, round: None, known, returned: false, concluded: false });
        }
    }

    /// A strand has read (a part of) the response to a call.
    pub fn call_read(&mut self, turn: Turn, call: NodeId) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        if replace(&mut known.returned, true) {
            return;
        }
        let made = known.turn;
        let Some(round) = self.round(turn) else { return };
        round.unclear |= made.strand != turn.strand;
        if made == turn {
            // Who waits for it does one thing after the other.
            round.unclear = true;
            self.calls.pop(&call);
        } else {
            round.returned.push(call);
        }
    }

    /// A strand writes the first part of the response to a request.
    pub fn answered(&mut self, turn: Turn, request: NodeId) {
        let known = self.requests.peek(&request).copied();
        if let Some(round) = self.round(turn) {
            if let Some(index) = round.read.iter().position(|read| *read == request) {
                round.read.remove(index);
                return;
            }
            round.unclear |= known.is_some_and(|known| known.strand != turn.strand);
            round.answered.push(Answered { request, call: known.and_then(|known| known.call) });
        }
        self.waits_no_longer(request);
    }

    /// A call turned out to be this request's, by other evidence.
    pub fn decided(&mut self, call: NodeId, request: NodeId) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        known.known = true;
        let (turn, before) = (known.turn, known.request.replace(request));
        let concluded = known.concluded;
        if before.is_some_and(|before| before != request) {
            self.failed(turn.strand.pid());
        }
        if concluded {
            self.calls.pop(&call);
        }
        if let Some(round) = self.threads.peek_mut(&turn.strand)
            && round.number == turn.number
        {
            round.made.retain(|made| *made != call);
            round.read.retain(|read| *read != request);
        }
        self.waits_no_longer(request);
    }

    /// Whether a call may yet be found to be a request's.
    #[must_use]
    pub fn awaits(&self, call: NodeId) -> bool {
        self.calls.peek(&call).is_some_and(|call| call.request.is_some() && !call.known)
    }

    /// No more will come in the turn in which the response to a call was read.
    pub fn conclude(&mut self, call: NodeId) -> Findings {
        if let Some(known) = self.calls.peek(&call)
            && known.returned
            && !known.concluded
            && self.awaits(call)
        {
            self.close(known.turn.strand);
        }
        take(&mut self.findings)
    }

    /// A call is over, or nobody asks any more whose it was.
    pub fn forget(&mut self, call: NodeId) {
        let Some(Call { turn, request, known, returned, .. }) = self.calls.pop(&call) else { return };
        if let Some(round) = self.threads.peek_mut(&turn.strand) {
            round.unclear |= round.number == turn.number;
        }
        // It may be made once more.
        if let Some(request) = request.filter(|_| !known && !returned) {
            self.waits(request);
        }
    }

    /// A request is over.
    pub fn request_done(&mut self, request: NodeId) {
        self.waits_no_longer(request);
        if let Some(Request { strand, .. }) = self.requests.pop(&request)
            && let Some(round) = self.threads.peek_mut(&strand)
        {
            round.unclear |= round.read.contains(&request);
        }
    }

    /// The round that a thread is in.
    fn round(&mut self, turn: Turn) -> Option<&mut Round> {
        if !matches!(turn.strand, Strand::Thread(..)) {
            return None;
        }
        if self.threads.get(&turn.strand).is_some_and(|round| round.number != turn.number) {
            self.close(turn.strand);
        }
        let oldest = self.now.saturating_sub(PATIENCE);
        let round = self.threads.get_or_insert_mut(turn.strand, Round::default);
        if round.number != turn.number {
            while round.waiting.first().is_some_and(|&(since, _)| since < oldest) {
                round.waiting.pop_first();
            }
            let waiting = take(&mut round.waiting);
            *round = Round { number: turn.number, awaited: !waiting.is_empty(), waiting, ..Round::default() };
        }
        let Round { read, made, returned, answered, .. } = round;
        if [read.len(), made.len(), returned.len(), answered.len()].iter().any(|length| *length >= ROUND_LIMIT) {
            (*read, *made, *returned, *answered) = Default::default();
            round.unclear = true;
        }
        Some(round)
    }

    /// What a thread has done in its turn says whose calls were whose.
    fn close(&mut self, strand: Strand) {
        let Some(round) = self.threads.get_mut(&strand) else { return };
        let Round { read, made, returned, answered, awaited, early, .. } = round;
        let (read, made, returned, answered) = (take(read), take(made), take(returned), take(answered));
        // What yet comes of it is only a part.
        let unclear = replace(&mut round.unclear, true);
        let awaited = *awaited || *early;
        if !returned.is_empty() {
            self.backward(strand.pid(), &returned, &answered, unclear);
        }
        self.forward(strand, &read, &made, unclear || awaited);
    }

    /// Answers in the order of responses.
    fn backward(&mut self, pid: Pid, returned: &[NodeId], answered: &[Answered], unclear: bool) {
        // Who was asked later than the call was made is not who made it.
        let is_clear = !unclear
            && returned.len() == answered.len()
            && returned.iter().zip(answered).all(|(call, answered)| *call > answered.request);
        let mut calls = Vec::with_capacity(returned.len());
        for call in returned {
            let Some(call) = self.calls.get_mut(call) else { continue };
            call.concluded = true;
            calls.push(*call);
        }
        let pairs = || returned.iter().zip(answered).filter(|_| is_clear);
        let known = |call: &NodeId| self.calls.peek(call).copied();
        let is_other = |call: &Call, answered: &Answered| match call.request {
            Some(request) => request != answered.request,
            None => answered.call.is_some(),
        };
        let in_round = |round| calls.iter().filter(|call| call.round == Some(round)).count();
        let tells = |call: &Call| match call.round {
            Some(round) => (round.1 > 1 || returned.len() > 1) && in_round(round) == 1,
            None => call.request.is_some() && returned.len() > 1,
        };
        if pairs().any(|(call, answered)| known(call).is_some_and(|call| is_other(&call, answered))) {
            self.failed(pid);
        } else if pairs().any(|(call, _)| known(call).is_some_and(|call| tells(&call))) {
            self.held_good(pid);
        }
        for (index, &call) in returned.iter().enumerate() {
            let answered = answered.get(index).filter(|_| is_clear).map(|answered| answered.request);
            match self.calls.peek(&call) {
                Some(Call { known: true, .. }) => drop(self.calls.pop(&call)),
                Some(Call { request: Some(request), .. }) if Some(*request) == answered => {
                    self.agreed(pid, call, *request);
                }
                _ => self.release(call),
            }
        }
        // Who got a response and does not answer may call once more.
        for request in calls.iter().filter_map(|call| call.request) {
            if !answered.iter().any(|answered| answered.request == request) {
                self.waits(request);
            }
        }
    }

    /// Calls in the order of requests.
    fn forward(&mut self, strand: Strand, read: &[NodeId], made: &[NodeId], unclear: bool) {
        let awaited = self.threads.peek(&strand).is_some_and(|round| !round.waiting.is_empty());
        let is_clear = !unclear && !awaited && read.len() == made.len();
        self.rounds += 1;
        for (index, &request) in read.iter().enumerate() {
            let call = made.get(index).copied().filter(|_| is_clear);
            if let Some(known) = self.requests.get_mut(&request) {
                known.call = call;
            }
            match call {
                Some(call) => {
                    if let Some(call) = self.calls.get_mut(&call) {
                        (call.request, call.round) = (Some(request), Some((self.rounds, read.len())));
                    }
                }
                None => self.waits(request),
            }
        }
    }

    /// The two orders are of one mind, and could have been of another.
    fn held_good(&mut self, pid: Pid) {
        let now = self.now;
        let order = self.orders.get_or_insert_mut(pid, Order::default);
        let is_kept = order.custom.is_kept(true) && order.custom.times() >= ENOUGH;
        order.is_kept = is_kept && !order.has_failed_lately(now);
        if order.is_kept {
            let held = take(&mut order.held);
            self.findings
                .decisions
                .extend(held.into_iter().map(|(call, request)| (pid, (call, request, Evidence::Task))));
        }
    }

    /// Both orders say whose a call is.
    fn agreed(&mut self, pid: Pid, call: NodeId, request: NodeId) {
        let now = self.now;
        let order = self.orders.get_or_insert_mut(pid, Order::default);
        if order.is_kept {
            self.findings.decisions.push((pid, (call, request, Evidence::Task)));
        } else if order.has_failed_lately(now) {
            self.release(call);
        } else {
            if order.held.len() >= HELD_LIMIT {
                order.held.remove(0);
            }
            order.held.push((call, request));
        }
    }

    /// Things were done in another order.
    fn failed(&mut self, pid: Pid) {
        let now = self.now;
        let order = self.orders.get_or_insert_mut(pid, Order::default);
        order.custom.is_kept(false);
        order.failed = Some(now);
        order.is_kept = false;
        let mut claimed: Vec<NodeId> = take(&mut order.held).into_iter().map(|(call, _)| call).collect();
        // What was found in this very moment is not believed either.
        claimed.extend(self.findings.decisions.extract_if(.., |(of, _)| *of == pid).map(|(_, (call, ..))| call));
        claimed.into_iter().for_each(|call| self.release(call));
    }

    /// Nothing will be found out of a call.
    fn release(&mut self, call: NodeId) {
        self.calls.pop(&call);
        self.findings.released.push(call);
    }

    /// A request could act.
    fn waits(&mut self, request: NodeId) {
        let now = self.now;
        let Some(known) = self.requests.peek_mut(&request).filter(|known| known.waiting.is_none()) else { return };
        (known.waiting, known.call) = (Some(now), None);
        if let Some(round) = self.threads.peek_mut(&known.strand) {
            round.waiting.insert((now, request));
        }
    }

    fn waits_no_longer(&mut self, request: NodeId) {
        let Some(known) = self.requests.peek_mut(&request) else { return };
        if let Some(since) = known.waiting.take()
            && let Some(round) = self.threads.peek_mut(&known.strand)
        {
            round.waiting.remove(&(since, request));
        }
    }
}

#[cfg(test)]
mod tests;
