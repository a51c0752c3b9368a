//! Which trace a span belongs to.
//!
//! Most parents are known when a request is first seen. Others show later, when the work returns: until then nobody knows the trace of that
//! span, nor of the spans below it. They wait here, finished or not, and are given out together once the parent is settled.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use foldhash::HashMap;

use crate::{
    event::Time,
    traces::{
        context::{RANDOM, RemoteContext, SAMPLED},
        span::{Confidence, Evidence, Link, Parent, Span, SpanId, TraceId, Value},
        tracker::NodeId,
    },
};

/// The attribute that says how a span's parent is known.
pub const EVIDENCE: &str = "syspan.parent.evidence";

/// The attribute that says how far an inferred parent can be believed.
pub const CONFIDENCE: &str = "syspan.parent.confidence";

/// How long a span that has been given out can still become a parent, ns: calls of a request may be decided after its end.
const LINGER: Time = 12_000_000_000;

/// Steps up a chain of undecided parents. Longer ones are no traces of programs.
const MAX_CHAIN: usize = 64;

/// How a parent is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its evidence.
    pub evidence: Evidence,
    /// How likely it is, where it is inferred.
    pub confidence: Option<Confidence>,
    /// Whether it is in another process.
    pub remote: bool,
}

impl Known {
    /// By evidence that is certain.
    #[must_use]
    pub fn by(evidence: Evidence, remote: bool) -> Self {
        Self { evidence, confidence: None, remote }
    }

    fn attributes(self) -> impl Iterator<Item = (Cow<'static, str>, Value)> {
        let evidence = (Cow::Borrowed(EVIDENCE), self.evidence.as_str().into());
        let confidence = self.confidence.map(|confidence| (Cow::Borrowed(CONFIDENCE), confidence.value().into()));
        [evidence].into_iter().chain(confidence)
    }
}

/// What a span is called, and the trace that it begins if it is a root.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    /// Its id.
    pub span_id: SpanId,
    /// The trace.
    pub trace_id: TraceId,
    /// Both were sent to another host with the request.
    pub is_sent: bool,
}

/// What was decided about a span.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// It has no parent.
    Root,
    /// It continues the trace of a caller who said so.
    Continues(RemoteContext, Known),
    /// This exchange is its parent.
    Child(NodeId, Known),
    /// It has no parent, but this exchange is a likely one.
    Linked(NodeId, Known),
}

/// The trace of a span.
#[derive(Debug, Clone)]
struct Context {
    trace_id: TraceId,
    flags: u8,
    state: Arc<str>,
}

#[derive(Debug)]
enum Standing {
    Undecided,
    /// Decided, but that exchange's own trace is not known yet.
    Waits(Settlement),
    Settled(Context),
}

#[derive(Debug)]
struct Lineage {
    span_id: SpanId,
    /// Its own trace's, should it be a root.
    trace_id: TraceId,
    /// That trace was sent to another host with it: it belongs to no other one.
    is_sent: bool,
    standing: Standing,
    parent: Option<(Parent, Known)>,
    link: Option<(Link, Known)>,
    /// Those that wait for this one's trace.
    below: Vec<NodeId>,
    /// Its span is left to the program: what is below it belongs below its own parent.
    is_left: bool,
    /// The exchange is over.
    over: bool,
    /// Its span, while it waits.
    span: Option<Box<Span>>,
}

/// The lineages of all open exchanges, and of those whose spans wait.
#[derive(Debug, Default)]
pub struct Lineages {
    lineages: HashMap<NodeId, Lineage>,
    /// Over and given out, and since when.
    lingering: VecDeque<(Time, NodeId)>,
    /// Spans that wait.
    waiting: usize,
}

impl Lineages {
    /// An exchange begins; its parent is not decided.
    pub fn open(&mut self, id: NodeId, ids: Ids) {
        let Ids { span_id, trace_id, is_sent } = ids;
        let lineage = Lineage {
            span_id,
            trace_id,
            is_sent,
            standing: Standing::Undecided,
            parent: None,
            link: None,
            below: Vec::new(),
            is_left: false,
            over: false,
            span: None,
        };
        self.lineages.insert(id, lineage);
    }

    /// The program makes this exchange's span itself.
    pub fn leave(&mut self, id: NodeId) {
        if let Some(lineage) = self.lineages.get_mut(&id) {
            lineage.is_left = true;
        }
    }

    /// Spans that wait for their trace.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Decides, once and for all. Spans that need wait no longer are added to `spans`.
    pub fn settle(&mut self, id: NodeId, settlement: Settlement, spans: &mut Vec<Span>) {
        let mut ready = vec![(id, settlement)];
        while let Some((id, settlement)) = ready.pop() {
            if !self.lineages.get(&id).is_some_and(|lineage| !matches!(lineage.standing, Standing::Settled(_))) {
                continue;
            }
            let Some(context) = self.context(id, &settlement) else { continue };
            let Some(lineage) = self.lineages.get_mut(&id) else { continue };
            lineage.standing = Standing::Settled(context);
            let below = std::mem::take(&mut lineage.below);
            if let Some(mut span) = lineage.span.take() {
                self.waiting -= 1;
                stamp(&mut span, lineage);
                if !lineage.is_left {
                    spans.push(*span);
                }
            }
            for child in below {
                if let Some(Lineage { standing: Standing::Waits(settlement), .. }) = self.lineages.get(&child) {
                    ready.push((child, settlement.clone()));
                }
            }
        }
    }

