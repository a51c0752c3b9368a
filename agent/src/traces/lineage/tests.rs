#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::{export::samples, traces::span::Attribute};

const TASK: Known = Known { evidence: Evidence::Task, confidence: None, remote: false };

fn span(name: &'static str) -> Span {
    let process = samples::process("app", 1);
    Span { name: name.into(), attributes: Vec::new(), ..samples::span(&process, 0, None) }
}

/// Lineages in which the exchange `n` has the span id and the trace id `n`.
struct Family {
    lineages: Lineages,
    spans: Vec<Span>,
}

impl Family {
    fn of(ids: std::ops::RangeInclusive<u8>) -> Self {
        let mut lineages = Lineages::default();
        for id in ids {
            let ids = Ids { span_id: SpanId([id; 8]), trace_id: TraceId([id; 16]), is_sent: false };
            lineages.open(id.into(), ids);
        }
        Self { lineages, spans: Vec::new() }
    }

    fn settle(&mut self, id: NodeId, settlement: Settlement) {
        self.lineages.settle(id, settlement, &mut self.spans);
    }

    fn finish(&mut self, id: NodeId, name: &'static str) {
        self.lineages.finish(id, span(name), Some(1), &mut self.spans);
    }

    /// (name, trace, parent), as they came.
    fn told(&self) -> Vec<(&str, u8, Option<u8>)> {
        let parent = |span: &Span| span.parent.map(|parent| parent.span_id.0[0]);
        self.spans.iter().map(|span| (span.name.as_ref(), span.trace_id.0[0], parent(span))).collect()
    }
}

#[test]
fn what_is_below_an_undecided_span_waits_for_its_trace() {
    let mut family = Family::of(1..=4);
    family.settle(1, Settlement::Root);
    family.settle(3, Settlement::Child(2, TASK));
    family.settle(4, Settlement::Child(3, TASK));
    family.finish(4, "d");
    family.finish(2, "b");
    family.finish(1, "a");
    assert_eq!(family.told(), [("a", 1, None)]);
    assert_eq!(family.lineages.waiting(), 2);
    family.settle(2, Settlement::Child(1, TASK));
    assert_eq!(family.told(), [("a", 1, None), ("b", 1, Some(1)), ("d", 1, Some(3))]);
    family.finish(3, "c");
    assert_eq!(family.told().last(), Some(&("c", 1, Some(2))));
    assert_eq!(family.lineages.waiting(), 0);
}

#[test]
fn a_likely_parent_is_linked_and_the_span_a_root() {
    let mut family = Family::of(1..=2);
    let confidence = Some(Confidence::new(0.875));
    family.settle(2, Settlement::Linked(1, Known { evidence: Evidence::Inferred, confidence, remote: false }));
    family.finish(2, "b");
    assert_eq!(family.told(), []);
    family.settle(1, Settlement::Root);
    assert_eq!(family.told(), [("b", 2, None)]);
    let link = &family.spans[0].links[0];
    assert_eq!((link.trace_id, link.span_id), (TraceId([1; 16]), SpanId([1; 8])));
    let attributes: Vec<Attribute> = vec![(EVIDENCE.into(), "inferred".into()), (CONFIDENCE.into(), 0.875.into())];
    assert_eq!(link.attributes, attributes);
    assert_eq!(family.spans[0].attribute(EVIDENCE), None);
}

#[test]
fn a_trace_that_was_sent_to_another_host_is_kept() {
    let mut family = Family::of(1..=1);
    for (id, trace) in [(2, 2), (3, 1)] {
        let ids = Ids { span_id: SpanId([id; 8]), trace_id: TraceId([trace; 16]), is_sent: true };
        family.lineages.open(id.into(), ids);
        family.settle(id.into(), Settlement::Child(1, TASK));
    }
    family.settle(1, Settlement::Root);
    family.finish(2, "b");
    family.finish(3, "c");
    assert_eq!(family.told(), [("b", 2, None), ("c", 1, Some(1))]);
    assert_eq!(family.spans[0].links[0].span_id, SpanId([1; 8]));
}

#[test]
fn a_circle_is_no_lineage() {
    let mut family = Family::of(1..=3);
    family.settle(2, Settlement::Child(1, TASK));
    family.settle(3, Settlement::Child(2, TASK));
    family.settle(1, Settlement::Child(3, TASK));
    for (id, name) in [(1, "a"), (2, "b"), (3, "c")] {
        family.finish(id, name);
    }
    assert_eq!(family.told(), [("a", 1, None), ("b", 1, Some(1)), ("c", 1, Some(2))]);
}

#[test]
fn a_parent_can_be_found_for_a_while_after_its_end() {
    let mut family = Family::of(1..=3);
    family.settle(1, Settlement::Root);
    family.finish(1, "a");
    family.lineages.expire(LINGER);
    family.settle(2, Settlement::Child(1, TASK));
    family.finish(2, "b");
    family.lineages.expire(LINGER + 1);
    family.settle(3, Settlement::Child(1, TASK));
    family.finish(3, "c");
    assert_eq!(family.told(), [("a", 1, None), ("b", 1, Some(1)), ("c", 3, None)]);
    family.lineages.expire(Time::MAX);
    assert!(family.lineages.lineages.is_empty());
}

#[test]
fn an_exchange_without_a_span_leaves_roots() {
    let mut family = Family::of(1..=2);
    family.settle(2, Settlement::Child(1, TASK));
    family.finish(2, "b");
    family.lineages.drop(1, &mut family.spans);
    assert_eq!(family.told(), [("b", 1, Some(1))]);
}

#[test]
fn confidence_has_three_digits() {
    assert_eq!(Confidence::new(0.99999).value(), 0.999);
    assert_eq!((Confidence::new(-1.0).value(), Confidence::new(2.0).value()), (0.0, 1.0));
    assert_eq!(Confidence::new(f64::NAN).value(), 0.0);
}
