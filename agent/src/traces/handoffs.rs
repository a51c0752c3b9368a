//! Work that is passed on: whose a call was shows when its result comes back.
//!
//! A thread that gets work from another one shows nothing of it: a busy worker is not even woken for it. But what it did comes back. So calls
//! whose request is not known when they are sent are kept by the strand that sent them, until one of these is seen:
//!
//! - *backward turn* (evidence `task`): the response to a call was the one thing that a strand read before it wrote the response to a request,
//!   without a wait in between. The call was that request's.
//! - *completion wake* (`handoff`): the thread that read a request was blocked by a futex of its own ([`futexes`]); a worker that had made calls
//!   since, and had none under way, woke it; then it wrote the response. The calls are those since the worker woke such a thread the last time.
//!   If several workers woke it, those whose calls are explained otherwise are left out; if several are left, nothing is claimed: one of
//!   them may only have let a lock go. And it is claimed only where nearly every request of that sort shows the same ([`work`]), or no other
//!   request is open.
//! - *results passed on* (`handoff`): the response was read by another thread than the caller's, which woke a worker for it, and that one the thread
//!   that read the request ([`results`]). It is claimed as completion wakes are, where requests of that sort get the same in this way.
//! - *response writer* (`task`, or `handoff` if another thread read the request): the thread that writes the response had made calls, one after
//!   the other and without a wait for several files, since the request was received and since it wrote its last response.
//!
//! The last two hold for workers that do one thing after the other and block meanwhile. A process in which a thread reads the response to another thread's
//! call, or reads a response only after it has waited for several files, has other workers: nothing of the two is claimed there for a while.
//!
//! Forward there is one rule: what a thread or goroutine that was started for a request does first belongs to that request
//! (`handoff`).

use std::num::NonZeroUsize;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use lru::LruCache;

use crate::{
    event::{Pid, Strand, Task, Time, Turn},
    protocols::likeness::Likeness,
    traces::{span::Evidence, tracker::NodeId},
};

mod futexes;
mod results;
mod work;

pub use futexes::Futex;
use futexes::Futexes;
use results::{Got, Replies, Results};
use work::{Done, Work};

/// Strands remembered.
const STRAND_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Calls of a strand that wait to be explained. A worker that makes more without anybody waiting for it works for itself.
const CALL_LIMIT: usize = 256;

/// Sorts of requests of which it is remembered what is done for them.
const CUSTOM_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Workers that woke a request's thread. More of them are no answer to who did its work.
const PIECE_LIMIT: usize = 16;

/// How long it counts that threads of a process do not block for their calls, ns.
const LESSON: Time = 600_000_000_000;

/// Claims of a process that wait for others to be settled.
const CLAIM_LIMIT: usize = 64;

/// What a worker has done before it wakes the reader of a request: its calls from this time to that, since it did so the last time.
#[derive(Debug, Clone, Copy)]
struct Piece {
    worker: Strand,
    /// By which it did.
    futex: Option<Futex>,
    /// When it had handed back something before.
    before: Time,
    from: Time,
    until: Time,
    /// Its last call, if it did not wait or wake anybody after it: then it did no other piece of work either.
    last: Option<NodeId>,
}

/// A call whose request is not known.
#[derive(Debug, Clone, Copy)]
struct Call {
    node: NodeId,
    start: Time,
    turn: Turn,
    sort: Likeness,
    /// Its response was read by the strand that made it.
    returned: Option<Time>,
}

#[derive(Debug, Default)]
struct Worker {
    /// In the order of their beginnings.
    calls: Vec<Call>,
    /// The call whose response it read last, in which turn.
    read: Option<(Turn, NodeId)>,
    /// How many things it read one after the other, without writing anything in between.
    reads: u32,
    /// It has written something since.
    wrote: bool,
    /// When it last wrote the first part of a response.
    answered: Time,
    /// The request for which it was started, and whether it has made a call since.
    started_for: Option<(NodeId, bool)>,
    /// The call that it made last, if that waits.
    latest: Option<NodeId>,
    /// When it last had something to hand back to the reader of a request.
    handed: Time,
    /// When it last woke another thread, or was woken.
    stirred: Time,
}

