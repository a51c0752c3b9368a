//! `--output otlp-json`: the OTLP file exporter's format, JSON Lines of `TracesData`.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/>: ids in hexadecimal, enums as integers, 64-bit
//! integers as strings, names in lowerCamelCase.

use std::io::{self, Write};

use opentelemetry_proto::tonic::trace::v1::TracesData;

use super::proto::resource_spans;
use crate::traces::span::Span;

/// Writes one line for these spans; nothing if there are none.
///
/// # Errors
/// What the writer says; a line is written with one call, so a failed one leaves no half object of ours behind.
pub fn write(out: &mut impl Write, spans: &[Span]) -> io::Result<()> {
    if spans.is_empty() {
        return Ok(());
    }
    let mut line =
        serde_json::to_vec(&TracesData { resource_spans: resource_spans(spans) }).map_err(io::Error::from)?;
    line.push(b'\n');
    out.write_all(&line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::{export::samples, traces::span::Status};

    #[test]
    fn a_line_is_a_traces_data_object_with_the_specified_encodings() {
        let process = samples::process("shop", 42);
        let mut span = samples::span(&process, 1, Some(7));
        span.attributes.push(("http.response.status_code".into(), 500i64.into()));
        span.status = Status::Error(String::new());
        let mut out = Vec::new();
        write(&mut out, &[span.clone(), span]).unwrap();
        write(&mut out, &[]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][1];
        assert_eq!(span["traceId"], "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a");
        assert_eq!(span["spanId"], "0000000000000001");
        assert_eq!(span["parentSpanId"], "0000000000000007");
        assert_eq!(span["kind"], 2);
        assert_eq!(span["flags"], 0x101);
        assert_eq!(span["startTimeUnixNano"], samples::START.to_string());
        assert_eq!(span["status"]["code"], 2);
        let status = span["attributes"].as_array().unwrap().last().unwrap();
        assert_eq!(status["key"], "http.response.status_code");
        assert_eq!(status["value"]["intValue"], "500");
    }
}
