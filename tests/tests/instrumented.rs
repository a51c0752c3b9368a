//! Programs that trace themselves, by OpenTelemetry's own SDK for Node: what its spans cover is left to it.

#![allow(clippy::panic, reason = "tests")]

use anyhow::Result;
use syspan_tests::{
    apps::App,
    causes::marker,
    downstream::Downstream,
    http::Load,
    otlp::{Kind, Span},
    postgres::Postgres,
    receiver::Receiver,
    syspan::{self, Outcome, Syspan},
    wait,
};

const REQUESTS: usize = 40;
/// Exports that the program makes before.
const EXPORTS: usize = 3;

/// Whether the program has exported spans before the agent came.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Connection {
    Older,
    Newer,
}

/// The shop's service under the SDK, which exports to a receiver: what syspan makes of the requests that come once it has exported some
/// spans, and what it says.
fn outcome(
    (protocol, connection): (&str, Connection),
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Result<(Outcome, String)> {
    let (postgres, downstream) = (Postgres::start()?, Downstream::start()?);
    let receiver = Receiver::start(protocol)?;
    let mut variables = postgres.environment();
    let modules = syspan_tests::target().join("apps/node-opentelemetry/node_modules");
    let node = syspan_tests::target().join("apps/node/node_modules");
    for (name, value) in [
        ("DOWNSTREAM", downstream.url()),
        ("NODE_PATH", format!("{}:{}", modules.display(), node.display())),
        ("NODE_OPTIONS", "--require @opentelemetry/auto-instrumentations-node/register".to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", receiver.port())),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
        ("OTEL_METRICS_EXPORTER", "none".to_owned()),
        ("OTEL_LOGS_EXPORTER", "none".to_owned()),
    ] {
        variables.push((name.to_owned(), value));
    }
    variables.extend(environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    let app = App::checkout_in_node(&variables)?;
    let mut load = Load::connect(app.port(), 4)?;
    // One at a time: of an export only the beginning is looked at, and what a request alone leaves fits into that.
    let exports = |load: &mut Load, count: usize| -> Result<()> {
        for _ in 0..count {
            let before = receiver.spans()?;
            load.run(1, |_| format!("/checkout?id={REQUESTS}"))?;
            wait::until("the program's own spans", wait::START, || Ok((receiver.spans()? > before).then_some(())))?;
        }
        Ok(())
    };
    if connection == Connection::Older {
        exports(&mut load, 1)?;
    }
    let syspan = Syspan::run(&[app.pid()], &[&["--sql-text", "raw"], arguments].concat())?;
    exports(&mut load, EXPORTS)?;
    load.run(REQUESTS, |number| format!("/checkout?id={number}"))?;
    let check = syspan::output(&["check", "--pid", &app.pid().to_string()])?;
    Ok((syspan.stop()?, String::from_utf8(check.stdout)?))
}

/// The spans of the judged requests: answered requests, calls, and statements.
fn counts(spans: &[Span]) -> [usize; 3] {
    let judged = |text: &str| text.parse::<usize>().is_ok_and(|id| id < REQUESTS);
    let id = |span: &Span| -> Option<String> {
        let text = match (span.is_sql(), span.kind) {
            (true, _) => marker(span)?.split('-').nth(1)?.to_owned(),
            (false, Kind::Server) => span.attribute("url.query").strip_prefix("id=")?.to_owned(),
            (false, _) => span.attribute("url.full").split_once("?id=")?.1.to_owned(),
        };
        Some(text)
    };
    let of = |wanted: &dyn Fn(&Span) -> bool| {
        spans.iter().filter(|span| wanted(span) && id(span).is_some_and(|id| judged(&id))).count()
    };
    [
        of(&|span| span.kind == Kind::Server),
        of(&|span| span.kind == Kind::Client && !span.is_sql()),
        of(&|span| span.is_sql()),
    ]
}

const SAID: &str = "exports HTTP and SQL spans of its own, which are left to it";

#[test]
fn what_the_sdk_covers_is_left_to_it() -> Result<()> {
    use Connection::{Newer, Older};
    for by in [("http/protobuf", Older), ("grpc", Older), ("grpc", Newer)] {
        let (outcome, check) = outcome(by, &[], &[])?;
        assert_eq!(counts(&outcome.spans), [0, 0, 0], "{by:?}: {}", outcome.messages);
        assert!(outcome.messages.contains(SAID), "{by:?}: {}", outcome.messages);
        assert!(check.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{check}");
    }
    Ok(())
}

#[test]
fn what_it_does_not_cover_is_traced() -> Result<()> {
    let (outcome, _) =
        outcome(("http/protobuf", Connection::Newer), &[("OTEL_NODE_ENABLED_INSTRUMENTATIONS", "http")], &[])?;
    assert_eq!(counts(&outcome.spans), [0, REQUESTS, 2 * REQUESTS], "{}", outcome.messages);
    Ok(())
}

#[test]
fn all_of_it_if_that_is_wanted() -> Result<()> {
    let (outcome, _) = outcome(("http/protobuf", Connection::Older), &[], &["--sdk", "trace"])?;
    assert_eq!(counts(&outcome.spans), [REQUESTS, REQUESTS, 2 * REQUESTS], "{}", outcome.messages);
    assert!(!outcome.messages.contains("of its own"), "{}", outcome.messages);
    Ok(())
}