/// An open request, as far as others' work for it needs it.
#[derive(Debug)]
struct Request {
    sort: Likeness,
    reader: Strand,
    received: Time,
    /// The sorts of its calls that were known at once.
    known: Vec<Likeness>,
    /// What those who woke its reader had done, in the order in which they did.
    pieces: Vec<Piece>,
}

/// A request that was answered after workers had woken its thread.
#[derive(Debug)]
struct Claim {
    request: NodeId,
    sort: Likeness,
    /// No other request of the process was open.
    alone: bool,
    pieces: Vec<Piece>,
}

/// A call, its request, and how that is known: [`Evidence::Inferred`] is no more than likely.
pub type Decision = (NodeId, NodeId, Evidence);

/// Who did what for whom, as far as it shows afterwards.
#[derive(Debug)]
pub struct Handoffs {
    workers: LruCache<Strand, Worker>,
    requests: HashMap<NodeId, Request>,
    /// The open request that a strand has read last.
    reading: HashMap<Strand, NodeId>,
    /// Who has made a call that waits.
    callers: HashMap<NodeId, Strand>,
    claims: HashMap<Pid, Vec<Claim>>,
    /// When threads of a process last did something else between a call and its response.
    mixed: HashMap<Pid, Time>,
    futexes: Futexes,
    results: Results,
    works: LruCache<(Pid, Likeness), Work>,
    replies: LruCache<(Pid, Likeness), Replies>,
    /// Calls that may yet turn out to be what is always done.
    awaited: HashSet<NodeId>,
    /// Open requests of each process.
    open: HashMap<Pid, usize>,
    /// When a process last had several.
    crowded: HashMap<Pid, Time>,
}

impl Default for Handoffs {
    fn default() -> Self {
        Self {
            workers: LruCache::new(STRAND_LIMIT),
            requests: HashMap::new(),
            reading: HashMap::new(),
            callers: HashMap::new(),
            claims: HashMap::new(),
            mixed: HashMap::new(),
            futexes: Futexes::default(),
            results: Results::default(),
            works: LruCache::new(CUSTOM_LIMIT),
            replies: LruCache::new(CUSTOM_LIMIT),
            awaited: HashSet::new(),
            open: HashMap::new(),
            crowded: HashMap::new(),
        }
    }
}

impl Handoffs {
    /// A strand has read a request.
    pub fn request_read(&mut self, strand: Strand, request: NodeId, time: Time, sort: Likeness) {
        let open = self.open.entry(strand.pid()).or_default();
        *open += 1;
        if *open > 1 {
            self.crowded.insert(strand.pid(), time);
        }
        self.requests
            .insert(request, Request { sort, reader: strand, received: time, known: Vec::new(), pieces: Vec::new() });
        self.reading.insert(strand, request);
        self.results.request_read(strand, request, time);
        self.moved(strand, None);
    }

    /// A strand has made a call whose request is not known.
    pub fn call_made(&mut self, turn: Turn, call: NodeId, start: Time, sort: Likeness) {
        self.results.moved(turn.strand, start);
        let worker = self.workers.get_or_insert_mut(turn.strand, Worker::default);
        worker.wrote = true;
        if worker.calls.len() >= CALL_LIMIT {
            let forgotten = worker.calls.remove(0);
            self.callers.remove(&forgotten.node);
        }
        worker.latest = Some(call);
        worker.calls.push(Call { node: call, start, turn, sort, returned: None });
        self.callers.insert(call, turn.strand);
    }

    /// A call was made for a request.
    pub fn call_known(&mut self, request: NodeId, sort: Likeness) {
        if let Some(request) = self.requests.get_mut(&request)
            && request.known.len() < CALL_LIMIT
        {
            request.known.push(sort);
        }
    }

