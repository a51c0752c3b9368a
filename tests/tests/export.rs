//! A collector that is not ours receives what `--output otlp-json` prints.

#![allow(clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::Result;
use syspan_tests::{
    apps::App,
    http::Load,
    otlp::Span,
    postgres::Postgres,
    rotel::{Endpoints, Received, Rotel},
    syspan::Syspan,
    wait,
};

/// How long the collector is away.
const OUTAGE: Duration = Duration::from_secs(20);

fn checkout(number: usize) -> String {
    format!("/checkout?id={number}")
}

fn sorted(spans: &[Span]) -> Vec<Received> {
    let mut spans: Vec<Received> = spans.iter().map(Received::from).collect();
    spans.sort_unstable();
    spans
}

fn received_equals_printed(protocol: &str, port: impl Fn(Endpoints) -> u16) -> Result<()> {
    let endpoints = Endpoints::free()?;
    let (postgres, rotel) = (Postgres::start()?, Rotel::start(endpoints)?);
    let app = App::orders(&postgres.environment())?;
    let url = format!("http://127.0.0.1:{}", port(endpoints));
    let syspan = Syspan::run(&[app.pid()], &["--otlp", &url, "--protocol", protocol])?;
    Load::connect(app.port(), 8)?.run(200, checkout)?;
    let outcome = syspan.stop()?;
    let mut received = rotel.stop()?;
    received.sort_unstable();
    assert_eq!(outcome.spans.len(), 600);
    assert_eq!(received, sorted(&outcome.spans));
    assert!(outcome.losses.is_empty(), "{:?}", outcome.losses);
    Ok(())
}

#[test]
fn by_grpc() -> Result<()> {
    received_equals_printed("grpc", |endpoints| endpoints.grpc)
}

#[test]
fn by_http() -> Result<()> {
    received_equals_printed("http/protobuf", |endpoints| endpoints.http)
}

#[test]
fn nothing_is_lost_while_the_collector_is_away() -> Result<()> {
    let endpoints = Endpoints::free()?;
    let (postgres, rotel) = (Postgres::start()?, Rotel::start(endpoints)?);
    let app = App::orders(&postgres.environment())?;
    let url = format!("http://127.0.0.1:{}", endpoints.grpc);
    let syspan = Syspan::run(&[app.pid()], &["--otlp", &url, "--protocol", "grpc"])?;
    let mut load = Load::connect(app.port(), 8)?;

    load.run(100, checkout)?;
    wait::until("the first spans", wait::START, || Ok((rotel.received()?.len() >= 300).then_some(())))?;
    let before = rotel.stop()?;

    load.run(100, |number| checkout(number + 100))?;
    thread::sleep(OUTAGE); // the length of the outage is what is tested
    let rotel = Rotel::start(endpoints)?;
    // The application has closed the idle connections by now.
    Load::connect(app.port(), 8)?.run(100, |number| checkout(number + 200))?;
    wait::until("the spans of the outage", wait::START, || Ok((rotel.received()?.len() >= 600).then_some(())))?;

    let outcome = syspan.stop()?;
    // A batch that was under way when the collector went may have been sent twice: the protocol allows it.
    let received: BTreeSet<Received> = before.into_iter().chain(rotel.stop()?).collect();
    assert_eq!(outcome.spans.len(), 900);
    assert_eq!(received.into_iter().collect::<Vec<_>>(), sorted(&outcome.spans));
    assert!(outcome.losses.is_empty(), "{:?}", outcome.losses);
    Ok(())
}
