//! Five unmodified services, one behind the other: nginx, Node, Java, Go, Python. All but nginx run two statements of PostgreSQL and
//! call the next service between them, and each writes the request's id into what it sends: so it is known which spans there must
//! be, and below which others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use anyhow::{Result, ensure};

use crate::{
    accuracy::stack::Stack,
    apps::{App, Environment},
    causes::marker,
    http::Load,
    nginx::Nginx,
    otlp::{Kind, Span},
    runtimes,
};

/// The services, in the order in which a request comes to them.
pub const SERVICES: [&str; 5] = ["nginx", "Node", "Java", "Go", "Python"];

/// Spans of each request: nginx has no statements, and Python calls nobody.
pub const SPANS: usize = 2 + 3 * 4 + 3;

/// The ids of warming up begin here: far above those that are judged.
const WARM_UP_IDS: usize = 1_000_000;

/// Of the agent: statements keep their text, in which the ids are.
pub const ARGUMENTS: [&str; 2] = ["--sql-text", "raw"];

/// nginx and Node, which calls the service at this address. `database`: where it finds PostgreSQL.
pub fn first_half(database: &Environment, address: &str) -> Result<Stack> {
    let node = App::checkout_in_node(&calling(database, format!("http://{address}")))?;
    let nginx = Nginx::proxy(node.port())?;
    Ok(Stack::of(node).behind(nginx))
}

/// Java, which listens on all addresses, Go, and gunicorn's threads.
pub fn second_half(database: &Environment) -> Result<Stack> {
    let class = ["--worker-class", "gthread", "--threads", "16"];
    let python = App::checkout_in_gunicorn(&class, database)?;
    let go = runtimes::go(&calling(database, format!("http://127.0.0.1:{}", python.port())))?;
    let mut environment = calling(database, format!("http://127.0.0.1:{}", go.port()));
    environment.push(("HOST".to_owned(), "0.0.0.0".to_owned()));
    let java = runtimes::java_threads(&environment)?;
    Ok(Stack::of(python).behind(go).behind(java))
}

fn calling(database: &Environment, downstream: String) -> Vec<(String, String)> {
    [database, &[("DOWNSTREAM".to_owned(), downstream)]].concat()
}

/// Sends requests that are not judged: afterwards pools are as full as this load makes them.
pub fn warm_up(load: &mut Load, requests: usize) -> Result<()> {
    load.run(requests, |number| format!("/checkout?id={}", WARM_UP_IDS + number))
}

/// The trace and the span that a request's own `traceparent` names, which every second one has.
fn header(id: usize) -> Option<(String, String)> {
    id.is_multiple_of(2).then(|| (format!("{:032x}", id + 1), format!("{:016x}", id + 1)))
}

/// Sends the requests with the ids 0, 1, 2 and so on, and demands that each answer is its own: what Java and Go have put together of
/// their statements and of the next service's answer.
pub fn ask(load: &mut Load, requests: usize) -> Result<()> {
    load.run_checked(
        requests,
        |id| {
            let header = header(id).map(|(trace, span)| format!("traceparent: 00-{trace}-{span}-01"));
            (format!("/checkout?id={id}"), header)
        },
        |id, body| {
            let mut expected = "done\n".to_owned();
            for _service in ["Go", "Java"] {
                expected = format!("item-{id}-a\n{expected}item-{id}-b\n");
            }
            ensure!(body == expected, "the answer to {id} is {body:?}, not {expected:?}");
            Ok(())
        },
    )
}

/// What a span is to the request that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Role {
    /// The request as the service received it.
    Request,
    /// Its call of the next service.
    Call,
    /// The statement before that.
    First,
    /// The one after it.
    Second,
}

/// A span that each request must have once: its service's number and its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place(usize, Role);

impl Place {
    fn all() -> impl Iterator<Item = Self> {
        let roles = [Role::Request, Role::Call, Role::First, Role::Second];
        let places = (0..SERVICES.len()).flat_map(move |service| roles.map(|role| Place(service, role)));
        places.filter(|Place(service, role)| match role {
            Role::Request => true,
            Role::Call => service + 1 < SERVICES.len(),
            Role::First | Role::Second => *service > 0,
        })
    }