    /// A strand has read (a part of) the response to a call.
    pub fn call_read(&mut self, turn: Turn, call: NodeId, time: Time) {
        self.moved(turn.strand, Some((turn, call)));
        let Some(caller) = self.callers.get(&call) else { return self.results.moved(turn.strand, time) };
        let made =
            self.workers.get_mut(caller).and_then(|worker| worker.calls.iter_mut().find(|known| known.node == call));
        match &made {
            Some(made) if *caller != turn.strand => self.results.read(turn.strand, call, made.start),
            _ => self.results.moved(turn.strand, time),
        }
        match made {
            Some(made) if made.turn == turn => made.returned = Some(time),
            Some(made) if matches!(made.turn.strand, Strand::Thread(..)) => {
                self.mixed.insert(turn.strand.pid(), time);
            }
            _ => {}
        }
    }

    /// A strand has read something else.
    pub fn other_read(&mut self, strand: Strand, time: Time) {
        self.results.moved(strand, time);
        self.moved(strand, None);
    }

    /// A strand has written something whose request is known.
    pub fn written(&mut self, strand: Strand, time: Time) {
        self.results.moved(strand, time);
        if let Some(worker) = self.workers.get_mut(&strand) {
            worker.wrote = true;
            worker.latest = None;
        }
    }

    fn moved(&mut self, strand: Strand, read: Option<(Turn, NodeId)>) {
        // Only who makes such calls, or reads their responses, is remembered.
        let Some(worker) = (match read {
            Some((_, call)) if self.callers.contains_key(&call) => {
                Some(self.workers.get_or_insert_mut(strand, Worker::default))
            }
            _ => self.workers.get_mut(&strand),
        }) else {
            return;
        };
        let other_turn = worker.read.is_some_and(|(before, _)| read.is_some_and(|(turn, _)| turn != before));
        // The parts of one response are one read.
        if std::mem::take(&mut worker.wrote) || other_turn {
            worker.reads = 1;
        } else if read.is_none() || worker.read != read {
            worker.reads += 1;
        }
        worker.read = read;
    }

    /// A thread woke another one of its process, by a futex or else by a write. For the result of which call, and whose that was, probably.
    pub fn woke(&mut self, task: Task, woken: u32, futex: Option<Futex>, time: Time) -> Option<Decision> {
        let (strand, woken) = (task.strand(), Strand::Thread(task.pid, woken));
        if let Some(worker) = self.workers.get_mut(&strand)
            && matches!(worker.started_for, Some((_, true)))
        {
            worker.started_for = None; // its first piece of work is done
        }
        if futex.is_some_and(|futex| !self.futexes.is_private(futex, woken)) {
            return None;
        }
        if let Some(worker) = self.workers.get_mut(&woken) {
            worker.stirred = time;
        }
        let request = self.reading.get(&woken).copied();
        self.hands_back(strand, request, futex, time);
        let (call, request) = self.results.woke(strand, woken, futex?, time)?;
        Some((call, request, Evidence::Inferred))
    }

    /// A worker woke somebody, the reader of a request if he has an open one.
    fn hands_back(&mut self, strand: Strand, request: Option<NodeId>, futex: Option<Futex>, time: Time) {
        let Some(worker) = self.workers.get_mut(&strand) else { return };
        let stirred = std::mem::replace(&mut worker.stirred, time);
        let Some(request) = request.and_then(|request| self.requests.get_mut(&request)) else { return };
        if worker.calls.iter().any(|call| call.returned.is_none()) {
            return;
        }
        let before = worker.handed;
        let from = request.received.max(before);
        let last = worker.calls.last().filter(|call| futex.is_some() && call.start >= from);
        if last.is_some() {
            worker.handed = time;
        }
        let is_latest = |call: &&Call| worker.latest == Some(call.node) && call.returned > Some(stirred);
        let last = last.filter(is_latest).map(|call| call.node);
        let mut piece = Piece { worker: strand, futex, before, from, until: time, last };
        if let Some(index) = request.pieces.iter().position(|piece| piece.worker == strand) {
            piece.from = request.pieces.remove(index).from;
        }
        if request.pieces.len() < PIECE_LIMIT {
            request.pieces.push(piece);
        }
    }

    /// A strand was started by one that works for a request.
    pub fn started(&mut self, strand: Strand, request: NodeId) {
        self.workers.get_or_insert_mut(strand, Worker::default).started_for = Some((request, false));
    }

