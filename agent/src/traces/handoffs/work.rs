//! What workers have done when they wake the threads of requests of one sort.
//!
//! That a worker has done something before it wakes a request's thread does not make that the request's: it may do parts of several requests
//! in turn, and threads wake each other for other reasons. So it is claimed where the same is seen nearly every time ([`Custom`]):
//! - the worker has made the same calls since it woke somebody the last time: it does the whole of a request's work;
//! - it has made a call right before, without waiting or waking anybody after it: it does the last part, and that call was for it.
//!   (Where the last part makes no call, workers often do one after another, and have made none since.)

use std::collections::VecDeque;

use super::Decision;
use crate::{
    protocols::likeness::Likeness,
    traces::{customs::Custom, span::Evidence, tracker::NodeId},
};

/// What is remembered of what was done before it was known what the custom is.
const BEFORE_LIMIT: usize = 64;

/// What a worker has done for a request, probably.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) request: NodeId,
    /// Its calls, with their sorts.
    pub(super) calls: Vec<(NodeId, Likeness)>,
    /// The call that it made right before.
    pub(super) last: Option<NodeId>,
}

impl Done {
    fn sorts(&self) -> Vec<Likeness> {
        self.calls.iter().map(|&(_, sort)| sort).collect()
    }

    /// That all of it was the request's.
    fn decisions(&self, evidence: Evidence) -> Vec<Decision> {
        self.calls.iter().map(|&(call, _)| (call, self.request, evidence)).collect()
    }
}

/// What is always done for requests of one sort.
#[derive(Debug, Default)]
pub(super) struct Work {
    whole: Custom<Vec<Likeness>>,
    /// Whether a call was made right before.
    last: Custom<bool>,
    /// What was done before it was known what the custom is.
    before: VecDeque<Done>,
}

impl Work {
    /// Takes what was done for another request, `alone`: while no other one was open. What is thereby known of this one and of those before.
    pub(super) fn done(&mut self, mut done: Done, alone: bool) -> Vec<Decision> {
        let sorts = done.sorts();
        let ends_with_call = done.last.is_some_and(|last| done.calls.iter().any(|&(call, _)| call == last));
        let is_last = self.last.is_kept(ends_with_call) && ends_with_call;
        let is_whole = self.whole.is_kept(sorts) && !done.calls.is_empty();
        let mut decisions = Vec::new();
        if is_whole {
            let usual = self.whole.usual();
            let like = self.before.drain(..).filter(|done| done.sorts() == *usual);
            decisions.extend(like.flat_map(|done| done.decisions(Evidence::Handoff)));
        } else if is_last {
            // More may become known of what they did else.
            let before = self.before.iter_mut();
            decisions
                .extend(before.flat_map(|done| done.last.take().map(|last| (last, done.request, Evidence::Handoff))));
        }
        if alone || is_whole {
            decisions.extend(done.decisions(Evidence::Handoff));
            return decisions;
        }
        if is_last {
            decisions.extend(done.last.take().map(|last| (last, done.request, Evidence::Handoff)));
        } else {
            decisions.extend(done.decisions(Evidence::Inferred));
        }
        if self.before.len() >= BEFORE_LIMIT {
            self.before.pop_front();
        }
        self.before.push_back(done);
        decisions
    }
}
