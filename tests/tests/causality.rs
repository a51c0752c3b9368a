//! Every statement below the request that caused it.

#![allow(clippy::panic, reason = "tests")]

use anyhow::{Result, ensure};
use syspan_tests::{
    apps::App,
    causes::{differences, parents, requests, traces},
    http::{self, Load},
    nginx::Nginx,
    otlp::Kind,
    postgres::Postgres,
    syspan::{Outcome, Syspan},
};

const REQUESTS: usize = 1000;
const CONNECTIONS: usize = 16;
const NONE: [&str; 0] = [];
const RAW: &[&str] = &["--sql-text", "raw"];

fn checkout(number: usize) -> String {
    format!("/checkout?id={number}")
}

fn with_pool(postgres: &Postgres, connections: usize) -> Vec<(String, String)> {
    let mut environment = postgres.environment();
    environment.push(("POOL_SIZE".to_owned(), connections.to_string()));
    environment
}

/// Exactly one SERVER span a request for each of `hops` services, two statements each, each below its own request.
fn assert_complete(outcome: &Outcome, hops: usize) {
    outcome.assert_nothing_lost();
    let expected = (0..REQUESTS).map(|number| (checkout(number), hops)).collect();
    assert_eq!(differences(&requests(&outcome.spans), &expected), NONE);
    assert_eq!(outcome.spans.iter().filter(|span| span.is_sql()).count(), 2 * REQUESTS);
    let parents = parents(&outcome.spans);
    assert_eq!(parents.wrong, NONE);
    assert_eq!((parents.right, parents.missing), (2 * REQUESTS, 0));
}

#[test]
fn node_with_a_pool_of_its_own_size() -> Result<()> {
    let postgres = Postgres::start()?;
    let app = App::orders(&with_pool(&postgres, 20))?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, checkout)?;
    assert_complete(&syspan.stop()?, 1);
    Ok(())
}

#[test]
fn connections_older_than_the_agent() -> Result<()> {
    let postgres = Postgres::start()?;
    let app = App::orders(&with_pool(&postgres, 20))?;
    let mut load = Load::connect(app.port(), CONNECTIONS)?;
    // Opens the pool's connections; its ids are not those of the measured requests.
    load.run(200, |number| checkout(number + 1_000_000))?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    load.run(REQUESTS, checkout)?;
    assert_complete(&syspan.stop()?, 1);
    Ok(())
}

#[test]
fn one_trace_through_nginx() -> Result<()> {
    let postgres = Postgres::start()?;
    let app = App::orders(&with_pool(&postgres, 20))?;
    let nginx = Nginx::proxy(app.port())?;
    let syspan = Syspan::run(&[nginx.pid(), app.pid()], RAW)?;
    Load::connect(nginx.port(), CONNECTIONS)?.run(REQUESTS, checkout)?;
    let outcome = syspan.stop()?;
    assert_complete(&outcome, 2);
    let traces = traces(&outcome.spans);
    assert_eq!(traces.len(), REQUESTS);
    for (id, spans) in traces {
        let of = |kind| spans.iter().filter(|span| span.kind == kind).count();
        let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
        // nginx SERVER, nginx CLIENT, Node SERVER, two statements.
        assert_eq!((of(Kind::Server), of(Kind::Client), roots.len()), (2, 3, 1), "trace {id}: {spans:#?}");
        let target = roots.first().map(|root| root.target()).unwrap_or_default();
        let served = spans.iter().filter(|span| span.is_http_server());
        assert!(served.into_iter().all(|span| span.target() == target), "trace {id}: {spans:#?}");
    }
    Ok(())
}

/// Where requests queue for connections, or share an event loop, a statement may stay without a parent. It must not
/// get another request's.
fn assert_none_wrong(outcome: &Outcome) {
    let parents = parents(&outcome.spans);
    assert_eq!(parents.wrong, NONE, "{} right, {} missing", parents.right, parents.missing);
    assert_eq!(parents.right + parents.missing, 2 * REQUESTS);
    let expected = (0..REQUESTS).map(|number| (checkout(number), 1)).collect();
    assert_eq!(differences(&requests(&outcome.spans), &expected), NONE);
    eprintln!("{} of {} statements have their parent", parents.right, 2 * REQUESTS);
}

#[test]
fn node_with_a_pool_smaller_than_the_load() -> Result<()> {
    let postgres = Postgres::start()?;
    let app = App::orders(&with_pool(&postgres, 4))?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    Load::connect(app.port(), 32)?.run(REQUESTS, checkout)?;
    assert_none_wrong(&syspan.stop()?);
    Ok(())
}

#[test]
fn uvicorn_and_asyncpg() -> Result<()> {
    let postgres = Postgres::start()?;
    for connections in [4, 32] {
        let app = App::event_loop(&with_pool(&postgres, connections))?;
        // The first answer comes once the pool is open.
        ensure!(http::get(app.port(), "/hello")?.status == 200);
        let syspan = Syspan::run(&[app.pid()], RAW)?;
        Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, checkout)?;
        assert_none_wrong(&syspan.stop()?);
    }
    Ok(())
}

#[test]
fn threads_over_a_unix_socket() -> Result<()> {
    let postgres = Postgres::start()?;
    let mut environment = postgres.unix_environment();
    environment.push(("MARIADB_PORT".to_owned(), "0".to_owned()));
    let app = App::threads(&environment)?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    // As many connections as threads: gunicorn's threads keep a connection while it is busy.
    Load::connect(app.port(), 8)?.run(REQUESTS, checkout)?;
    assert_complete(&syspan.stop()?, 1);
    Ok(())
}
