//! Spans for the tests of the exporters.

use std::sync::Arc;

use crate::{
    processes::{Process, Runtime},
    traces::span::{Evidence, Kind, Parent, Span, SpanId, Status, TraceId},
};

/// Start of the sample spans: 2026-01-02 03:04:05 UTC.
pub(crate) const START: u64 = 1_767_323_045_000_000_000;

/// A process with a name.
pub(crate) fn process(name: &str, pid: u32) -> Arc<Process> {
    Arc::new(Process {
        pid,
        started: 0,
        runtime: Runtime::Threads,
        resource: vec![("process.pid".to_owned(), pid.to_string()), ("service.name".to_owned(), name.to_owned())],
    })
}

/// A SERVER span of 1 ms in the same trace as the others.
pub(crate) fn span(process: &Arc<Process>, id: u64, parent: Option<u64>) -> Span {
    Span {
        trace_id: TraceId([10; 16]),
        span_id: SpanId(id.to_be_bytes()),
        parent: parent.map(|id| Parent { span_id: SpanId(id.to_be_bytes()), evidence: Evidence::Task, remote: false }),
        trace_flags: 1,
        trace_state: String::new(),
        kind: Kind::Server,
        name: "GET".into(),
        start: START,
        end: START + 1_000_000,
        attributes: vec![("url.path".into(), "/".into())],
        status: Status::Unset,
        links: Vec::new(),
        process: Arc::clone(process),
    }
}
