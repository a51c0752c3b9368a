//! tests/apps/otlp-receiver: takes OTLP traces and metrics with the official Protobuf decoder, which shares no code with the agent.

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
    /// `traces` or `metrics`.
    pub signal: String,
    /// Whether its message was compressed.
    pub gzip: bool,
    /// Headers or metadata, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// `ExportTraceServiceRequest` or `ExportMetricsServiceRequest` as OTLP/JSON.
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

    /// The requests with spans that it has answered so far.
    pub fn requests(&self) -> Result<Vec<Request>> {
        self.of_signal("traces")
    }

    /// The requests with metrics that it has answered so far.
    pub fn metrics(&self) -> Result<Vec<Request>> {
        self.of_signal("metrics")
    }

    /// How many spans it has received so far.
    pub fn spans(&self) -> Result<usize> {
        Ok(whole_spans(self.requests()?.into_iter().map(|request| request.message))?.len())
    }

    /// SIGKILL: it answers nothing any more. What it had received.
    pub fn kill(self) -> Result<Vec<Request>> {
        lines(&self.app.kill()?)
    }

    fn of_signal(&self, signal: &str) -> Result<Vec<Request>> {
        let requests = lines(&self.app.output()?)?;
        Ok(requests.into_iter().filter(|request| request.signal == signal).collect())
    }
}

fn lines(output: &str) -> Result<Vec<Request>> {
    // The last line may be half written.
    let whole = output.rfind('\n').map_or("", |end| output.get(..end).unwrap_or_default());
    whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The numbers of a metrics message, by the metric's name and its deciding attribute, as in `syspan.losses ring_full` or
/// `otel.sdk.exporter.span.exported` (without an error).
pub fn numbers(message: &Value) -> Result<BTreeMap<String, i64>> {
    const DECIDING: [&str; 4] = ["syspan.event.kind", "syspan.request.outcome", "syspan.loss.cause", "error.type"];
    let mut numbers = BTreeMap::new();
    for of_resource in items(message, "resourceMetrics")? {
        for of_scope in items(of_resource, "scopeMetrics")? {
            for metric in items(of_scope, "metrics")? {
                let name = metric.get("name").and_then(Value::as_str).context("a name")?;
                for point in items(metric.get("sum").context("a sum")?, "dataPoints")? {
                    let deciding =
                        point.get("attributes").and_then(Value::as_array).into_iter().flatten().find_map(|pair| {
                            let key = pair.get("key")?.as_str()?;
                            DECIDING.contains(&key).then(|| pair.get("value")?.get("stringValue")?.as_str()).flatten()
                        });
                    let key = deciding.map_or_else(|| name.to_owned(), |which| format!("{name} {which}"));
                    let value = point.get("asInt").and_then(Value::as_str).unwrap_or("0").parse()?;
                    ensure!(numbers.insert(key, value).is_none(), "{name} twice: {message}");
                }
            }
        }
    }
    Ok(numbers)
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
