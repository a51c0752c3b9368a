//! Calls of coroutines that are known by their contexts: who writes a response has made them (`task`, or `handoff` if another context read the
//! request).
//!
//! A coroutine works for one request at a time, but where its context is says less than a goroutine's number: in asyncio, a connection is read in
//! a context of its own, and passes what it has read on to the task that waits for it, which nobody sees; and when a task is over, the next one
//! gets the same address. So nothing is claimed until a response is written. The calls that its writer has made since the request was received are
//! the request's: a server starts what handles a request as soon as it is read, and from then on the address is taken. Where it starts the writer
//! later, that shows: the address has been another coroutine's after the request was received. It has
//!
//! - written another response,
//! - read another request, or the response to another context's call (a connection has it, or a greenlet),
//! - made a call that is known to be another request's.
//!
//! Then nothing is claimed of requests of that sort for a while.
//! And only calls of such sorts count that are made by who answers, always ([`habits`]).
//!
//! Contexts also show where what a thread does in a turn does not follow from what it has read in it ([`super::tasks`]), for it has gone on with
//! another coroutine in between.
//!
//! Where it is seen how contexts are made ([`Coroutines::began`]), as copies of those of the coroutines that begin others, this becomes sharper:
//!
//! - A coroutine that began after a request was received, and writes its response, was begun for it. Its calls are the request's whatever their sort, and
//!   what the address was before does not matter.
//! - The calls of the coroutines that it has begun in that time, and of those that these have begun, are the request's too (`handoff`). So are those that were
//!   begun in a coroutine that has read the request itself.
//!
//! A context in which several things are under way at once (two calls, or two requests that it has read) is no coroutine's: programs with
//! callbacks have a single one for everything. It proves nothing for a while.

mod habits;

use std::{collections::VecDeque, num::NonZeroUsize};

use foldhash::{HashMap, HashMapExt as _};
use lru::LruCache;

use self::habits::Habits;
use crate::{
    event::{Ancestor, Coroutine, Pid, Strand, Task, Time},
    protocols::likeness::Likeness,
    traces::{handoffs::Decision, span::Evidence, tracker::NodeId},
};

/// Contexts remembered.
const CONTEXT_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Threads remembered.
const THREAD_LIMIT: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Coroutines remembered that have begun others which made calls.
const BEGINNER_LIMIT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Calls of a context that wait for a response. One that makes more works for no request.
const CALL_LIMIT: usize = 256;

/// Sorts of requests remembered whose writers begin late.
const SORT_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// How long it counts that writers of a sort of requests begin late, ns.
const LATE_LESSON: Time = 600_000_000_000;

/// How long it counts that several things were under way in a context at once, ns: its address may be a coroutine's later.
const LESSON: Time = 60_000_000_000;

/// A call whose request is not known.
#[derive(Debug, Clone, Copy)]
struct Call {
    node: NodeId,
    start: Time,
    sort: Likeness,
}

/// A call that was made by a coroutine which another one has begun, or one that was begun by such.
#[derive(Debug, Clone, Copy)]
struct Begun {
    call: Call,
    /// When the one began that this other one has begun itself.
    branch: Time,
}

/// Who has made a call.
#[derive(Debug, Clone, Copy)]
struct Caller {
    context: Strand,
    /// Its response was read.
    returned: bool,
}

#[derive(Debug, Default)]
struct Context {
    /// When the coroutine began that has the address now, if that was seen, and in which others it did: the nearest first.
    began: Option<Time>,
    ancestors: Vec<(Strand, Option<Time>)>,
    /// In the order of their beginnings.
    calls: Vec<Call>,
    /// The call that it made last, until its response is read.
    under_way: Option<NodeId>,
    /// The request that it has read last.
    read: Option<NodeId>,
    /// The request for which it is known to have made a call, and when that was.
    worked_for: Option<(NodeId, Time)>,
    /// When it was last seen to begin or end with something else than calls.
    elsewhere: Time,
    /// When several things were last under way in it.
    shared: Option<Time>,
}

impl Context {
    /// What it did before was another coroutine's.
    fn was_elsewhere(&mut self, time: Time) {
        self.elsewhere = time;
        self.calls.clear();
    }

    fn is_shared(&self, now: Time) -> bool {
        self.shared.is_some_and(|time| time >= now.saturating_sub(LESSON))
    }
}

/// An open request.
#[derive(Debug, Clone, Copy)]
struct Request {
    pid: Pid,
    received: Time,
    sort: Likeness,
}

