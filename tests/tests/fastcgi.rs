//! PHP-FPM behind nginx and Apache: FastCGI as they speak it.

#![allow(clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    apps::Environment,
    causes,
    http::{Client, Load},
    otlp::{Kind, Span},
    php::PhpFpm,
    postgres::Postgres,
    syspan::Syspan,
};

const RAW: &[&str] = &["--sql-text", "raw"];
const REQUESTS: usize = 200;

type Start = fn(&Environment) -> Result<PhpFpm>;

/// The ways in which a web server hands requests to PHP.
const WAYS: &[(&str, Start)] = &[
    ("nginx", PhpFpm::start),
    ("nginx, connections that stay open", PhpFpm::kept_open),
    ("Apache", PhpFpm::behind_apache),
];

fn speaks_fastcgi(span: &Span) -> bool {
    span.attribute("network.protocol.name") == "fastcgi"
}

fn evidence(span: &Span) -> &str {
    span.attribute("syspan.parent.evidence")
}

/// The path and query of a request, on either end.
fn target(span: &Span) -> String {
    match span.attribute("url.full").strip_prefix("http://shop.test") {
        Some(target) => target.to_owned(),
        None => span.target(),
    }
}

/// From the web server's request to PHP's there is one call, and statements are PHP's.
fn joined(spans: &[Span], requests: usize) -> Result<()> {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let in_php: Vec<&Span> = spans.iter().filter(|span| span.kind == Kind::Server && speaks_fastcgi(span)).collect();
    let targets: BTreeSet<String> = in_php.iter().map(|span| target(span)).collect();
    ensure!((in_php.len(), targets.len()) == (requests, requests), "{} requests of {}", in_php.len(), targets.len());
    for span in in_php {
        let call = by_id.get(span.parent_span_id.as_str()).with_context(|| format!("no parent: {span:?}"))?;
        ensure!(call.kind == Kind::Client && speaks_fastcgi(call) && evidence(span) == "socket", "{span:?}\n{call:?}");
        let asked = by_id.get(call.parent_span_id.as_str()).with_context(|| format!("no parent: {call:?}"))?;
        ensure!(asked.is_http_server() && !speaks_fastcgi(asked) && evidence(call) == "task", "{call:?}\n{asked:?}");
        ensure!(target(call) == target(span) && target(asked) == target(span), "{asked:?}\n{call:?}\n{span:?}");
        ensure!(asked.parent_span_id.is_empty() && asked.trace_id == span.trace_id, "{asked:?}\n{span:?}");
        ensure!(asked.start <= call.start && call.start <= span.start, "{asked:?}\n{call:?}\n{span:?}");
        ensure!(span.end <= call.end && call.end <= asked.end, "{asked:?}\n{call:?}\n{span:?}");
    }
    for statement in spans.iter().filter(|span| span.is_sql()) {
        let request = by_id.get(statement.parent_span_id.as_str()).context("a statement without a parent")?;
        ensure!(speaks_fastcgi(request) && request.kind == Kind::Server, "{statement:?}\n{request:?}");
    }
    Ok(())
}

#[test]
fn both_ends_of_every_request() -> Result<()> {
    let postgres = Postgres::start()?;
    for (name, start) in WAYS {
        let php = start(&postgres.environment())?;
        let syspan = Syspan::run(&php.pids(), RAW)?;
        Load::connect(php.port(), 8)?.run(REQUESTS, |number| format!("/checkout?id={number}"))?;
        let outcome = syspan.stop()?;
        outcome.assert_nothing_lost();
        joined(&outcome.spans, REQUESTS).context(*name)?;
        let parents = causes::parents(&outcome.spans);
        assert_eq!((parents.right, parents.missing, parents.wrong), (2 * REQUESTS, 0, vec![]), "{name}");
    }
    Ok(())
}

/// The connections are older than the agent, and PHP waits for requests on them when it comes.
#[test]
fn connections_that_stay_open() -> Result<()> {
    let php = PhpFpm::kept_open(&[])?;
    let mut load = Load::connect(php.port(), 4)?;
    load.run(50, |_| "/hello".to_owned())?;
    let syspan = Syspan::run(&php.pids(), &[])?;
    load.run(REQUESTS, |number| format!("/hello?id={number}"))?;
    let outcome = syspan.stop()?;
    outcome.assert_nothing_lost();
    joined(&outcome.spans, REQUESTS)?;
    let in_php = outcome.spans.iter().filter(|span| span.kind == Kind::Server && speaks_fastcgi(span));
    let connections: BTreeSet<&str> = in_php.map(|span| span.attribute("network.peer.port")).collect();
    assert!((1..REQUESTS / 4).contains(&connections.len()), "{} connections", connections.len());
    Ok(())
}

/// Bodies that are longer than what is captured, and answers that are none.
#[test]
fn bodies_and_statuses() -> Result<()> {
    for (name, start) in WAYS {
        let php = start(&[])?;
        let syspan = Syspan::run(&php.pids(), &[])?;
        let mut expected = BTreeMap::new();
        for round in 0..5 {
            for (method, path, length, status) in [
                ("POST", "/echo?length=1", 300_000, 200),
                ("GET", "/echo?length=700000", 0, 200),
                ("PUT", "/echo?length=100000", 40_000, 200),
                ("GET", "/nothing?at=all", 0, 404),
                ("POST", "/checkout?id=none", 5, 400),
                ("GET", "/hello?there", 0, 200),
            ] {
                let path = format!("{path}&round={round}");
                let head = format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {length}\r\n\r\n");
                let mut client = Client::connect(php.port())?;
                client.send(&[head.as_bytes(), &vec![b'x'; length]].concat())?;
                ensure!(client.receive()?.status == status, "{name}: {path}");
                expected.insert((method.to_owned(), path), status.to_string());
            }
        }
        let outcome = syspan.stop()?;
        outcome.assert_nothing_lost();
        joined(&outcome.spans, expected.len()).context(*name)?;
        for kind in [Kind::Server, Kind::Client] {
            let of_kind = outcome.spans.iter().filter(|span| span.kind == kind && speaks_fastcgi(span));
            let text = |span: &Span, key| span.attribute(key).to_owned();
            let found: BTreeMap<_, _> = of_kind
                .map(|span| ((span.name.clone(), target(span)), text(span, "http.response.status_code")))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }
    Ok(())
}

/// A context is its own request's, not that of the next one on the connection.
#[test]
fn a_context_is_adopted_once() -> Result<()> {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    let php = PhpFpm::kept_open(&[])?;
    let [_, fpm] = php.pids();
    let syspan = Syspan::run(&[fpm], &[])?;
    let mut client = Client::connect(php.port())?;
    for number in 0..20_usize {
        let header = format!("traceparent: 00-{TRACE}-{PARENT}-01");
        let headers: &[&str] = if number.is_multiple_of(2) { &[&header] } else { &[] };
        ensure!(client.get_with(&format!("/hello?id={number}"), headers)?.status == 200);
    }
    let outcome = syspan.stop()?;
    outcome.assert_nothing_lost();
    assert_eq!(outcome.spans.len(), 20);
    for span in &outcome.spans {
        let number: usize = span.attribute("url.query").trim_start_matches("id=").parse()?;
        let known = (span.trace_id == TRACE, span.parent_span_id.as_str(), evidence(span));
        assert_eq!(
            known,
            if number.is_multiple_of(2) { (true, PARENT, "header") } else { (false, "", "") },
            "{span:?}"
        );
    }
    Ok(())
}
