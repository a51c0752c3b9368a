//! In which context (`contextvars`) Python did what, as it is recorded, against what the program says of itself (tests/apps/python-contexts).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use syspan_tests::{
    apps::{self, App},
    causes::marker,
    downstream::Downstream,
    http::{self, Load},
    machine::said,
    otlp::{Kind, Span},
    ports,
    postgres::Postgres,
    recording::{Recorder, Recording, bytes},
    syspan::Syspan,
    wait,
};

const REQUESTS: usize = 200;
const CONNECTIONS: usize = 16;

fn source() -> PathBuf {
    syspan_tests::sources().join("apps/python-contexts/server.py")
}

/// The interpreters that are tried: that of the applications, and each version that the search path has under its own name.
fn interpreters() -> Result<Vec<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = (8..20).flat_map(|minor| folders.iter().map(move |folder| folder.join(format!("python3.{minor}"))));
    // Some are only the names of what could be installed.
    let works = |python: &PathBuf| {
        let version = said(&python.display().to_string(), &["--version"]);
        python.exists() && version.is_ok_and(|version| version.starts_with("Python 3."))
    };
    Ok(std::iter::once(apps::python("bin/python")?).chain(all.filter(works)).collect())
}

/// The context in which a response says that it is written, and of which that one is a copy (0: it says nothing). The others wake the event loop.
fn said_in(event: &Value) -> Result<Option<(u64, u64)>> {
    let text = bytes(event)?;
    let said = text.split_once("context=").and_then(|(_, said)| said.trim().split_once(" of="));
    said.map(|(context, of)| Ok((context.parse()?, of.parse()?))).transpose()
}

/// Compares of which contexts those were made that wrote responses: how many there were.
fn compare_copies(recording: &Recording) -> Result<usize> {
    let (mut copied_from, mut compared) = (HashMap::new(), 0);
    for event in &recording.events {
        match event["event"].as_str() {
            Some("coroutine") => {
                let ancestors = event["ancestors"].as_array().context("it has ancestors")?;
                copied_from.insert(event["task"]["coroutine"]["context"].clone(), ancestors.clone());
            }
            Some("data") => {
                let Some((context, of)) = said_in(event)?.filter(|(_, of)| *of > 0) else { continue };
                let ancestors = copied_from.get(&json!(context)).with_context(|| format!("{context} is not told"))?;
                ensure!(ancestors[0]["context"] == json!(of), "{context} of {of}, not {ancestors:?}");
                // The one that it is a copy of is a copy too, which was made before.
                ensure!(ancestors[0]["began"].is_u64() && ancestors.len() > 1, "{ancestors:?}");
                compared += 1;
            }
            _ => {}
        }
    }
    Ok(compared)
}

/// Compares all responses; how many there were, and how many contexts.
fn compare(recording: &Recording) -> Result<(usize, usize)> {
    let (mut compared, mut contexts) = (0, BTreeSet::new());
    for event in recording.of_kind("data").filter(|event| event["direction"] == "write") {
        let Some((said, _)) = said_in(event)? else { continue };
        ensure!(event["task"]["coroutine"] == json!({ "context": said }), "{event} instead of {said}");
        contexts.insert(said);
        compared += 1;
    }
    Ok((compared, contexts.len()))
}

fn serve(python: &Path, paths: &[&'static str], idle_threads: usize) -> Result<Recording> {
    let environment = [("IDLE_THREADS".to_owned(), idle_threads.to_string())];
    let app = App::script_on(ports::free()?, python, &source(), &environment)?;
    let recorder = Recorder::start(&["--python-tasks", "--pid", &app.pid().to_string()])?;
    for path in paths {
        Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, |_| (*path).to_owned())?;
    }
    recorder.stop()
}

/// The newest version whose contexts are known: of later ones nothing is read.
const NEWEST: &str = "3.13";

#[test]
fn contexts_are_told_by_their_addresses() -> Result<()> {
    for python in interpreters()? {
        let version =
            said(&python.display().to_string(), &["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])?;
        let recording = serve(&python, &["/task", "/thread", "/copy"], 30)?;
        let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
        if minor(&version) > minor(NEWEST) {
            assert!(recording.of_kind("data").all(|event| event["task"].get("coroutine").is_none()), "{version}");
            continue;
        }
        let (compared, contexts) = compare(&recording).with_context(|| python.display().to_string())?;
        eprintln!("{} ({version}): {compared} responses, {contexts} contexts", python.display());
        assert_eq!(compared, 3 * REQUESTS);
        assert!(contexts > 1);
        assert_eq!(compare_copies(&recording).with_context(|| python.display().to_string())?, REQUESTS);
    }
    Ok(())
}

/// More threads than are looked at, all younger than the event loop's: nothing is told of that one, and nothing wrong.
#[test]
fn of_too_many_threads_nothing_is_told() -> Result<()> {
    let recording = serve(&apps::python("bin/python")?, &["/task"], 100)?;
    let mut told = recording.of_kind("data").filter_map(|event| event["task"].get("coroutine"));
    assert_eq!(told.next(), None);
    Ok(())
}

/// The interpreter may not even be loaded when a program is seen to start.
#[test]
fn a_program_that_is_started_later() -> Result<()> {
    let port = ports::free()?;
    let recorder = Recorder::start(&["--port", &port.to_string()])?;
    let _app = App::script_on(port, &apps::python("bin/python")?, &source(), &[])?;
    wait::until("its contexts to be told", wait::START, || {
        http::get(port, "/task")?;
        let known = recorder.so_far()?.of_kind("data").any(|event| event.pointer("/task/coroutine").is_some());
        Ok(known.then_some(()))
    })?;
    Ok(())
}

/// The calls that handlers of `/fanout?id=…` have made, by that id.
fn calls(spans: &[Span]) -> impl Iterator<Item = (usize, &Span)> {
    spans.iter().filter(|span| span.kind == Kind::Client).filter_map(|span| {
        let id = match marker(span) {
            Some(marker) => marker.strip_prefix("fanout-").and_then(|rest| rest.split('-').next()),
            None => span.attribute("url.full").rsplit_once("/item?id=").map(|(_, id)| id),
        };
        // What asyncpg does when a connection goes back to the pool does not say for whom.
        Some((id?.parse().ok()?, span))
    })
}

/// A handler that has two statements and a call made at once, by tasks of their own.
#[test]
fn what_a_handler_does_in_tasks_of_its_own_is_its() -> Result<()> {
    let (postgres, downstream) = (Postgres::start()?, Downstream::start()?);
    let mut environment = postgres.environment();
    environment.push(("DOWNSTREAM".to_owned(), downstream.url()));
    let app = App::checkout_in_uvicorn(&environment)?;
    let syspan = Syspan::run(&[app.pid()], &["--sql-text", "raw", "--python-tasks"])?;
    Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, |number| format!("/fanout?id={number}"))?;
    let outcome = syspan.stop()?;
    outcome.assert_nothing_lost();
    let by_id: HashMap<&str, &Span> = outcome.spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut right = 0;
    for (id, span) in calls(&outcome.spans) {
        let parent = by_id.get(span.parent_span_id.as_str()).with_context(|| format!("{id} has no parent"))?;
        ensure!((parent.kind, parent.target()) == (Kind::Server, format!("/fanout?id={id}")), "{id}: {parent:?}");
        ensure!(span.attribute("syspan.parent.evidence") == "handoff", "{id}: {span:?}");
        right += 1;
    }
    assert_eq!(right, 3 * REQUESTS);
    Ok(())
}