/// What contexts have done that waits for a response.
#[derive(Debug)]
pub struct Coroutines {
    contexts: LruCache<Strand, Context>,
    requests: HashMap<NodeId, Request>,
    habits: Habits,
    /// When the writer of such a request was last seen to have begun late.
    late: LruCache<(Pid, Likeness), Time>,
    /// Of calls that wait, or are under way.
    callers: HashMap<NodeId, Caller>,
    /// By a coroutine and when it began: the calls of those that it has begun, in their order. Some of them are known by now.
    begun: LruCache<(Strand, Time), VecDeque<Begun>>,
    /// In which context threads have read something last.
    reading: LruCache<Strand, Strand>,
}

impl Default for Coroutines {
    fn default() -> Self {
        Self {
            contexts: LruCache::new(CONTEXT_LIMIT),
            requests: HashMap::new(),
            habits: Habits::default(),
            late: LruCache::new(SORT_LIMIT),
            callers: HashMap::new(),
            begun: LruCache::new(BEGINNER_LIMIT),
            reading: LruCache::new(THREAD_LIMIT),
        }
    }
}

impl Coroutines {
    /// A thread has read something.
    pub fn has_read(&mut self, task: Task) {
        if let Some(context) = task.context() {
            self.reading.put(task.strand(), context);
        } else if !self.reading.is_empty() {
            self.reading.pop(&task.strand());
        }
    }

    /// A coroutine is first seen, which began then in these others: what was at its address before is over.
    pub fn began(&mut self, task: Task, time: Time, ancestors: &[Ancestor]) {
        let Some(Coroutine::Context(id)) = task.coroutine else { return };
        let strand = |id| Strand::Coroutine(task.pid, id);
        let ancestors = ancestors.iter().map(|ancestor| (strand(ancestor.context), ancestor.began)).collect();
        self.contexts.put(strand(id), Context { began: Some(time), ancestors, ..Context::default() });
    }

    /// Whether a thread may go on with what it has read last: it is in the same context, as far as that is known.
    #[must_use]
    pub fn goes_on(&self, task: Task) -> bool {
        let read = self.reading.peek(&task.strand());
        task.context().is_none_or(|context| read.is_none_or(|read| *read == context))
    }

    /// Whether it may soon be known whose a call is, though the request that seems to be it is over.
    #[must_use]
    pub fn is_held(&self, call: NodeId) -> bool {
        self.habits.is_held(call)
    }

    /// Whether who made a call may yet answer, or has and it may turn out to count: it is worth waiting for.
    #[must_use]
    pub fn may_answer(&self, call: NodeId) -> bool {
        if self.is_held(call) {
            return true;
        }
        let Some(Caller { context: caller, .. }) = self.callers.get(&call) else { return false };
        let made = self.contexts.peek(caller).and_then(|context| context.calls.iter().find(|made| made.node == call));
        made.is_some_and(|made| self.habits.may_count(caller.pid(), made.sort))
    }

    /// Whether another context than this one is known to have made a call.
    #[must_use]
    pub fn belongs_elsewhere(&self, call: NodeId, context: Strand) -> bool {
        self.callers.get(&call).is_some_and(|caller| caller.context != context)
    }

    /// A request was read, in this context if that is known.
    pub fn request_read(&mut self, task: Task, request: NodeId, time: Time, sort: Likeness) {
        self.has_read(task);
        self.requests.insert(request, Request { pid: task.pid, received: time, sort });
        self.habits.request_read(task.pid, request, time);
        let Some(strand) = task.context() else { return };
        let context = self.contexts.get_or_insert_mut(strand, Context::default);
        if context.read.is_some_and(|before| self.requests.contains_key(&before)) {
            context.shared = Some(time);
        }
        context.read = Some(request);
        context.was_elsewhere(time);
    }

    /// A context has read more of a request.
    pub fn request_continued(&mut self, strand: Strand, request: NodeId, time: Time) {
        if let Some(context) = self.contexts.get_mut(&strand)
            && context.read != Some(request)
        {
            context.was_elsewhere(time);
        }
    }

    /// A context has made a call, for this request if that is known.
    pub fn call_made(&mut self, strand: Strand, call: NodeId, start: Time, sort: Likeness, owner: Option<NodeId>) {
        let context = self.contexts.get_or_insert_mut(strand, Context::default);
        if context.under_way.is_some_and(|before| self.callers.contains_key(&before)) {
            context.shared = Some(start);
        }
        context.under_way = Some(call);
        self.callers.insert(call, Caller { context: strand, returned: false });
        if let Some(owner) = owner {
            context.worked_for = Some((owner, start));
            return;
        }
        if context.calls.len() >= CALL_LIMIT {
            context.calls.remove(0);
        }
        let made = Call { node: call, start, sort };
        context.calls.push(made);
        self.habits.call_made(strand.pid(), call, start, sort);
        let mut branch = context.began;
        for &(ancestor, began) in &context.ancestors {
            let (Some(below), Some(began)) = (branch, began) else { break };
            let begun = self.begun.get_or_insert_mut((ancestor, began), VecDeque::new);
            if begun.len() >= CALL_LIMIT {
                begun.pop_front();
            }
            begun.push_back(Begun { call: made, branch: below });
            branch = Some(began);
        }
    }

