//! The spans that must be there, and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    causes::{differences, marker},
    otlp::{Kind, Span},
    recording::Recording,
    syspan::Outcome,
};

/// `OTEL_SERVICE_NAME` of the process that answers.
pub(crate) const SERVER: &str = "orders";

/// The kernel did not show this many system calls to the agent, which said so, and the spans are not what they should be. That is the
/// kernel's doing (since 7.0, see docs/kernels.md); in a machine that is emulated a hundred times slower than real ones, and
/// interrupted as often, it is seen in every other run.
#[derive(Debug)]
pub(crate) struct LeftOut(pub(crate) u64);

impl LeftOut {
    /// Of a recording.
    pub(crate) fn of(recording: &Recording) -> Self {
        let lost =
            recording.of_kind("lost").filter(|event| event.get("cause").is_some_and(|cause| cause == "preempted"));
        Self(lost.filter_map(|event| event.get("count")?.as_u64()).sum())
    }

    /// A verdict that says so, should it be bad.
    pub(crate) fn excuse(self, verdict: Result<()>) -> Result<()> {
        if self.0 > 0 { verdict.map_err(|error| error.context(self)) } else { verdict }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel left out {} system calls", self.0)
    }
}

/// What was done while the agent observed.
#[derive(Default)]
pub(crate) struct Expected {
    /// How often each `address target` was requested.
    requests: BTreeMap<String, usize>,
    /// How often each statement must be there, by `target: marker, way`.
    statements: BTreeMap<String, usize>,
    /// Whether the sessions' beginnings, which name the database, were not seen.
    older_sessions: bool,
}

impl Expected {
    /// Over sessions that were open before the agent came.
    pub(crate) fn of_older_sessions() -> Self {
        Self { older_sessions: true, ..Self::default() }
    }

    /// A request that runs no statement; returns its target.
    pub(crate) fn request(&mut self, address: IpAddr, target: &str) -> String {
        *self.requests.entry(format!("{address} {target}")).or_default() += 1;
        target.to_owned()
    }

    /// A request that runs two statements; returns its target.
    pub(crate) fn checkout(&mut self, address: IpAddr, number: usize) -> String {
        let target = self.request(address, &format!("/checkout?id={number}"));
        for way in ["tcp", "unix"] {
            *self.statements.entry(format!("{target}: checkout-{number}-{way} over {way}")).or_default() += 1;
        }
        target
    }

    /// The spans of a run: every request once on both ends, its statements below it, all attributes as they must be.
    pub(crate) fn check(&self, outcome: &Outcome) -> Result<()> {
        let left_out = outcome.losses.get("preempted").copied().unwrap_or_default();
        LeftOut(left_out).excuse(self.judge(outcome))
    }

    fn judge(&self, outcome: &Outcome) -> Result<()> {
        let Outcome { spans, losses, messages: _ } = outcome;
        // Those of other processes count as well: whether one mattered is seen by the spans.
        let losses: BTreeMap<_, _> = losses.iter().filter(|(cause, _)| *cause != "preempted").collect();
        ensure!(losses.is_empty(), "losses: {losses:?}");
        let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
        let (mut clients, mut servers, mut statements) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for span in spans {
            if span.is_sql() {
                let namespace = if self.older_sessions { "" } else { "postgres" };
                require(span, &[("db.namespace", namespace)])?;
                *statements.entry(statement(span, &by_id)?).or_default() += 1;
            } else if span.kind == Kind::Server {
                *servers.entry(server(span, &by_id)?).or_default() += 1;
            } else {
                *clients.entry(client(span)?).or_default() += 1;
            }
        }
        for (what, found, expected) in [
            ("clients", &clients, &self.requests),
            ("servers", &servers, &self.requests),
            ("statements", &statements, &self.statements),
        ] {
            let differences = differences(found, expected);
            ensure!(differences.is_empty(), "{what}: {differences:?}");
        }
        Ok(())
    }
}

/// The client's end of a request: a root.
fn client(span: &Span) -> Result<String> {
    ensure!(span.parent_span_id.is_empty(), "a client's span with a parent: {span:?}");
    require(span, &[("http.request.method", "GET"), ("http.response.status_code", "200")])?;
    let target = span.attribute("url.full").strip_prefix("http://shop.test").context("url.full")?;
    Ok(format!("{} {target}", span.attribute("network.peer.address")))
}

/// The server's end: below the client's, which the connection proves.
fn server(span: &Span, by_id: &HashMap<&str, &Span>) -> Result<String> {
    require(
        span,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("server.address", "shop.test"),
            ("syspan.parent.evidence", "socket"),
        ],
    )?;
    ensure!(span.service() == SERVER, "service.name is not {SERVER}: {span:?}");
    let parent = parent(span, by_id)?;
    let request = client(parent)?;
    ensure!(request.ends_with(&format!(" {}", span.target())), "{span:?} is below {request}");
    Ok(request)
}

/// A statement: below the request whose thread ran it.
fn statement(span: &Span, by_id: &HashMap<&str, &Span>) -> Result<String> {
    require(
        span,
        &[("db.system.name", "postgresql"), ("db.query.summary", "SELECT"), ("syspan.parent.evidence", "task")],
    )?;
    ensure!(span.service() == SERVER, "service.name is not {SERVER}: {span:?}");
    let peer = span.attribute("network.peer.address");
    let way = if peer == "127.0.0.1" { "tcp" } else { "unix" };
    let parent = parent(span, by_id)?;
    Ok(format!("{}: {} over {way}", parent.target(), marker(span).unwrap_or_default()))
}

/// A span's parent, which must be there and around it.
fn parent<'a>(span: &Span, by_id: &HashMap<&str, &'a Span>) -> Result<&'a Span> {
    let parent = by_id.get(span.parent_span_id.as_str()).with_context(|| format!("no parent: {span:?}"))?;
    ensure!(
        parent.trace_id == span.trace_id && parent.start <= span.start && span.end <= parent.end,
        "{span:?} is not within {parent:?}"
    );
    Ok(parent)
}

fn require(span: &Span, attributes: &[(&str, &str)]) -> Result<()> {
    for (key, value) in attributes {
        let found = span.attribute(key);
        ensure!(found == *value, "{key} is {found:?}, not {value:?}: {span:?}");
    }
    Ok(())
}
