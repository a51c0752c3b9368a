//! W3C Trace Context: a valid `traceparent` is the parent, an invalid one starts a new trace.

#![allow(clippy::panic, reason = "tests")]

use anyhow::{Context as _, Result};
use syspan_tests::{apps::App, http::Client, otlp::Span, syspan::Syspan};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Values that continue the trace (Trace Context Level 2, "Versioning of traceparent").
const VALID: &[&str] = &[
    "traceparent: 00-TRACE-PARENT-01",
    "traceparent: 00-TRACE-PARENT-00",
    "traceparent: 00-TRACE-PARENT-03",
    "TraceParent: 00-TRACE-PARENT-01",
    "traceparent: \t 00-TRACE-PARENT-01 \t",
    "traceparent:00-TRACE-PARENT-01",
    "traceparent: 01-TRACE-PARENT-01",
    "traceparent: cc-TRACE-PARENT-01",
    "traceparent: cc-TRACE-PARENT-01-what-the-future-will-be-like",
    "traceparent: 00-TRACE-PARENT-01\r\ntracestate: not a valid = state = at all",
];

/// Values that do not.
const INVALID: &[&str] = &[
    "traceparent: ",
    "traceparent: 00",
    "traceparent: 00-TRACE",
    "traceparent: 00-TRACE-PARENT",
    "traceparent: 00-TRACE-PARENT-",
    "traceparent: 00-TRACE-PARENT-0",
    "traceparent: 00-TRACE-PARENT-01-",
    "traceparent: 00-TRACE-PARENT-01.",
    "traceparent: 00-TRACE-PARENT-01-what-the-future-will-be-like",
    "traceparent: 00-TRACE-PARENT-0g",
    "traceparent: 00-TRACE-PARENT-001",
    "traceparent: ff-TRACE-PARENT-01",
    "traceparent: cc-TRACE-PARENT-01.what-the-future-will-not-be-like",
    "traceparent: cc-TRACE-PARENT-0",
    "traceparent: 0-TRACE-PARENT-01",
    "traceparent: 0g-TRACE-PARENT-01",
    "traceparent: CC-TRACE-PARENT-01",
    "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-PARENT-01",
    "traceparent: 00-TRACE-B7AD6B7169203331-01",
    "traceparent: 00-TRACE-PARENT-0A",
    "traceparent: 00-00000000000000000000000000000000-PARENT-01",
    "traceparent: 00-TRACE-0000000000000000-01",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319-PARENT-01",
    "traceparent: 00-TRACEa-PARENT-01",
    "traceparent: 00-.af7651916cd43dd8448eb211c80319c-PARENT-01",
    "traceparent: 00-TRACE-b7ad6b716920333-01",
    "traceparent: 00-TRACE-PARENTa-01",
    "traceparent: 00_TRACE_PARENT_01",
    "traceparent: 00-TRACE-PARENT-01\r\ntraceparent: 00-TRACE-PARENT-01",
    "trace-parent: 00-TRACE-PARENT-01",
    "trace.parent: 00-TRACE-PARENT-01",
];

fn header(template: &str) -> String {
    template.replace("TRACE", TRACE).replace("PARENT", PARENT)
}

#[test]
fn only_a_valid_traceparent_is_the_parent() -> Result<()> {
    let app = App::orders(&[])?;
    let syspan = Syspan::run(&[app.pid()], &[])?;
    let mut client = Client::connect(app.port())?;
    let cases: Vec<(&str, bool)> =
        VALID.iter().map(|case| (*case, true)).chain(INVALID.iter().map(|case| (*case, false))).collect();
    for (number, (case, _)) in cases.iter().enumerate() {
        assert_eq!(client.get_with(&format!("/hello?id={number}"), &[&header(case)])?.status, 200, "{case}");
    }
    let outcome = syspan.stop()?;
    assert_eq!(outcome.spans.len(), cases.len());
    for (number, (case, valid)) in cases.iter().enumerate() {
        let target = format!("/hello?id={number}");
        let span: &Span = outcome.spans.iter().find(|span| span.target() == target).context(target)?;
        let parent = (span.trace_id == TRACE, span.parent_span_id.as_str());
        assert_eq!(parent, if *valid { (true, PARENT) } else { (false, "") }, "{case}");
        if *valid {
            assert_eq!(span.attribute("syspan.parent.evidence"), "header", "{case}");
            assert_eq!(span.flags & 0x300, 0x300, "{case}: the parent is known to be remote");
        }
    }
    let mut traces: Vec<&str> = outcome.spans.iter().map(|span| span.trace_id.as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), INVALID.len() + 1, "each invalid header starts a trace of its own");
    Ok(())
}
