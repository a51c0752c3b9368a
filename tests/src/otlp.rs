//! Spans as `--output otlp-json` prints them: JSON Lines of `TracesData`, read by the specification and with no code of
//! the agent's (OTLP 1.x, "JSON Protobuf Encoding"; file exporter).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A span, flattened: its resource's attributes are beside its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits, or empty for a root.
    pub parent_span_id: String,
    /// Trace flags and the two is-remote bits.
    pub flags: u32,
    /// Name.
    pub name: String,
    /// SERVER or CLIENT.
    pub kind: Kind,
    /// ns since the Unix epoch.
    pub start: u64,
    /// ns since the Unix epoch.
    pub end: u64,
    /// Attributes, arrays and other values as JSON.
    pub attributes: BTreeMap<String, String>,
    /// Whether the status is ERROR.
    pub error: bool,
    /// The resource's attributes.
    pub resource: BTreeMap<String, String>,
}

/// The span kinds that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The process answered.
    Server,
    /// The process asked.
    Client,
    /// A kind that no agent of system calls should give.
    Other,
}

impl Span {
    /// An attribute, or an empty string.
    #[must_use]
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// `service.name` of the resource, or an empty string.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }

    /// Whether it is a database statement.
    #[must_use]
    pub fn is_sql(&self) -> bool {
        self.kind == Kind::Client && self.attributes.contains_key("db.system.name")
    }

    /// Whether it is an HTTP request that the process answered.
    #[must_use]
    pub fn is_http_server(&self) -> bool {
        self.kind == Kind::Server && self.attributes.contains_key("http.request.method")
    }

    /// `url.path?url.query`, as the request line had it.
    #[must_use]
    pub fn target(&self) -> String {
        match self.attribute("url.query") {
            "" => self.attribute("url.path").to_owned(),
            query => format!("{}?{query}", self.attribute("url.path")),
        }
    }
}

/// Reads JSON Lines.
pub fn read(text: &str) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let data: TracesData = serde_json::from_str(line).with_context(|| format!("line {}: {line}", number + 1))?;
        for of_resource in data.resource_spans {
            let resource = flatten(of_resource.resource.attributes);
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(span.flattened(&resource)?);
            }
        }
    }
    Ok(spans)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TracesData {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    spans: Vec<WireSpan>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpan {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    flags: u32,
    name: String,
    kind: u32,
    start_time_unix_nano: Integer,
    end_time_unix_nano: Integer,
    #[serde(default)]
    attributes: Vec<KeyValue>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u32,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    value: serde_json::Value,
}

/// 64-bit integers are strings in JSON Protobuf; readers accept numbers as well.
#[derive(Deserialize)]
#[serde(untagged)]
enum Integer {
    Text(String),
    Number(u64),
}

impl Integer {
    fn value(self) -> Result<u64> {
        match self {
            Integer::Text(text) => text.parse().with_context(|| format!("not a time: {text}")),
            Integer::Number(number) => Ok(number),
        }
    }
}

impl WireSpan {
    fn flattened(self, resource: &BTreeMap<String, String>) -> Result<Span> {
        Ok(Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            flags: self.flags,
            name: self.name,
            kind: match self.kind {
                2 => Kind::Server,
                3 => Kind::Client,
                _ => Kind::Other,
            },
            start: self.start_time_unix_nano.value()?,
            end: self.end_time_unix_nano.value()?,
            attributes: flatten(self.attributes),
            error: self.status.is_some_and(|status| status.code == 2),
            resource: resource.clone(),
        })
    }
}

/// `{"stringValue": "x"}` and `{"intValue": "80"}` become `x` and `80`.
fn flatten(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: serde_json::Value| {
        let inner = match value {
            serde_json::Value::Object(fields) => fields.into_iter().next().map(|(_, inner)| inner).unwrap_or_default(),
            other => other,
        };
        match inner {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }
    };
    attributes.into_iter().map(|KeyValue { key, value }| (key, text(value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{Kind, read};

    const LINE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":
        "orders"}}]},"scopeSpans":[{"scope":{"name":"syspan"},"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",
        "spanId":"b7ad6b7169203331","parentSpanId":"","flags":769,"name":"GET","kind":2,"startTimeUnixNano":"5",
        "endTimeUnixNano":9,"attributes":[{"key":"url.path","value":{"stringValue":"/a"}},{"key":"url.query","value":
        {"stringValue":"id=7"}},{"key":"http.response.status_code","value":{"intValue":"500"}},{"key":
        "http.request.method","value":{"stringValue":"GET"}}],"status":{"code":2}}]}]}]}"#;

    #[test]
    fn a_span_has_its_resource_and_plain_values() {
        let spans = read(&LINE.replace('\n', "")).unwrap();
        let span = &spans[0];
        assert_eq!((spans.len(), span.kind, span.start, span.end), (1, Kind::Server, 5, 9));
        assert_eq!((span.service(), span.target().as_str()), ("orders", "/a?id=7"));
        assert_eq!(span.attribute("http.response.status_code"), "500");
        assert!(span.error && span.is_http_server() && !span.is_sql() && span.parent_span_id.is_empty());
    }

    #[test]
    fn a_broken_line_is_an_error() {
        assert!(read("{\"resourceSpans\":[").is_err());
    }
}
