//! What must hold of any run's spans.

use std::collections::{BTreeSet, HashMap};

use syspan::{
    engine::{Engine, HELD_LIMIT, Output},
    event::Event,
    protocols::Options,
    traces::span::{Evidence, Span, SpanId},
};

/// Takes the events through an engine, watches its memory, and checks the spans.
pub(crate) fn run(events: impl IntoIterator<Item = Event>) -> Vec<Span> {
    let mut engine = Engine::new(Options::default(), Evidence::Task);
    let mut output = Output::default();
    for event in events {
        engine.step(event, &mut output);
    }
    assert!(engine.held() <= HELD_LIMIT, "{} bytes held", engine.held());
    engine.finish(&mut output);
    check(&output.spans);
    let accounts = engine.accounts();
    assert_eq!(accounts.requests.spans, output.spans.len() as u64);
    assert_eq!(accounts.unaccounted_requests(), 0);
    output.spans
}

/// Times, ids and parents are possible ones.
fn check(spans: &[Span]) {
    let mut parents: HashMap<SpanId, Option<SpanId>> = HashMap::new();
    for span in spans {
        assert!(span.start <= span.end, "{span:?}");
        assert!(span.trace_id.0 != [0; 16] && span.span_id.0 != [0; 8], "{span:?}");
        let keys: BTreeSet<_> = span.attributes.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), span.attributes.len(), "keys are unique: {span:?}");
        assert!(span.parent.is_none_or(|parent| parent.span_id.0 != [0; 8]), "{span:?}");
        let known = parents.insert(span.span_id, span.parent.map(|parent| parent.span_id));
        assert_eq!(known, None, "two spans have one id: {span:?}");
    }
    for &start in parents.keys() {
        let mut at = start;
        for _ in 0..=parents.len() {
            match parents.get(&at) {
                Some(&Some(parent)) => at = parent,
                _ => break,
            }
            assert_ne!(at, start, "a span is its own ancestor");
        }
    }
}
