//! A collector that is not ours receives what `--output otlp-json` prints.

#![allow(clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::Result;
use serde_json::Value;
use syspan_tests::{
    apps::App,
    http::{Client, Load},
    otlp::Span,
    postgres::Postgres,
    receiver::{Receiver, whole_spans},
    rotel::{Endpoints, Received, Rotel},
    syspan::{Syspan, losses},
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
    outcome.assert_nothing_lost();
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

/// Every field of every span, as another decoder reads it from compressed requests of which one is a partial success.
fn decoded_equals_printed(protocol: &str) -> Result<()> {
    let (postgres, receiver) = (Postgres::start()?, Receiver::start(protocol)?);
    let app = App::orders(&postgres.environment())?;
    let endpoint = format!("http://127.0.0.1:{}", receiver.port());
    let syspan = Syspan::start(
        &["--output", "otlp-json"],
        &[app.pid()],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "256".to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue%20green,authorization=Basic%20Zm9v".to_owned()),
        ],
    )?;
    Load::connect(app.port(), 8)?.run(200, checkout)?;
    assert_eq!(Client::connect(app.port())?.get("/status/503")?.status, 503);
    let (printed, messages) = syspan.stop_unread()?;

    let requests = receiver.requests()?;
    assert!(requests.len() > 2, "601 spans in batches of 256");
    for request in &requests {
        assert!(request.gzip);
        assert_eq!(request.headers.get("x-tenant").map(String::as_str), Some("blue green"));
        assert_eq!(request.headers.get("authorization").map(String::as_str), Some("Basic Zm9v"));
    }
    let printed: Vec<Value> = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let printed = whole_spans(printed)?;
    assert_eq!(printed.len(), 601);
    assert_eq!(whole_spans(requests.into_iter().map(|request| request.message))?, printed);
    assert_eq!(losses(&messages)?, [("rejected".to_owned(), 1)].into());
    assert!(messages.contains("the collector says: one span too many"), "{messages}");
    Ok(())
}

#[test]
fn by_grpc_with_gzip_and_headers() -> Result<()> {
    decoded_equals_printed("grpc")
}

#[test]
fn by_http_with_gzip_and_headers() -> Result<()> {
    decoded_equals_printed("http/protobuf")
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
    outcome.assert_nothing_lost();
    Ok(())
}