    /// A context has made a call while no request was open: it may make such calls for none at other times, too.
    pub fn idle_call_made(&mut self, strand: Strand, call: NodeId, start: Time, sort: Likeness) {
        self.habits.call_made(strand.pid(), call, start, sort);
    }

    /// (A part of) the response to a call was read, in this context if that is known.
    pub fn call_read(&mut self, reader: Option<Strand>, call: NodeId, time: Time) {
        let caller = self.callers.get_mut(&call).map(|caller| {
            caller.returned = true;
            caller.context
        });
        if let Some(context) = caller.and_then(|caller| self.contexts.get_mut(&caller)) {
            context.under_way = context.under_way.filter(|under_way| *under_way != call);
        }
        if reader != caller
            && let Some(context) = reader.and_then(|reader| self.contexts.get_mut(&reader))
        {
            context.was_elsewhere(time);
        }
    }

    /// A context writes a part of the response to a request; whose calls that shows, perhaps of earlier responses as well. `first`: it is the first
    /// part.
    pub fn answered(&mut self, strand: Strand, request: NodeId, first: bool, now: Time) -> Vec<Decision> {
        let Some(context) = self.contexts.get_mut(&strand) else { return Vec::new() };
        let calls = std::mem::take(&mut context.calls);
        let before = std::mem::replace(&mut context.elsewhere, now);
        let is_shared = context.is_shared(now);
        let Some(&Request { pid, received, sort }) = self.requests.get(&request).filter(|_| first && !is_shared) else {
            return Vec::new();
        };
        let elsewhere = context.worked_for.filter(|(owner, _)| *owner != request).map_or(0, |(_, time)| time);
        let since = before.max(elsewhere);
        if since > received {
            self.late.put((pid, sort), now);
        }
        let has_read = context.read == Some(request);
        let evidence = if has_read { Evidence::Task } else { Evidence::Handoff };
        let beginning = context.began.map(|began| (strand, began));
        let is_its_own = beginning.is_some_and(|(_, began)| began >= received);
        let has_returned = |call: &Call| self.callers.get(&call.node).is_some_and(|caller| caller.returned);
        let since = since.max(received);
        let own = calls.into_iter().filter(|call| call.start >= since && has_returned(call));
        let mut decisions: Vec<(Decision, Likeness)> =
            own.map(|call| ((call.node, request, evidence), call.sort)).collect();
        if is_its_own || has_read {
            let begun = beginning.and_then(|beginning| self.begun.pop(&beginning)).unwrap_or_default();
            let its = begun.iter().filter(|begun| begun.branch >= since && has_returned(&begun.call));
            decisions.extend(its.map(|Begun { call, .. }| ((call.node, request, Evidence::Handoff), call.sort)));
        }
        if self.late.get(&(pid, sort)).is_some_and(|time| *time >= now.saturating_sub(LATE_LESSON)) {
            return decisions.into_iter().map(|((call, ..), _)| (call, request, Evidence::Inferred)).collect();
        }
        if is_its_own {
            return self.habits.shown(pid, decisions, now);
        }
        self.habits.answered(pid, decisions, now)
    }

    /// A call turned out to be this request's.
    pub fn decided(&mut self, call: NodeId, owner: NodeId) {
        let Some(context) = self.callers.remove(&call).and_then(|caller| self.contexts.get_mut(&caller.context)) else {
            return;
        };
        let Some(made) = context.calls.iter().position(|made| made.node == call) else { return };
        let made = context.calls.remove(made);
        if context.worked_for.is_none_or(|(_, time)| time <= made.start) {
            context.worked_for = Some((owner, made.start));
        }
    }

    /// A request is over, or a call is, or is explained by nothing that is seen here.
    pub fn forget(&mut self, node: NodeId) {
        if let Some(Request { pid, received, .. }) = self.requests.remove(&node) {
            self.habits.request_over(pid, node, received);
        }
        self.habits.forget(node);
        if let Some(context) = self.callers.remove(&node).and_then(|caller| self.contexts.get_mut(&caller.context)) {
            context.calls.retain(|call| call.node != node);
        }
    }

    /// A process ended.
    pub fn exited(&mut self, pid: Pid) {
        self.habits.exited(pid);
    }
}

#[cfg(test)]
mod tests;
