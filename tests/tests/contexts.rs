//! In which context (`contextvars`) Python did what, as it is recorded, against what the program says of itself (tests/apps/python-contexts).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use syspan_tests::{
    apps::{self, App},
    http::{self, Load},
    machine::said,
    ports,
    recording::{Recorder, Recording, bytes},
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

/// Compares all responses; how many there were, and how many contexts.
fn compare(recording: &Recording) -> Result<(usize, usize)> {
    let (mut compared, mut contexts) = (0, BTreeSet::new());
    for event in recording.of_kind("data").filter(|event| event["direction"] == "write") {
        let text = bytes(event)?;
        // The others wake the event loop.
        let Some((_, said)) = text.split_once("context=") else { continue };
        let said: u64 = said.trim().parse()?;
        ensure!(event["task"]["coroutine"] == json!({ "context": said }), "{event} instead of {said}");
        contexts.insert(said);
        compared += 1;
    }
    Ok((compared, contexts.len()))
}

fn serve(python: &Path, paths: &[&'static str], idle_threads: usize) -> Result<Recording> {
    let environment = [("IDLE_THREADS".to_owned(), idle_threads.to_string())];
    let app = App::script_on(ports::free()?, python, &source(), &environment)?;
    let recorder = Recorder::start(&["--pid", &app.pid().to_string()])?;
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
        let recording = serve(&python, &["/task", "/thread"], 30)?;
        let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
        if minor(&version) > minor(NEWEST) {
            assert!(recording.of_kind("data").all(|event| event["task"].get("coroutine").is_none()), "{version}");
            continue;
        }
        let (compared, contexts) = compare(&recording).with_context(|| python.display().to_string())?;
        eprintln!("{} ({version}): {compared} responses, {contexts} contexts", python.display());
        assert_eq!(compared, 2 * REQUESTS);
        assert!(contexts > 1);
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
