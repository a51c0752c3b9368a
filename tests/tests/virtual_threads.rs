//! Which virtual thread of Java did what, as it is recorded, against what the program says of itself (tests/apps/java-threads).

#![allow(clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use syspan_tests::{
    apps::App,
    http::{self, Load},
    ports,
    recording::{Recorder, Recording, bytes},
    runtimes::{self, built},
    wait,
};

const REQUESTS: usize = 400;
/// More than there are carriers: virtual threads take turns on them.
const CONNECTIONS: usize = 16;

/// Numbers from here on say that it was some virtual thread (`ebpf/src/java.rs`).
const UNKNOWN: u64 = 1 << 31;

fn serve(java: &Path, options: &[&str], garbage: bool, path: &'static str) -> Result<Recording> {
    let environment = [("GARBAGE".to_owned(), u8::from(garbage).to_string())];
    load(&runtimes::java_of_threads(ports::free()?, java, options, &environment)?, path)
}

fn load(app: &App, path: &'static str) -> Result<Recording> {
    let recorder = Recorder::start(&["--pid", &app.pid().to_string()])?;
    Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, |_| path.to_owned())?;
    recorder.stop()
}

/// What was told of the responses, beside what they say themselves.
fn told(recording: &Recording) -> Result<Vec<(Option<u64>, String)>> {
    let mut all = Vec::new();
    for event in recording.of_kind("data").filter(|event| event["direction"] == "write") {
        if let Some((_, said)) = bytes(event)?.split_once("thread=") {
            let id = event.pointer("/task/coroutine/task").and_then(Value::as_u64);
            all.push((id, said.trim().to_owned()));
        }
    }
    ensure!(all.len() == REQUESTS, "{} responses", all.len());
    Ok(all)
}

/// All responses are told by the ids of the virtual threads that wrote them, but for some while objects were moved.
fn compare(java: &Path, options: &[&str], garbage: bool) -> Result<()> {
    let told = told(&serve(java, options, garbage, "/virtual")?)?;
    let (mut threads, mut unknown) = (BTreeSet::new(), 0);
    for (id, said) in &told {
        let said: u64 = said.parse()?;
        match id {
            Some(id) if garbage && *id >= UNKNOWN => unknown += 1,
            id => ensure!(*id == Some(said), "{id:?} instead of {said}"),
        }
        threads.insert(said);
    }
    eprintln!("{} {options:?}: {unknown} of {REQUESTS} while objects were moved", java.display());
    ensure!(unknown < REQUESTS / 2 && threads.len() == CONNECTIONS, "{unknown} unknown, {} threads", threads.len());
    Ok(())
}

#[test]
fn virtual_threads_are_told_by_their_ids() -> Result<()> {
    for version in [runtimes::JAVA_21, runtimes::JAVA_25] {
        for collector in ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC"] {
            for garbage in [false, true] {
                compare(&built(version)?, &[collector], garbage).with_context(|| format!("{version} {collector}"))?;
            }
        }
    }
    Ok(())
}

/// Other layouts of objects.
#[test]
fn their_ids_are_found_wherever_they_are() -> Result<()> {
    compare(&built(runtimes::JAVA_21)?, &["-XX:-UseCompressedOops"], true)?;
    compare(&built(runtimes::JAVA_21)?, &["-XX:-UseCompressedClassPointers"], true)
}

/// The ids of threads are those of their own namespace there.
#[test]
fn threads_in_a_container_are_told() -> Result<()> {
    for version in [runtimes::JAVA_21, runtimes::JAVA_25] {
        let app = runtimes::java_of_threads_inside(ports::free()?, &built(version)?)?;
        for (id, said) in told(&load(&app, "/virtual")?)? {
            assert_eq!(id, Some(said.parse()?), "{version}");
        }
    }
    Ok(())
}

/// ZGC moves objects while threads run. Newer versions of Java say in the thread which one it carries; of older ones nothing is read.
#[test]
fn objects_that_may_move_at_any_time_are_not_read() -> Result<()> {
    compare(&built(runtimes::JAVA_25)?, &["-XX:+UseZGC"], true)?;
    let told = told(&serve(&built(runtimes::JAVA_21)?, &["-XX:+UseZGC"], true, "/virtual")?)?;
    assert!(told.iter().all(|(id, _)| id.is_none()));
    Ok(())
}

#[test]
fn platform_threads_are_threads() -> Result<()> {
    for version in [runtimes::JAVA_21, runtimes::JAVA_25] {
        let told = told(&serve(&built(version)?, &[], true, "/platform")?)?;
        assert!(told.iter().all(|(id, said)| id.is_none() && said == "none"), "{version}");
    }
    Ok(())
}

/// More threads than are looked at each time when one is looked up: the older ones are found later.
#[test]
fn threads_are_found_among_many() -> Result<()> {
    let environment = [("IDLE_THREADS".to_owned(), "600".to_owned())];
    // One of them carries all, which is older than the idle ones.
    let scheduler = ["parallelism", "maxPoolSize"].map(|setting| format!("-Djdk.virtualThreadScheduler.{setting}=1"));
    let app = runtimes::java_of_threads(
        ports::free()?,
        &built(runtimes::JAVA_21)?,
        &scheduler.each_ref().map(String::as_str),
        &environment,
    )?;
    let recording = load(&app, "/virtual")?;
    let first = recording.of_kind("data").next().context("nothing was read")?;
    assert!(first["task"].get("coroutine").is_none(), "it is found at once: {first}");
    let told = told(&recording)?;
    let (_, others) = told.split_at(REQUESTS / 2);
    for (id, said) in others {
        assert_eq!(*id, Some(said.parse()?));
    }
    Ok(())
}

/// The virtual machine is not even loaded when a program is seen to start.
#[test]
fn a_program_that_is_started_later() -> Result<()> {
    let port = ports::free()?;
    let recorder = Recorder::start(&["--port", &port.to_string()])?;
    let _app: App = runtimes::java_of_threads(port, &built(runtimes::JAVA_21)?, &[], &[])?;
    wait::until("its virtual threads to be told", wait::START, || {
        http::get(port, "/virtual")?;
        let known = recorder.so_far()?.of_kind("data").any(|event| event.pointer("/task/coroutine").is_some());
        Ok(known.then_some(()))
    })?;
    Ok(())
}
