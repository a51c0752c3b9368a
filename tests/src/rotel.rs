//! rotel, a collector that is not ours: receives OTLP over gRPC and HTTP and logs every span.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    otlp::{Kind, Span},
    ports,
    server::Server,
};

/// A running collector.
#[derive(Debug)]
pub struct Rotel {
    server: Server,
    folder: TempDir,
}

/// The ports of a collector: known before it runs, and kept when it is started again.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// OTLP/gRPC on 127.0.0.1.
    pub grpc: u16,
    /// OTLP/HTTP on 127.0.0.1.
    pub http: u16,
}

impl Endpoints {
    /// Two free ports.
    pub fn free() -> Result<Self> {
        Ok(Self { grpc: ports::free()?, http: ports::free()? })
    }
}

/// What a collector has logged of a span.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Received {
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    name: String,
    kind: Kind,
    start: u64,
    end: u64,
    service: String,
    attributes: BTreeMap<String, String>,
}

impl From<&Span> for Received {
    fn from(span: &Span) -> Self {
        Self {
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            parent_span_id: span.parent_span_id.clone(),
            name: span.name.clone(),
            kind: span.kind,
            start: span.start,
            end: span.end,
            service: span.service().to_owned(),
            attributes: span.attributes.clone(),
        }
    }
}