    /// The trace that this settlement puts an exchange in. `None` if it is to wait for another one's.
    fn context(&mut self, id: NodeId, settlement: &Settlement) -> Option<Context> {
        let own =
            |lineage: &Lineage| Context { trace_id: lineage.trace_id, flags: SAMPLED | RANDOM, state: Arc::default() };
        let (other, known) = match settlement {
            Settlement::Root => return self.lineages.get(&id).map(own),
            Settlement::Continues(remote, known) => {
                let lineage = self.lineages.get_mut(&id)?;
                lineage.parent = Some((parent(remote.span_id, *known), *known));
                let state = Arc::from(remote.state.as_str());
                return Some(Context { trace_id: remote.trace_id, flags: remote.flags, state });
            }
            Settlement::Child(other, known) | Settlement::Linked(other, known) => (*other, *known),
        };
        if self.is_above(id, other) {
            return self.lineages.get(&id).map(own);
        }
        let Some(above) = self.lineages.get_mut(&other) else { return self.lineages.get(&id).map(own) };
        let Standing::Settled(context) = &above.standing else {
            above.below.push(id);
            self.lineages.get_mut(&id)?.standing = Standing::Waits(settlement.clone());
            return None;
        };
        let (context, span_id) = (context.clone(), above.span_id);
        let instead = above.is_left.then_some(above.parent);
        let lineage = self.lineages.get_mut(&id)?;
        let elsewhere = lineage.is_sent && lineage.trace_id != context.trace_id;
        if matches!(settlement, Settlement::Child(..)) && !elsewhere {
            lineage.parent = instead.unwrap_or(Some((parent(span_id, known), known)));
            return Some(context);
        }
        let Context { trace_id, flags, .. } = context;
        lineage.link = Some((Link { trace_id, span_id, trace_flags: flags, attributes: Vec::new() }, known));
        Some(own(lineage))
    }

    /// Whether `id` is `other`, or `other` waits for it.
    fn is_above(&self, id: NodeId, other: NodeId) -> bool {
        let mut at = other;
        for _ in 0..MAX_CHAIN {
            if at == id {
                return true;
            }
            match self.lineages.get(&at).map(|lineage| &lineage.standing) {
                Some(Standing::Waits(Settlement::Child(above, _) | Settlement::Linked(above, _))) => at = *above,
                _ => return false,
            }
        }
        true
    }

    /// An exchange is over: its span is given out, or waits. `lingers` from this time on: it can still become a parent.
    pub fn finish(&mut self, id: NodeId, mut span: Span, lingers: Option<Time>, spans: &mut Vec<Span>) {
        let Some(lineage) = self.lineages.get_mut(&id) else { return };
        lineage.over = true;
        if matches!(lineage.standing, Standing::Settled(_)) {
            stamp(&mut span, lineage);
            if !lineage.is_left {
                spans.push(span);
            }
            match lingers {
                Some(time) => self.lingering.push_back((time, id)),
                None => drop(self.lineages.remove(&id)),
            }
        } else {
            lineage.span = Some(Box::new(span));
            self.waiting += 1;
            self.lingering.push_back((lingers.unwrap_or_default(), id));
        }
    }

    /// An exchange makes no span. What waits for its trace goes on waiting if it is to be decided, and is settled else.
    pub fn drop(&mut self, id: NodeId, spans: &mut Vec<Span>) {
        self.settle(id, Settlement::Root, spans);
        self.lineages.remove(&id);
    }

    /// Forgets what can become a parent no longer.
    pub fn expire(&mut self, now: Time) {
        let oldest = now.saturating_sub(LINGER);
        while let Some(&(time, id)) = self.lingering.front()
            && time <= oldest
        {
            self.lingering.pop_front();
            match self.lineages.get(&id) {
                Some(Lineage { standing: Standing::Settled(_), over: true, .. }) => drop(self.lineages.remove(&id)),
                Some(_) => self.lingering.push_back((now, id)),
                None => {}
            }
        }
    }
}

fn parent(span_id: SpanId, known: Known) -> Parent {
    Parent { span_id, evidence: known.evidence, remote: known.remote }
}

/// Writes into a span where it belongs.
fn stamp(span: &mut Span, lineage: &mut Lineage) {
    span.span_id = lineage.span_id;
    if let Standing::Settled(context) = &lineage.standing {
        span.trace_id = context.trace_id;
        span.trace_flags = context.flags;
        span.trace_state = context.state.to_string();
    }
    if let Some((parent, known)) = lineage.parent {
        span.parent = Some(parent);
        span.attributes.extend(known.attributes());
    }
    if let Some((link, known)) = lineage.link.take() {
        span.links.push(Link { attributes: known.attributes().collect(), ..link });
    }
}

#[cfg(test)]
mod tests;
