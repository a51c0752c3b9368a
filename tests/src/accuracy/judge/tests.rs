#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{Asked, Level, Verdicts, judge};
use crate::otlp::{Kind, Span};

const PROXY: u32 = 10;
const APPLICATION: u32 = 20;

fn asked(hops: &[u32]) -> Asked {
    Asked { path: "checkout".to_owned(), ids: 0..2, hops: hops.iter().map(|&pid| [pid].into()).collect() }
}

/// A span of a trace that is named by the id, with a parent known by `evidence`.
fn span(pid: u32, (trace, id): (usize, &str), parent: (&str, &str), kind: Kind, attributes: &[(&str, String)]) -> Span {
    let mut attributes: Vec<_> = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    if !parent.1.is_empty() {
        attributes.push(("syspan.parent.evidence".to_owned(), parent.1.to_owned()));
    }
    Span {
        trace_id: trace.to_string(),
        span_id: id.to_owned(),
        parent_span_id: parent.0.to_owned(),
        flags: 0,
        name: "GET".to_owned(),
        kind,
        start: 0,
        end: 0,
        attributes: attributes.into_iter().collect(),
        error: false,
        resource: [("process.pid".to_owned(), pid.to_string())].into(),
    }
}

fn server(pid: u32, id: usize, name: &str, parent: (&str, &str)) -> Span {
    let attributes = [
        ("http.request.method", "GET".to_owned()),
        ("url.path", "/checkout".to_owned()),
        ("url.query", format!("id={id}")),
    ];
    span(pid, (id, name), parent, Kind::Server, &attributes)
}

fn client(pid: u32, id: usize, name: &str, path: &str, parent: (&str, &str)) -> Span {
    let url = ("url.full", format!("http://127.0.0.1:80{path}?id={id}"));
    span(pid, (id, name), parent, Kind::Client, &[url])
}

fn statement(id: usize, name: &str, step: &str, parent: (&str, &str)) -> Span {
    let text = format!("SELECT 'checkout-{id}-{step}', pg_sleep(0.001)");
    let attributes = [("db.system.name", "postgresql".to_owned()), ("db.query.text", text)];
    span(APPLICATION, (id, name), parent, Kind::Client, &attributes)
}

/// Both requests of an application, as they should be.
fn whole() -> Vec<Span> {
    (0..2)
        .flat_map(|id| {
            let request = format!("r{id}");
            let parent = (request.as_str(), "task");
            [
                server(APPLICATION, id, &request, ("", "")),
                statement(id, &format!("a{id}"), "a", parent),
                client(APPLICATION, id, &format!("c{id}"), "/item", parent),
                statement(id, &format!("b{id}"), "b", parent),
            ]
        })
        .collect()
}

#[test]
fn everything_is_right() {
    let tally = judge(&asked(&[APPLICATION]), &whole());
    assert_eq!(tally.edges, 6);
    assert_eq!(tally.parents, [(Level::Task, Verdicts { right: 6, wrong: 0 })].into());
    assert_eq!((tally.missing(), tally.absent, tally.surplus, tally.wrong.len()), (0, 0, 0, 0));
}

#[test]
fn another_requests_span_and_another_trace_are_wrong() {
    let mut spans = whole();
    spans[1].parent_span_id = "r1".to_owned();
    spans[2].trace_id = "1".to_owned();
    spans[3].parent_span_id = "nobody".to_owned();
    // A statement is no parent of another one, though it is of the same request.
    spans[5].parent_span_id = "c1".to_owned();
    let tally = judge(&asked(&[APPLICATION]), &spans);
    assert_eq!(tally.of(|level| level == Level::Task), Verdicts { right: 2, wrong: 4 });
    assert!(tally.wrong[0].contains("statement a of id 0 (hop 0) is below"), "{:?}", tally.wrong);
}

#[test]
fn a_request_from_outside_has_no_parent() {
    let mut spans = whole();
    spans[4].parent_span_id = "r0".to_owned();
    spans.iter_mut().for_each(|span| span.trace_id = "0".to_owned());
    let tally = judge(&asked(&[APPLICATION]), &spans);
    assert_eq!((tally.edges, tally.of(|_| true).wrong), (6, 1));
    // The label is missing as well.
    assert_eq!(tally.of(|level| level == Level::Unlabelled).wrong, 1);
}

#[test]
fn what_is_not_there_is_missing_and_told_apart() {
    let mut spans = whole();
    spans[3].parent_span_id.clear();
    spans.remove(2); // the call
    spans.remove(0); // the request, and with it the parent of statement a
    let tally = judge(&asked(&[APPLICATION]), &spans);
    assert_eq!((tally.edges, tally.missing(), tally.parentless, tally.absent, tally.absent_edges), (6, 2, 1, 2, 1));
    assert_eq!(tally.of(|_| true), Verdicts { right: 3, wrong: 1 });
}

#[test]
fn of_a_span_that_is_there_twice_the_worse_counts() {
    let mut spans = whole();
    let mut again = spans[1].clone();
    again.span_id = "again".to_owned();
    again.parent_span_id = "r1".to_owned();
    spans.insert(0, again);
    let tally = judge(&asked(&[APPLICATION]), &spans);
    assert_eq!((tally.surplus, tally.of(|_| true)), (1, Verdicts { right: 5, wrong: 1 }));
}

#[test]
fn what_is_inferred_is_judged_by_its_confidence() {
    let mut spans = whole();
    for (index, confidence) in [(1, "0.95"), (2, "0.9"), (3, "0.89"), (5, "")] {
        spans[index].attributes.insert("syspan.parent.evidence".to_owned(), "inferred".to_owned());
        spans[index].attributes.insert("syspan.parent.confidence".to_owned(), confidence.to_owned());
    }
    spans[1].parent_span_id = "r1".to_owned();
    let tally = judge(&asked(&[APPLICATION]), &spans);
    assert_eq!(tally.of(|level| level == Level::Confident), Verdicts { right: 1, wrong: 1 });
    assert_eq!(tally.of(|level| level == Level::Unsure), Verdicts { right: 2, wrong: 0 });
    assert!(tally.wrong[0].contains("0.95"));
}

#[test]
fn a_proxy_is_a_hop_with_two_edges_more() {
    let behind_proxy = |spans: &mut Vec<Span>| {
        for id in 0..2 {
            let (arrived, onward) = (format!("p{id}"), format!("o{id}"));
            spans.push(server(PROXY, id, &arrived, ("", "")));
            spans.push(client(PROXY, id, &onward, "/checkout", (&arrived, "task")));
            spans[id * 4] = server(APPLICATION, id, &format!("r{id}"), (&onward, "socket"));
        }
    };
    let mut spans = whole();
    behind_proxy(&mut spans);
    let tally = judge(&asked(&[PROXY, APPLICATION]), &spans);
    assert_eq!((tally.edges, tally.of(|_| true)), (10, Verdicts { right: 10, wrong: 0 }));
    assert_eq!(tally.of(|level| level == Level::Socket).right, 2);
    // The application's request directly below the proxy's leaves the call between them out.
    spans[0].parent_span_id = "p0".to_owned();
    assert_eq!(judge(&asked(&[PROXY, APPLICATION]), &spans).of(|_| true).wrong, 1);
}
