//! Which processes are observed, which are not, and what they are called.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    apps::App,
    causes::{differences, requests},
    http::{self, Load},
    nginx::Nginx,
    otlp::Span,
    ports,
    postgres::Postgres,
    syspan::{self, Syspan},
    wait,
};
use tempfile::TempDir;

const NONE: [&str; 0] = [];
const REQUESTS: usize = 20;

/// A Python that needs nothing beside itself, so that a copy of it works: Debian's.
const PYTHON: &str = "/usr/bin/python3";

/// The name in the package.json that tests/apps/node-orders is part of.
const ORDERS: &str = "test-applications";

fn forking() -> PathBuf {
    syspan_tests::sources().join("apps/forking/forking.py")
}

/// Sends requests to a process until one of them is seen: from then on it is observed.
fn wait_until_observed(syspan: &Syspan, port: u16) -> Result<()> {
    wait::until("the process to be observed", wait::START, || {
        http::get(port, "/warm")?;
        Ok(syspan.printed()?.contains("/warm").then_some(()))
    })
}

fn load(port: u16, path: impl Fn(usize) -> String + Sync) -> Result<()> {
    // A connection each: the forking service makes a process of each.
    (0..REQUESTS).try_for_each(|number| Load::connect(port, 1)?.run(1, |_| path(number)))
}

/// Exactly one server's span of each of these paths.
fn assert_each_once(spans: &[Span], path: impl Fn(usize) -> String) {
    let mut found = requests(spans);
    found.retain(|target, _| target != "/warm");
    let expected: BTreeMap<String, usize> = (0..REQUESTS).map(|number| (path(number), 1)).collect();
    assert_eq!(differences(&found, &expected), NONE);
}

#[test]
fn a_process_is_observed_with_the_children_it_makes_later() -> Result<()> {
    let app = App::script(&forking(), &[])?;
    let syspan = Syspan::run(&[app.pid()], &[])?;
    let path = |number| format!("/child?id={number}");
    load(app.port(), path)?;
    let outcome = syspan.stop()?;
    assert_each_once(&outcome.spans, path);
    assert_eq!(outcome.spans.len(), REQUESTS);
    let own = app.pid().to_string();
    let mut pids: Vec<&str> = outcome.spans.iter().map(|span| span.resource["process.pid"].as_str()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), REQUESTS, "a process for each connection");
    assert!(!pids.contains(&own.as_str()));
    assert!(outcome.spans.iter().all(|span| span.service() == "forking"), "{:#?}", outcome.spans);
    outcome.assert_nothing_lost();
    Ok(())
}

#[test]
fn a_program_that_is_started_later_is_found_by_its_name() -> Result<()> {
    let folder = TempDir::with_prefix("selection-")?;
    let name = format!("shop-{}", ports::free()?);
    let python = folder.path().join(&name);
    fs::copy(PYTHON, &python)?;
    let pattern = format!("{}*", &name[..name.len() - 1]);
    let syspan = Syspan::run(&[], &["--exe", &pattern])?;
    let app = App::script_on(ports::free()?, &python, &forking(), &[])?;
    let other = App::script(&forking(), &[])?;
    wait_until_observed(&syspan, app.port())?;
    // The connection's process is a copy of one that was found.
    let path = |number| format!("/found?id={number}");
    load(app.port(), path)?;
    load(other.port(), |number| format!("/other?id={number}"))?;
    let outcome = syspan.stop()?;
    assert_each_once(&outcome.spans, path);
    outcome.assert_nothing_lost();
    Ok(())
}

#[test]
fn a_program_that_listens_later_is_found_by_its_port() -> Result<()> {
    let port = ports::free()?;
    let syspan = Syspan::run(&[], &["--port", &port.to_string()])?;
    let script = syspan_tests::sources().join("apps/node-orders/server.js");
    let app = App::node_on(port, &script, &[])?;
    let other = App::orders(&[])?;
    wait_until_observed(&syspan, app.port())?;
    let path = |number| format!("/hello?id={number}");
    load(app.port(), path)?;
    load(other.port(), |number| format!("/hello?other={number}"))?;
    let outcome = syspan.stop()?;
    assert_each_once(&outcome.spans, path);
    outcome.assert_nothing_lost();
    Ok(())
}

