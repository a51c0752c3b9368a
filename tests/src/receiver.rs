//! tests/apps/otlp-receiver: takes OTLP with the official Protobuf decoder, which shares no code with the agent.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::apps::App;

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    app: App,
}

/// A request as it came.
#[derive(Debug, Deserialize)]
pub struct Request {
    /// Whether its message was compressed.
    pub gzip: bool,
    /// Headers or metadata, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// `ExportTraceServiceRequest` as OTLP/JSON.
    pub message: Value,
}

impl Receiver {
    /// Starts a receiver of one protocol: `grpc` or `http/protobuf`. It rejects one span of the first request that has
    /// spans and says `one span too many`.
    pub fn start(protocol: &str) -> Result<Self> {
        let script = crate::sources().join("apps/otlp-receiver/receiver.py");
        Ok(Self { app: App::script(&script, &[("PROTOCOL".to_owned(), protocol.to_owned())])? })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.app.port()
    }

    /// The requests it has answered so far.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let output = self.app.output()?;
        output.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// The spans of OTLP/JSON messages by trace and span id: each whole, with its resource and scope beside it, whatever
/// their fields. Fields that hold their type's default are left out: it is a writer's choice to print them.
pub fn whole_spans(messages: impl IntoIterator<Item = Value>) -> Result<BTreeMap<(String, String), Value>> {
    let mut spans = BTreeMap::new();
    for message in messages {
        for of_resource in items(&message, "resourceSpans")? {
            for of_scope in items(of_resource, "scopeSpans")? {
                for span in items(of_scope, "spans")? {
                    let id = |key: &str| span.get(key).and_then(Value::as_str).map(str::to_owned).context("an id");
                    let whole = json!({
                        "span": span, "scope": of_scope.get("scope"), "scopeSchema": of_scope.get("schemaUrl"),
                        "resource": of_resource.get("resource"), "resourceSchema": of_resource.get("schemaUrl"),
                    });
                    let id = (id("traceId")?, id("spanId")?);
                    ensure!(spans.insert(id.clone(), without_defaults(whole)).is_none(), "{id:?} came twice");
                }
            }
        }
    }
    Ok(spans)
}

fn items<'a>(message: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    message.get(key).and_then(Value::as_array).with_context(|| format!("no {key} in {message}"))
}

fn without_defaults(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_defaults).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, without_defaults(value)))
            // The members of `AnyValue` (`intValue`, `stringValue`) tell the type, also where they are 0 or empty.
            .filter(|(key, value)| key.ends_with("Value") || !is_default(value))
            .collect(),
        other => other,
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::whole_spans;

    fn message(span: &Value) -> Value {
        json!({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "syspan"}, "spans": [span]}]}]})
    }

    #[test]
    fn only_defaults_that_carry_no_type_are_left_out() {
        let empty = json!({"key": "a", "value": {"stringValue": ""}});
        let printed = message(&json!({
            "traceId": "01", "spanId": "02", "traceState": "", "droppedLinksCount": 0, "links": [], "attributes": [empty],
        }));
        let terse = message(&json!({"traceId": "01", "spanId": "02", "attributes": [empty]}));
        let other = json!({"key": "a", "value": {"intValue": "0"}});
        let differs = message(&json!({"traceId": "01", "spanId": "02", "attributes": [other]}));
        let [printed, terse, differs] = [printed, terse, differs].map(|message| whole_spans([message]).unwrap());
        assert_eq!(printed, terse);
        assert_ne!(printed, differs);
    }

    #[test]
    fn a_span_that_comes_twice_is_an_error() {
        let message = message(&json!({"traceId": "01", "spanId": "02"}));
        assert!(whole_spans([message.clone(), message]).is_err());
    }
}