    /// The request for which a strand that makes a call was started, while that is open.
    pub fn started_for(&mut self, strand: Strand) -> Option<NodeId> {
        let (request, has_called) = self.workers.get_mut(&strand)?.started_for.as_mut()?;
        *has_called = true;
        self.requests.contains_key(request).then_some(*request)
    }

    /// Whether a call, whose request is likely known, may soon be known for certain.
    #[must_use]
    pub fn awaits(&self, call: NodeId) -> bool {
        self.awaited.contains(&call)
    }

    /// Whether a strand was seen before.
    #[must_use]
    pub fn knows(&self, strand: Strand) -> bool {
        self.workers.contains(&strand)
    }

    /// A strand writes the first part of the response to a request. `unordered`: its process is known to do in a turn what does not follow from
    /// what was read in it.
    pub fn answered(&mut self, turn: Turn, request: NodeId, unordered: bool, now: Time) -> Vec<Decision> {
        let got = self.results.answered(turn.strand, request, now);
        let Some(Request { sort, reader, received, known, mut pieces }) = self.close(request) else {
            return Vec::new();
        };
        pieces.retain(|piece| self.still_counts(piece, reader));
        let alone = self.crowded.get(&reader.pid()).is_none_or(|&time| time < received);
        let strand = turn.strand;
        let got = self.counting(request, reader, got);
        let mut decisions =
            if alone { got.decisions(Evidence::Handoff) } else { self.replied((reader.pid(), sort), got, &known) };
        if let Some(worker) = self.workers.get_mut(&strand) {
            worker.wrote = true;
            let reads = worker.reads;
            // Read by another thread or not: this one goes on with it.
            if let Some((read, call)) = worker.read.take()
                && read == turn
                && reads == 1
                && !unordered
                && let Some(made) = self.made(call)
                && made.start >= received
            {
                let evidence = if strand == reader { Evidence::Task } else { Evidence::Handoff };
                decisions.push((call, request, evidence));
            }
        }
        let mixed = self.mixed.get(&strand.pid()).is_some_and(|&time| time >= now.saturating_sub(LESSON));
        if mixed {
            self.claims.remove(&strand.pid());
        } else {
            let since = self.workers.peek(&strand).map_or(received, |worker| received.max(worker.answered));
            let evidence = if strand == reader { Evidence::Task } else { Evidence::Handoff };
            decisions.extend(self.calls_of(strand, since, turn).map(|call| (call, request, evidence)));
            if strand == reader && !pieces.is_empty() {
                let claims = self.claims.entry(strand.pid()).or_default();
                if claims.len() >= CLAIM_LIMIT {
                    claims.remove(0);
                }
                claims.push(Claim { request, sort, alone, pieces });
            }
        }
        if let Some(worker) = self.workers.get_mut(&strand) {
            worker.answered = now;
        }
        self.decided(strand.pid(), decisions)
    }

    /// The results that a reader got by futexes by which nobody else was woken meanwhile.
    fn counting(&self, request: NodeId, reader: Strand, got: Vec<(NodeId, Futex)>) -> Got {
        let counting = got.into_iter().filter(|(_, futex)| self.futexes.is_still_private(*futex, reader));
        let calls = counting.filter_map(|(call, _)| Some((call, self.made(call)?.sort))).collect();
        Got { request, calls }
    }

    /// What is known by what a request of a sort got, of which other calls are `known`. Only sorts of which one has got something are remembered.
    fn replied(&mut self, sort: (Pid, Likeness), got: Got, known: &[Likeness]) -> Vec<Decision> {
        if got.calls.is_empty() && !self.replies.contains(&sort) {
            return Vec::new();
        }
        self.replies.get_or_insert_mut(sort, Replies::default).got(got, known)
    }

    /// Whether nobody else was woken meanwhile by the futex by which a worker woke a reader. If so, it has handed nothing back.
    fn still_counts(&mut self, piece: &Piece, reader: Strand) -> bool {
        let counts = piece.futex.is_none_or(|futex| self.futexes.is_still_private(futex, reader));
        if !counts
            && let Some(worker) = self.workers.get_mut(&piece.worker)
            && worker.handed == piece.until
        {
            worker.handed = piece.before;
        }
        counts
    }

