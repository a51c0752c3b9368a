//! Spans in OTLP's own terms: the one conversion that both the collector and the file format get.

use std::{collections::HashMap, sync::Arc};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as otlp, ResourceSpans, ScopeSpans},
};
use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute};

use crate::{
    processes::Process,
    traces::span::{Kind, Link, Span, Status, Value},
};

/// Instrumentation scope of every span.
const SCOPE_NAME: &str = "syspan";

/// OTLP `Span.flags` bit 8: bit 9 means something.
const HAS_IS_REMOTE: u32 = 0x100;
/// OTLP `Span.flags` bit 9: the parent is in another process.
const IS_REMOTE: u32 = 0x200;

/// Groups spans by process: one `ResourceSpans` for each, in the order in which the processes first occur.
///
/// A process is known by its `Arc`: one that executed another program has another Resource.
#[must_use]
pub fn resource_spans<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<ResourceSpans> {
    let mut index: HashMap<*const Process, usize> = HashMap::new();
    let mut groups: Vec<(&Arc<Process>, Vec<otlp::Span>)> = Vec::new();
    for span in spans {
        let at = *index.entry(Arc::as_ptr(&span.process)).or_insert(groups.len());
        if at == groups.len() {
            groups.push((&span.process, Vec::new()));
        }
        if let Some((_, group)) = groups.get_mut(at) {
            group.push(convert(span));
        }
    }
    groups
        .into_iter()
        .map(|(process, spans)| ResourceSpans {
            resource: Some(resource(process)),
            scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA_URL.to_owned() }],
            schema_url: SCHEMA_URL.to_owned(),
        })
        .collect()
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

pub(super) fn resource(process: &Process) -> Resource {
    let attributes = process.resource.iter().map(|(key, value)| KeyValue {
        key: key.clone(),
        value: Some(AnyValue { value: Some(resource_value(key, value)) }),
        ..KeyValue::default()
    });
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

/// Resource attributes are kept as text; among those of a process, the conventions make these integers.
fn resource_value(key: &str, value: &str) -> any_value::Value {
    const INTEGERS: [&str; 2] = [attribute::PROCESS_PID, attribute::PROCESS_PARENT_PID];
    match value.parse() {
        Ok(number) if INTEGERS.contains(&key) => any_value::Value::IntValue(number),
        _ => any_value::Value::StringValue(value.to_owned()),
    }
}

fn convert(span: &Span) -> otlp::Span {
    let remote = span.parent.is_some_and(|parent| parent.remote);
    otlp::Span {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state.clone(),
        parent_span_id: span.parent.map(|parent| parent.span_id.0.to_vec()).unwrap_or_default(),
        flags: u32::from(span.trace_flags) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 },
        name: span.name.to_string(),
        kind: match span.kind {
            Kind::Server => otlp::span::SpanKind::Server,
            Kind::Client => otlp::span::SpanKind::Client,
        }
        .into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: span.attributes.iter().map(|(key, value)| key_value(key, value)).collect(),
        status: match &span.status {
            Status::Unset => None,
            Status::Error(description) => {
                Some(otlp::Status { message: description.clone(), code: otlp::status::StatusCode::Error.into() })
            }
        },
        links: span.links.iter().map(link).collect(),
        ..otlp::Span::default()
    }
}

/// Both spans are of this host: whether the other one's process is this one is not known here, and not said.
fn link(link: &Link) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: link.trace_id.0.to_vec(),
        span_id: link.span_id.0.to_vec(),
        attributes: link.attributes.iter().map(|(key, value)| key_value(key, value)).collect(),
        flags: link.trace_flags.into(),
        ..otlp::span::Link::default()
    }
}

pub(super) fn key_value(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::String(text) => any_value::Value::StringValue(text.to_string()),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Bool(flag) => any_value::Value::BoolValue(*flag),
        Value::Double(number) => any_value::Value::DoubleValue(*number),
        Value::Strings(texts) => any_value::Value::ArrayValue(ArrayValue {
            values: texts
                .iter()
                .map(|text| AnyValue { value: Some(any_value::Value::StringValue(text.clone())) })
                .collect(),
        }),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::{
        export::samples,
        traces::span::{Evidence, Parent, SpanId, TraceId},
    };

    #[test]
    fn one_resource_a_process_in_order_of_appearance() {
        let (a, b) = (samples::process("a", 1), samples::process("b", 2));
        let spans = [samples::span(&a, 1, None), samples::span(&b, 2, Some(1)), samples::span(&a, 3, Some(1))];
        let groups = resource_spans(&spans);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].scope_spans[0].spans.len(), 2);
        assert_eq!(groups[1].scope_spans[0].spans.len(), 1);
        assert_eq!(groups[0].scope_spans[0].scope.as_ref().unwrap().name, "syspan");
        assert_eq!(groups[0].schema_url, SCHEMA_URL);
        let attributes = &groups[0].resource.as_ref().unwrap().attributes;
        let pid = attributes.iter().find(|kv| kv.key == "process.pid").unwrap();
        assert_eq!(pid.value.as_ref().unwrap().value, Some(any_value::Value::IntValue(1)));
    }

    #[test]
    fn flags_say_whether_the_parent_is_remote() {
        let process = samples::process("a", 1);
        let mut span = samples::span(&process, 1, None);
        span.trace_flags = 1;
        assert_eq!(convert(&span).flags, 0x101);
        assert!(convert(&span).parent_span_id.is_empty());
        let parent = Parent { span_id: SpanId([9; 8]), evidence: Evidence::Header, remote: true };
        span.parent = Some(parent);
        assert_eq!(convert(&span).flags, 0x301);
        span.parent = Some(Parent { remote: false, ..parent });
        assert_eq!(convert(&span).flags, 0x101);
        assert_eq!(convert(&span).parent_span_id, [9; 8]);
    }

    #[test]
    fn links_are_likely_parents() {
        let process = samples::process("a", 1);
        let mut span = samples::span(&process, 1, None);
        span.links.push(Link {
            trace_id: TraceId([7; 16]),
            span_id: SpanId([8; 8]),
            trace_flags: 3,
            attributes: vec![("syspan.parent.confidence".into(), 0.5.into())],
        });
        let link = &convert(&span).links[0];
        assert_eq!((link.trace_id.as_slice(), link.span_id.as_slice(), link.flags), (&[7; 16][..], &[8; 8][..], 3));
        let value = link.attributes[0].value.as_ref().unwrap().value.as_ref();
        assert_eq!(value, Some(&any_value::Value::DoubleValue(0.5)));
    }

    #[test]
    fn status_is_absent_unless_it_is_an_error() {
        let process = samples::process("a", 1);
        let mut span = samples::span(&process, 1, None);
        assert_eq!(convert(&span).status, None);
        span.status = Status::Error("gone".to_owned());
        assert_eq!(convert(&span).status, Some(otlp::Status { message: "gone".to_owned(), code: 2 }));
    }
}