#[test]
fn a_program_that_an_observed_process_starts_is_observed_with_pid_alone() -> Result<()> {
    let app = App::script(&syspan_tests::sources().join("apps/forking/curling.py"), &[])?;
    let (pid, port) = (app.pid().to_string(), app.port().to_string());
    for (selector, value, curls) in [("--pid", &pid, 1), ("--port", &port, 0)] {
        let syspan = Syspan::run(&[], &[selector, value])?;
        ensure!(http::get(app.port(), "/by-curl")?.status == 200);
        let outcome = syspan.stop()?;
        let count = |service: &str| outcome.spans.iter().filter(|span| span.service() == service).count();
        assert_eq!((count("curling"), count("curl")), (2, curls), "{selector}: {:#?}", outcome.spans);
        assert_eq!(outcome.spans.len(), 2 + curls, "{selector}");
    }
    Ok(())
}

#[test]
fn everything_is_every_process() -> Result<()> {
    let (first, second) = (App::script(&forking(), &[])?, App::orders(&[])?);
    let syspan = Syspan::run(&[], &["--all"])?;
    let path = |number| format!("/hello?everything={}-{number}", first.port());
    load(first.port(), path)?;
    load(second.port(), path)?;
    let mut outcome = syspan.stop()?;
    // Other tests run beside this one.
    let own = format!("everything={}-", first.port());
    outcome.spans.retain(|span| span.is_http_server() && span.attribute("url.query").starts_with(&own));
    let mut services = BTreeMap::new();
    for span in &outcome.spans {
        *services.entry(span.service()).or_insert(0) += 1;
    }
    assert_eq!(services, [("forking", REQUESTS), (ORDERS, REQUESTS)].into());
    Ok(())
}

/// What `syspan check` says of a process: its service, after the process id.
fn checked(pid: u32) -> Result<String> {
    let output = syspan::output(&["check", "--pid", &pid.to_string()])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "syspan check: {}", output.status);
    let row = text.lines().find(|line| line.starts_with(&format!("{pid} "))).with_context(|| text.clone())?;
    Ok(row.split_whitespace().nth(1).unwrap_or_default().to_owned())
}

#[test]
fn services_are_called_by_what_they_are() -> Result<()> {
    let postgres = Postgres::start()?;
    let named = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let attributes = "service.name=from%20attributes,deployment.environment.name=test,service.version=1.2";
    let orders = |name: &str, value: &str| App::orders(&named(name, value));
    let apps = [
        (App::orders(&[])?, ORDERS),
        (App::script(&forking(), &[])?, "forking"),
        (App::threads(&[])?, "threads"),
        (App::event_loop(&postgres.environment())?, "event_loop"),
        (orders("OTEL_SERVICE_NAME", "named-by-environment")?, "named-by-environment"),
        (orders("OTEL_RESOURCE_ATTRIBUTES", attributes)?, "from attributes"),
    ];
    let nginx = Nginx::proxy(apps[0].0.port())?;
    let mut all: Vec<(u32, u16, &str)> = apps.iter().map(|(app, name)| (app.pid(), app.port(), *name)).collect();
    all.push((nginx.pid(), nginx.port(), "nginx"));
    for (pid, port, name) in all {
        let syspan = Syspan::run(&[pid], &[])?;
        ensure!(http::get(port, "/hello?asked")?.status == 200, "{name}");
        let outcome = syspan.stop()?;
        let span = outcome.spans.iter().find(|span| span.is_http_server() && span.target() == "/hello?asked");
        let span = span.with_context(|| format!("{name}: {:#?}", outcome.spans))?;
        assert_eq!(span.service(), name);
        assert_eq!(checked(pid)?, name.split(' ').next().unwrap_or_default());
        if name == "from attributes" {
            assert_eq!(span.resource["deployment.environment.name"], "test");
            assert_eq!(span.resource["service.version"], "1.2");
        }
    }
    Ok(())
}

#[test]
fn a_check_touches_nothing_and_says_why() -> Result<()> {
    let app = App::orders(&[])?;
    let output = syspan::output(&["check", "--port", &app.port().to_string()])?;
    let text = String::from_utf8(output.stdout)?;
    let row = text.lines().nth(1).unwrap_or_default();
    assert_eq!(text.lines().count(), 2, "the heading and one process: {text}");
    assert!(row.starts_with(&format!("{} ", app.pid())) && row.contains(ORDERS), "{row}");
    assert!(row.contains(&format!("--port {}", app.port())), "{row}");
    assert!(Path::new(row.split_whitespace().last().unwrap_or_default()).ends_with("node"), "{row}");
    Ok(())
}