    fn parent(self) -> Option<Self> {
        match self {
            Place(service, Role::Request) => Some(Place(service.checked_sub(1)?, Role::Call)),
            Place(service, _) => Some(Place(service, Role::Request)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.1 {
            Role::Request => "request",
            Role::Call => "call",
            Role::First => "statement a",
            Role::Second => "statement b",
        };
        write!(f, "{}'s {what}", SERVICES.get(self.0).unwrap_or(&"?"))
    }
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Traces that the spans are in.
    pub traces: usize,
    /// Requests whose spans are all there, once each and in one trace, each below the one that caused it.
    pub whole: usize,
    /// How often a span of each sort was not there.
    pub absent: BTreeMap<String, usize>,
    /// How often one had no parent, though it should have.
    pub parentless: BTreeMap<String, usize>,
    /// Spans that are there once more than they should, and spans below others than those that caused them, in words.
    pub wrong: Vec<String>,
}

/// Judges the spans of the requests 0 to `requests`, whichever agents they come from. `processes`: of each service.
#[must_use]
pub fn judge(spans: &[Span], processes: &[BTreeSet<u32>], requests: usize) -> Verdict {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut found: HashMap<(usize, Place), &Span> = HashMap::new();
    let (mut verdict, mut traces) = (Verdict::default(), HashSet::new());
    for span in spans {
        let Some((id, place)) = place(span, processes).filter(|(id, _)| *id < requests) else { continue };
        traces.insert(&span.trace_id);
        if found.insert((id, place), span).is_some() {
            verdict.wrong.push(format!("{place} of {id} is there twice"));
        }
    }
    for id in 0..requests {
        let (mut whole, mut trace) = (true, None);
        for expected in Place::all() {
            let Some(span) = found.get(&(id, expected)) else {
                *verdict.absent.entry(expected.to_string()).or_default() += 1;
                whole = false;
                continue;
            };
            whole &= *trace.get_or_insert(&span.trace_id) == &span.trace_id;
            let parent = expected.parent();
            if let (None, Some((trace, above))) = (parent, header(id)) {
                if (&trace, &above) != (&span.trace_id, &span.parent_span_id) {
                    verdict.wrong.push(format!("{expected} of {id} does not continue its header: {}", span.trace_id));
                    whole = false;
                }
                continue;
            }
            if span.parent_span_id.is_empty() {
                if parent.is_some() {
                    *verdict.parentless.entry(expected.to_string()).or_default() += 1;
                    whole = false;
                }
                continue;
            }
            let above = by_id.get(span.parent_span_id.as_str()).filter(|above| above.trace_id == span.trace_id);
            let above = above.and_then(|above| place(above, processes));
            if parent.is_none() || above != parent.map(|parent| (id, parent)) {
                let evidence = span.attribute("syspan.parent.evidence");
                let above = above.map_or("nothing that is known".to_owned(), |(id, place)| format!("{place} of {id}"));
                verdict.wrong.push(format!("{expected} of {id} is below {above} ({evidence}; {})", span.span_id));
                whole = false;
            }
        }
        verdict.whole += usize::from(whole);
    }
    verdict.traces = traces.len();
    verdict
}

/// Which request a span belongs to and what it is to it, by what its service wrote into it.
fn place(span: &Span, processes: &[BTreeSet<u32>]) -> Option<(usize, Place)> {
    let pid = span.resource.get("process.pid")?.parse().ok()?;
    let service = processes.iter().position(|processes| processes.contains(&pid))?;
    let (id, role) = if span.is_sql() {
        let mut parts = marker(span)?.split('-').skip(1);
        let id = parts.next()?;
        (id, if parts.next()? == "a" { Role::First } else { Role::Second })
    } else if span.kind == Kind::Server {
        (span.attribute("url.query").strip_prefix("id=")?, Role::Request)
    } else {
        (span.attribute("url.full").split_once("?id=")?.1, Role::Call)
    };
    Some((id.parse().ok()?, Place(service, role)))
}