    /// Takes decided calls out, and decides what follows from that.
    pub fn decided(&mut self, pid: Pid, mut decisions: Vec<Decision>) -> Vec<Decision> {
        let mut done = 0;
        loop {
            for &(call, ..) in decisions.get(done..).unwrap_or_default() {
                self.forget(call);
            }
            done = decisions.len();
            let Some(mut claims) = self.claims.remove(&pid) else { break };
            claims.retain(|claim| {
                let mut found = claim.pieces.iter().filter_map(|piece| {
                    let calls = self.finished(piece.worker, piece.from, piece.until);
                    let calls: Vec<_> = calls.map(|call| (call.node, call.sort)).collect();
                    (!calls.is_empty()).then_some(calls)
                });
                let (first, second) = (found.next(), found.next());
                drop(found);
                if second.is_some() {
                    return true;
                }
                let (calls, last) = (first.unwrap_or_default(), claim.pieces.last().and_then(|piece| piece.last));
                let work = self.works.get_or_insert_mut((pid, claim.sort), Work::default);
                decisions.extend(work.done(Done { request: claim.request, calls, last }, claim.alone));
                false
            });
            if !claims.is_empty() {
                self.claims.insert(pid, claims);
            }
            if decisions.len() == done {
                break;
            }
        }
        let mut seen = HashSet::new();
        decisions.retain(|(call, ..)| seen.insert(*call));
        let likely = decisions.iter().filter(|(.., evidence)| *evidence == Evidence::Inferred);
        self.awaited.extend(likely.map(|(call, ..)| *call));
        decisions
    }

    /// A request is over, or a call is explained otherwise.
    pub fn forget(&mut self, node: NodeId) {
        self.close(node);
        self.awaited.remove(&node);
        self.results.forget(node);
        if let Some(strand) = self.callers.remove(&node)
            && let Some(worker) = self.workers.get_mut(&strand)
        {
            worker.calls.retain(|call| call.node != node);
        }
    }

    /// Takes a request out.
    fn close(&mut self, node: NodeId) -> Option<Request> {
        let request = self.requests.remove(&node)?;
        self.results.closed(request.reader, node);
        if self.reading.get(&request.reader) == Some(&node) {
            self.reading.remove(&request.reader);
        }
        let pid = request.reader.pid();
        if let Some(open) = self.open.get_mut(&pid) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&pid);
            }
        }
        Some(request)
    }

    /// A process ended.
    pub fn exited(&mut self, pid: Pid) {
        self.claims.remove(&pid);
        self.mixed.remove(&pid);
        self.crowded.remove(&pid);
    }

    fn made(&self, call: NodeId) -> Option<Call> {
        let worker = self.workers.peek(self.callers.get(&call)?)?;
        worker.calls.iter().find(|known| known.node == call).copied()
    }

    /// The calls that a strand has made for one who waited, from this time to that.
    fn finished(&self, strand: Strand, from: Time, until: Time) -> impl Iterator<Item = Call> {
        let calls = self.workers.peek(&strand).map(|worker| worker.calls.as_slice()).unwrap_or_default();
        calls
            .iter()
            .filter(move |call| call.start >= from && call.returned.is_some_and(|returned| returned <= until))
            .copied()
    }

    /// The calls that a strand has made one after the other since a time, in this very turn; none if one is under way.
    fn calls_of(&self, strand: Strand, from: Time, turn: Turn) -> impl Iterator<Item = NodeId> {
        let calls = self.workers.peek(&strand).map(|worker| worker.calls.as_slice()).unwrap_or_default();
        let in_order = calls.iter().all(|call| call.returned.is_some() && (call.start < from || call.turn == turn));
        let calls: Vec<NodeId> =
            if in_order { self.finished(strand, from, Time::MAX).map(|call| call.node).collect() } else { Vec::new() };
        calls.into_iter()
    }
}

#[cfg(test)]
mod tests;
