//! `--output tree`: finished traces as a waterfall in the terminal.
//!
//! Spans come one by one, children before their parents; a trace is shown once its root has ended and nothing more of
//! it came for a while. Time comes from the caller.

mod bar;
mod palette;
mod render;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io::{self, Write},
};

use palette::Palette;
pub use render::{Style, render};

use crate::traces::span::{Evidence, Span, SpanId, TraceId};

const MILLISECOND: u64 = 1_000_000;
/// A trace with its root is shown when no span of it came for this long: longer than the engine holds events back to
/// order them.
const QUIET: u64 = 500 * MILLISECOND;
/// The same for a trace that another host or an unobserved process began, whose root will never come.
const QUIET_FOREIGN: u64 = 2_000 * MILLISECOND;
/// The same where an observed process is still at work: its span will come, unless it was lost.
const QUIET_UNFINISHED: u64 = 60_000 * MILLISECOND;
/// Traces that wait to be shown. Beyond, the one that waited longest is shown as it is.
const MAX_TRACES: usize = 1_000;
/// Spans of one trace that are kept; more are counted.
const MAX_TRACE_SPANS: usize = 5_000;
/// Spans of all traces that wait to be shown; handled like [`MAX_TRACES`].
const MAX_SPANS: usize = 50_000;
/// Traces that were shown and are remembered, so that late spans are known as such.
const MAX_SHOWN: usize = 10_000;

/// Puts traces together and draws them.
#[derive(Debug)]
pub struct Tree {
    style: Style,
    palette: Palette,
    open: HashMap<TraceId, Open>,
    /// Spans in `open`.
    waiting: usize,
    /// Counts traces up, to know the older.
    opened: u64,
    shown: HashSet<TraceId>,
    shown_in_order: VecDeque<TraceId>,
}

/// A trace that is not complete, as far as one can tell.
#[derive(Debug)]
struct Open {
    spans: Vec<Span>,
    /// Spans that were not kept.
    missing: u64,
    /// How long it must be quiet, as far as it was asked since the last span came.
    patience: Option<u64>,
    /// It was shown before, without these.
    continued: bool,
    number: u64,
    last_arrival: u64,
}

impl Open {
    fn is_ready(&mut self, now: u64) -> bool {
        let quiet = now.saturating_sub(self.last_arrival);
        quiet >= QUIET
            && quiet >= *self.patience.get_or_insert_with(|| patience(&self.spans, self.continued || self.missing > 0))
    }

    /// Traces are shown in the order of their beginnings, as far as they are shown together.
    fn start(&self) -> u64 {
        self.spans.iter().map(|span| span.start).min().unwrap_or_default()
    }
}

/// How long a trace of these spans must be quiet to be taken as complete: is there a span to come?
///
/// In an `incomplete` set the parents are gone already: shown before, or not kept.
fn patience(spans: &[Span], incomplete: bool) -> u64 {
    let known: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let awaited = spans.iter().filter_map(|span| span.parent).filter(|parent| !known.contains(&parent.span_id));
    awaited.fold(QUIET, |longest, parent| {
        longest.max(match parent.evidence {
            _ if incomplete => QUIET,
            Evidence::Header => QUIET_FOREIGN,
            Evidence::Socket | Evidence::Task | Evidence::Handoff | Evidence::Inferred => QUIET_UNFINISHED,
        })
    })
}

impl Tree {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self {
            style,
            palette: Palette::default(),
            open: HashMap::new(),
            waiting: 0,
            opened: 0,
            shown: HashSet::new(),
            shown_in_order: VecDeque::new(),
        }
    }

    /// Takes finished spans. `now` is in ns of any clock that does not go back, the same as for [`Tree::poll`].
    pub fn push(&mut self, spans: Vec<Span>, now: u64) {
        for span in spans {
            let trace = self.open.entry(span.trace_id).or_insert_with(|| {
                self.opened += 1;
                Open {
                    spans: Vec::new(),
                    missing: 0,
                    patience: None,
                    continued: self.shown.contains(&span.trace_id),
                    number: self.opened,
                    last_arrival: now,
                }
            });
            trace.last_arrival = now;
            trace.patience = None;
            if trace.spans.len() < MAX_TRACE_SPANS {
                trace.spans.push(span);
                self.waiting += 1;
            } else {
                trace.missing += 1;
            }
        }
    }

    /// Draws the traces that are complete, and the oldest of too many.
    ///
    /// # Errors
    /// What the writer says.
    pub fn poll(&mut self, now: u64, out: &mut impl Write) -> io::Result<()> {
        let ready = self.open.iter_mut().filter_map(|(&id, trace)| trace.is_ready(now).then_some(id)).collect();
        self.show(ready, out)?;
        while self.open.len() > MAX_TRACES || self.waiting > MAX_SPANS {
            let oldest = self.open.iter().min_by_key(|(_, trace)| trace.number).map(|(&id, _)| id);
            self.show(oldest.into_iter().collect(), out)?;
        }
        Ok(())
    }

    /// Draws everything that is left.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        let all = self.open.keys().copied().collect();
        self.show(all, out)
    }

    fn show(&mut self, ids: Vec<TraceId>, out: &mut impl Write) -> io::Result<()> {
        let mut traces: Vec<_> = ids.into_iter().filter_map(|id| Some((id, self.open.remove(&id)?))).collect();
        traces.sort_by_key(|(id, trace)| (trace.start(), *id));
        for (id, trace) in traces {
            self.waiting -= trace.spans.len();
            if self.shown.insert(id) {
                self.shown_in_order.push_back(id);
            }
            if self.shown_in_order.len() > MAX_SHOWN {
                self.shown_in_order.pop_front().map(|oldest| self.shown.remove(&oldest));
            }
            let text = render::draw(&trace.spans, self.style, &mut self.palette, trace.continued, trace.missing);
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}
