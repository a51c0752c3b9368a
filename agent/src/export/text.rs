//! `--output text`: one line a span, for `grep`.
//!
//! Time (UTC), duration, service, kind, `ok` or `ERROR`, name; then facts as `key=value`, the ids last.

use std::io::{self, Write};

use opentelemetry_semantic_conventions::attribute as key;

use super::plain::{columns, duration, shorten, utc};
use crate::{
    escape::harmless,
    traces::{
        lineage::{CONFIDENCE, EVIDENCE},
        span::{Kind, Span, Status, Value},
    },
};

/// Longest value of a fact, columns: a line is for looking at.
const MAX_VALUE: usize = 160;

/// Facts that are shown, in this order: attribute and its short name.
const FACTS: [(&str, &str); 10] = [
    (key::HTTP_RESPONSE_STATUS_CODE, "status"),
    (key::DB_RESPONSE_STATUS_CODE, "status"),
    (key::ERROR_TYPE, "error"),
    (key::URL_PATH, "path"),
    (key::URL_FULL, "url"),
    (key::DB_SYSTEM_NAME, "db"),
    (key::DB_NAMESPACE, "database"),
    (key::DB_QUERY_TEXT, "query"),
    (EVIDENCE, "evidence"),
    (CONFIDENCE, "confidence"),
];

/// Writes one line for each span.
///
/// # Errors
/// What the writer says.
pub fn write(out: &mut impl Write, spans: &[Span]) -> io::Result<()> {
    spans.iter().try_for_each(|span| writeln!(out, "{}", line(span)))
}

fn line(span: &Span) -> String {
    let kind = match span.kind {
        Kind::Server => "SERVER",
        Kind::Client => "CLIENT",
    };
    let (status, description) = match &span.status {
        Status::Unset => ("ok", ""),
        Status::Error(description) => ("ERROR", description.as_str()),
    };
    let mut line = format!("{}  {}", utc(span.start), right(&duration(span.duration()), 9));
    // The service is what one greps for: padded, never cut.
    let service = harmless(span.process.service_name());
    line.push_str(&format!("  {service}{}", " ".repeat(16usize.saturating_sub(columns(&service)))));
    line.push_str(&format!("  {kind}  {status:<5}  {}", harmless(&span.name)));
    for (attribute, name) in FACTS {
        if let Some(value) = span.attribute(attribute) {
            line.push_str(&format!("  {name}={}", fact(value)));
        }
    }
    if !description.is_empty() {
        line.push_str(&format!("  message={}", quoted(description)));
    }
    line.push_str(&format!("  trace={} span={}", span.trace_id, span.span_id));
    if let Some(parent) = span.parent {
        line.push_str(&format!(" parent={}", parent.span_id));
    }
    for link in &span.links {
        line.push_str(&format!(" link={}/{}", link.trace_id, link.span_id));
    }
    line
}

fn fact(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Strings(texts) => quoted(&texts.join(",")),
    }
}

/// As it is if it is one word, else in quotes.
fn quoted(text: &str) -> String {
    let shown = shorten(&harmless(text), MAX_VALUE);
    if shown.is_empty() || shown.contains([' ', '"', '=']) {
        format!("\"{}\"", shown.replace('"', "\\\""))
    } else {
        shown
    }
}

fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::export::samples;

    #[test]
    fn columns_are_aligned_and_nothing_escapes() {
        let (web, db) = (samples::process("web", 1), samples::process("catalogue-service", 2));
        let mut server = samples::span(&web, 1, None);
        server.attributes.push((key::HTTP_RESPONSE_STATUS_CODE.into(), 200i64.into()));
        let mut client = samples::span(&db, 2, Some(1));
        client.kind = Kind::Client;
        client.name = "SELECT \u{1b}[31mproducts".into();
        client.end = client.start + 12_345_678;
        client.status = Status::Error("relation does not exist".to_owned());
        client.attributes = vec![
            (key::DB_SYSTEM_NAME.into(), "postgresql".into()),
            (key::DB_QUERY_TEXT.into(), "SELECT *\nFROM \"products\" WHERE id = ?".into()),
            (key::ERROR_TYPE.into(), "42P01".into()),
        ];
        let mut out = Vec::new();
        write(&mut out, &[server, client]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
2026-01-02T03:04:05.000Z    1.00 ms  web               SERVER  ok     GET  status=200  path=/  \
trace=0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a span=0000000000000001
2026-01-02T03:04:05.000Z    12.3 ms  catalogue-service  CLIENT  ERROR  SELECT \u{fffd}[31mproducts  error=42P01  \
db=postgresql  query=\"SELECT *\u{fffd}FROM \\\"products\\\" WHERE id = ?\"  message=\"relation does not exist\"  \
trace=0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a span=0000000000000002 parent=0000000000000001
"
        );
    }
}
