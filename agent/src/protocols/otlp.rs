//! Exports of spans by OTLP (<https://opentelemetry.io/docs/specs/otlp/>): whether bytes begin one, and what the spans in them are of.
//!
//! No protocol of its own: it is looked for in bytes that HTTP/1 has, or that nobody wants (gRPC is HTTP/2, which is not read).

use memchr::{memchr, memmem};

/// The end of the path by HTTP.
const PATH: &[u8] = b"/v1/traces";

/// The path by gRPC, as HPACK writes it (RFC 7541 §5.2): as it is, or by the Huffman code of its appendix B.
const CALL: &[u8] = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const CALL_CODED: &[u8] = &[
    0x60, 0xf5, 0x96, 0xa4, 0x96, 0x82, 0xd2, 0x54, 0xd9, 0xe9, 0x7a, 0xec, 0x3a, 0x4e, 0xb9, 0x0f, 0x45, 0x05, 0x22,
    0x4f, 0x62, 0xe9, 0xb0, 0x64, 0x2a, 0xfd, 0xc2, 0xbe, 0xfb, 0x06, 0x42, 0xee, 0x2d, 0x9d, 0xcc, 0x42, 0xb1, 0x83,
    0xcd, 0x67, 0xb1, 0x3f,
];

/// An attribute that every SDK gives its exports' Resource
/// (<https://opentelemetry.io/docs/specs/semconv/resource/#telemetry-sdk>).
const SDK: &[u8] = b"telemetry.sdk.language";
/// How the message `Span` begins by Protocol Buffers: `trace_id`, field 1 of 16 bytes, then `span_id`, field 2 of 8 bytes.
const TRACE_ID: &[u8] = &[0x0a, 16];
const SPAN_ID: &[u8] = &[0x12, 8];

/// Attributes that only such spans have, in the present and the former semantic conventions.
const SERVER: &[&[u8]] = &[b"url.path", b"http.target", b"http.route"];
const CLIENT: &[&[u8]] = &[b"url.full", b"http.url"];
const SQL: &[&[u8]] = &[b"db.system"];

/// A body that cannot be read.
const COMPRESSED: &[&[u8]] = &[b"ncoding: gzip\r", b"ncoding:gzip\r"];

/// What bytes of a connection begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// An export of spans.
    Spans,
    /// Another request.
    Other,
    /// None: they go on with what was begun.
    Nothing,
}

/// What spans are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Covered {
    /// HTTP requests that were answered.
    pub server: bool,
    /// HTTP requests that were made.
    pub client: bool,
    /// SQL statements.
    pub sql: bool,
}

impl Covered {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { server: self.server || other.server, client: self.client || other.client, sql: self.sql || other.sql }
    }

    /// In words: `HTTP and SQL`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match (self.server || self.client, self.sql) {
            (true, true) => "HTTP and SQL",
            (true, false) => "HTTP",
            (false, true) => "SQL",
            (false, false) => "no",
        }
    }
}

/// What the first bytes of a call begin. `is_unknown`: of a connection whose protocol is not known, which may be gRPC.
#[must_use]
pub fn beginning(bytes: &[u8], is_unknown: bool) -> Beginning {
    if is_unknown && (contains(bytes, CALL) || contains(bytes, CALL_CODED) || contains_spans(bytes)) {
        return Beginning::Spans;
    }
    let line = memchr(b'\r', bytes).and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    let Some(rest) = line.strip_suffix(b" HTTP/1.1") else { return Beginning::Nothing };
    if rest.starts_with(b"POST ") && rest.ends_with(PATH) { Beginning::Spans } else { Beginning::Other }
}

/// Whether an SDK's message has spans. HPACK names a call once a connection and refers to that later (RFC 7541 §6.1), so of
/// a connection that is older than the agent only the messages tell.
fn contains_spans(bytes: &[u8]) -> bool {
    let is_span = |at: usize| bytes.get(at + 18..).is_some_and(|rest| rest.starts_with(SPAN_ID));
    contains(bytes, SDK) && memmem::find_iter(bytes, TRACE_ID).any(is_span)
}

/// What a piece of an export shows that its spans are of.
#[must_use]
pub fn covered(bytes: &[u8]) -> Covered {
    let any = |keys: &[&[u8]]| keys.iter().any(|key| contains(bytes, key));
    if any(COMPRESSED) {
        return Covered { server: true, client: true, sql: true };
    }
    Covered { server: any(SERVER), client: any(CLIENT), sql: any(SQL) }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memmem::find(bytes, wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_told_from_other_requests() {
        for (line, expected) in [
            ("POST /v1/traces HTTP/1.1\r\nHost: c\r\n", Beginning::Spans),
            ("POST /behind/a/proxy/v1/traces HTTP/1.1\r\n", Beginning::Spans),
            ("POST /v1/metrics HTTP/1.1\r\n", Beginning::Other),
            ("GET /v1/traces HTTP/1.1\r\n", Beginning::Other),
            ("POST /v1/traces HTTP", Beginning::Nothing),
            ("the rest of a body", Beginning::Nothing),
        ] {
            assert_eq!(beginning(line.as_bytes(), false), expected, "{line}");
        }
        for path in [CALL, CALL_CODED] {
            let headers = [b"\0\0\x40\x01\x04\0\0\0\x01\x83\x86\x44", path, b"\x5f"].concat();
            assert_eq!(beginning(&headers, true), Beginning::Spans);
            assert_eq!(beginning(headers.split_at(path.len()).0, true), Beginning::Nothing);
        }
    }

    #[test]
    fn messages_with_spans_are_exports_without_their_path() {
        let span = [TRACE_ID, &[7; 16], SPAN_ID, &[8; 8], b"url.path"].concat();
        let message = [b"\0\0\x50\0\0\0\0\0\x01telemetry.sdk.language".as_slice(), &span].concat();
        assert_eq!(beginning(&message, true), Beginning::Spans);
        assert_eq!(beginning(&message, false), Beginning::Nothing, "of a protocol that is known");
        assert_eq!(beginning(&span, true), Beginning::Nothing, "spans of something else");
        let metrics = [b"telemetry.sdk.language http.server.request.duration".as_slice(), TRACE_ID, &[7; 16]].concat();
        assert_eq!(beginning(&metrics, true), Beginning::Nothing);
    }

    #[test]
    fn what_spans_are_of_shows_in_their_attributes() {
        assert_eq!(covered(b"..url.path.."), Covered { server: true, ..Covered::default() });
        assert_eq!(covered(b"\x0bhttp.url.."), Covered { client: true, ..Covered::default() });
        assert_eq!(covered(b"ddb.system.name"), Covered { sql: true, ..Covered::default() });
        assert_eq!(covered(b"service.name"), Covered::default());
        let all = Covered { server: true, client: true, sql: true };
        assert_eq!(covered(b"POST /v1/traces HTTP/1.1\r\nContent-Encoding: gzip\r\n"), all);
        assert_eq!((all.words(), Covered::default().words()), ("HTTP and SQL", "no"));
    }
}