impl Rotel {
    /// Starts a collector that logs every span, and waits for both its receivers.
    pub fn start(endpoints: Endpoints) -> Result<Self> {
        Self::start_with(endpoints, &["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
    }

    /// Starts a collector that logs every metric instead, for [`Self::stop_log`].
    pub fn of_metrics(endpoints: Endpoints) -> Result<Self> {
        Self::start_with(endpoints, &["--debug-log", "metrics", "--debug-log-verbosity", "detailed"])
    }

    /// The same without the log: it takes spans and forgets them, as cheaply as it can.
    pub fn quiet(endpoints: Endpoints) -> Result<Self> {
        Self::start_with(endpoints, &[])
    }

    fn start_with(endpoints: Endpoints, arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("rotel-")?;
        let mut command = Command::new(crate::apps::python("bin/python")?);
        let package = "import os, rotel, sys; a = os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'); \
                       os.execv(a, [a] + sys.argv[1:])";
        command
            .args(["-c", package, "start", "--exporter", "blackhole"])
            .args(arguments)
            .arg("--otlp-grpc-endpoint")
            .arg(format!("127.0.0.1:{}", endpoints.grpc))
            .arg("--otlp-http-endpoint")
            .arg(format!("127.0.0.1:{}", endpoints.http))
            .current_dir(folder.path());
        let mut server = Server::start("rotel", folder.path(), &command)?;
        server.wait_for_port(endpoints.grpc)?;
        server.wait_for_port(endpoints.http)?;
        Ok(Self { server, folder })
    }

    /// The spans it has received so far.
    pub fn received(&self) -> Result<Vec<Received>> {
        parse(&self.server.output()?)
    }

    /// Stops it (SIGTERM) and returns its log.
    pub fn stop_log(self) -> Result<String> {
        let Self { server, folder } = self;
        server.stop()?;
        Ok(std::fs::read_to_string(folder.path().join("rotel.log"))?)
    }

    /// Stops it (SIGTERM) and returns all spans it received.
    pub fn stop(self) -> Result<Vec<Received>> {
        parse(&self.stop_log()?)
    }
}

/// Reads rotel's detailed debug log. Attribute values span lines where they contain line breaks.
fn parse(text: &str) -> Result<Vec<Received>> {
    let mut received: Vec<Received> = Vec::new();
    let mut service = String::new();
    let mut of_resource = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if trimmed == "Resource attributes:" {
            (of_resource, service) = (true, String::new());
        } else if let Some(trace_id) = field(trimmed, "Trace ID") {
            of_resource = false;
            received.push(Received {
                trace_id: trace_id.to_owned(),
                span_id: String::new(),
                parent_span_id: String::new(),
                name: String::new(),
                kind: Kind::Other,
                start: 0,
                end: 0,
                service: service.clone(),
                attributes: BTreeMap::new(),
            });
        } else if let Some(attribute) = trimmed.strip_prefix("-> ") {
            let mut attribute = attribute.to_owned();
            while let Some(more) = lines.next_if(|next| !begins_something(next)) {
                attribute.push('\n');
                attribute.push_str(more);
            }
            let (key, value) = plain(&attribute).with_context(|| format!("not an attribute: {attribute}"))?;
            if of_resource && key == "service.name" {
                value.clone_into(&mut service);
            } else if !of_resource && let Some(span) = received.last_mut() {
                span.attributes.insert(key.to_owned(), value.to_owned());
            }
        } else if let Some(span) = received.last_mut()
            && !of_resource
        {
            if let Some(id) = field(trimmed, "Parent ID") {
                id.clone_into(&mut span.parent_span_id);
            } else if let Some(id) = field(trimmed, "ID") {
                id.clone_into(&mut span.span_id);
            } else if let Some(name) = field(trimmed, "Name") {
                name.clone_into(&mut span.name);
            } else if let Some(kind) = field(trimmed, "Kind") {
                span.kind = match kind {
                    "SPAN_KIND_SERVER" => Kind::Server,
                    "SPAN_KIND_CLIENT" => Kind::Client,
                    _ => Kind::Other,
                };
            } else if let Some(time) = field(trimmed, "Start time") {
                span.start = time.parse()?;
            } else if let Some(time) = field(trimmed, "End time") {
                span.end = time.parse()?;
            }
        }
    }
    // The last span may be half written while the collector runs: a span ends with its times.
    if received.last().is_some_and(|span| span.end == 0) {
        received.pop();
    }
    ensure!(received.iter().all(|span| !span.span_id.is_empty()), "a span without an id in rotel's log");
    Ok(received)
}

/// Whether a line of the log is not the continuation of an attribute's value. The collector's own messages, in colour,
/// share the log.
fn begins_something(line: &str) -> bool {
    line.starts_with('\u{1b}')
        || line.starts_with("     -> ")
        || ["Span #", "ScopeSpans #", "ResourceSpans #"].iter().any(|start| line.trim_start().starts_with(start))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = line.split_once(':')?;
    (key.trim() == name).then(|| value.trim())
}

/// `db.query.text: Str(SELECT 1)` is the pair `db.query.text`, `SELECT 1`.
fn plain(attribute: &str) -> Option<(&str, &str)> {
    let (key, typed) = attribute.split_once(": ")?;
    let (_type, value) = typed.split_once('(')?;
    Some((key, value.strip_suffix(')')?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::parse;
    use crate::otlp::Kind;

    const LOG: &str = "ResourceSpans #0
Resource SchemaURL: \nResource attributes:
     -> service.name: Str(orders)
ScopeSpans #0
ScopeSpans SchemaURL: \nSpan #0
    Trace ID       : 000102030405060708090a0b0c0d0e0f
    Parent ID      : 0101010101010101
    ID             : 0202020202020202
    Name           : SELECT
    Kind           : SPAN_KIND_CLIENT
Start time: 5
End time: 9
Attributes:
     -> db.query.text: Str(SELECT 'a' -> Str(b)
foo)
     -> server.port: Int(80)
";

    #[test]
    fn a_span_of_the_log() {
        let spans = parse(LOG).unwrap();
        let span = &spans[0];
        assert_eq!((spans.len(), span.kind, span.start, span.end), (1, Kind::Client, 5, 9));
        assert_eq!((span.service.as_str(), span.parent_span_id.as_str()), ("orders", "0101010101010101"));
        assert_eq!(span.attributes["db.query.text"], "SELECT 'a' -> Str(b)\nfoo");
        assert_eq!(span.attributes["server.port"], "80");
    }
}
