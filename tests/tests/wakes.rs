//! Which thread wakes and starts which, as it is recorded, against what threads say of themselves (tests/apps/python-handoff).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use syspan_tests::{
    apps::{self, App},
    http::{Client, Load},
    ports,
    recording::{Recorder, Recording, bytes},
};

const REQUESTS: usize = 100;
const CONNECTIONS: usize = 8;
/// Wake-ups that are told for each transfer, on average, at most.
const BUDGET: usize = 8;

/// What happened while the server served these requests.
fn recorded() -> Result<Recording> {
    let script = syspan_tests::sources().join("apps/python-handoff/server.py");
    let app = App::script_on(ports::free()?, &apps::python("bin/python")?, &script, &[])?;
    let recorder = Recorder::start(&["--pid", &app.pid().to_string()])?;
    Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, |number| format!("/handoff?id={number}"))?;
    recorder.stop()
}

fn tid(event: &Value) -> Result<u64> {
    event["task"]["tid"].as_u64().context("no thread")
}

/// The numbers behind `worker=` and `waiter=`.
fn work(text: &str) -> Option<(u64, u64)> {
    let number = |key: &str| {
        let (_, rest) = text.split_once(key)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number("worker=")?, number("waiter=")?))
}

#[test]
fn whoever_finishes_wakes_whoever_waits() -> Result<()> {
    let recording = recorded()?;
    // Whom anybody woke by each futex: those of the interpreter's lock wake everybody, that of a result who waits for it, and perhaps another one
    // that has the same memory later.
    let mut futexes: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for event in recording.of_kind("wake") {
        if let (Some(futex), Some(woken)) = (event["futex"].as_u64(), event["woken"].as_u64()) {
            futexes.entry(futex).or_default().insert(woken);
        }
    }
    let lock = futexes.values().map(BTreeSet::len).max();
    ensure!(lock > Some(CONNECTIONS), "the threads woken by a futex: {futexes:x?}");
    let is_own = |futex: &Value| futex.as_u64().is_some_and(|futex| futexes[&futex].len() < CONNECTIONS / 2);
    // The worker by whom waits for it.
    let mut awaited = BTreeMap::new();
    let (mut finished, mut answered, mut woken, mut moved) = (0, 0, 0, BTreeMap::new());
    let mut events = recording.events.clone();
    events.sort_by_key(|event| event["time"].as_u64());
    for event in &events {
        match event["event"].as_str() {
            Some("data") => {
                let thread = tid(event)?;
                *moved.entry(thread).or_insert(0) += 1;
                if event["direction"] == "read" {
                    continue;
                }
                if let Some((worker, waiter)) = work(&bytes(event)?) {
                    assert_eq!(worker, thread, "{event}");
                    awaited.insert(waiter, worker);
                } else if awaited.remove(&thread).is_some() {
                    // It writes the response, and nobody had woken it: it had not begun to wait when the worker was done.
                    answered += 1;
                }
            }
            Some("wake") => {
                let waiter = event["woken"].as_u64().context("nobody")?;
                woken += 1;
                if awaited.get(&waiter) == Some(&tid(event)?) && is_own(&event["futex"]) {
                    awaited.remove(&waiter);
                    finished += 1;
                }
            }
            _ => {}
        }
    }
    assert_eq!(finished + answered, REQUESTS, "requests");
    ensure!(finished * 100 >= REQUESTS * 95, "{finished} of {REQUESTS} threads were woken by their workers");
    let transfers: usize = moved.values().sum();
    ensure!(woken <= BUDGET * transfers, "{woken} wake-ups after {transfers} transfers");
    Ok(())
}

#[test]
fn started_threads_are_told() -> Result<()> {
    let recording = recorded()?;
    let started: BTreeSet<u64> = recording.of_kind("thread").filter_map(|event| event["started"].as_u64()).collect();
    let starters: BTreeSet<u64> = recording.of_kind("thread").map(tid).collect::<Result<_>>()?;
    // The main thread starts one for each connection; those of the pool are started by the first that need them.
    for event in recording.of_kind("data") {
        assert!(started.contains(&tid(event)?), "{event}");
    }
    ensure!(starters.len() <= 3, "{starters:?}");
    Ok(())
}

#[test]
fn of_other_programs_no_wake_ups_are_told() -> Result<()> {
    let app = App::go("go-goroutines", &[])?;
    let recorder = Recorder::start(&["--pid", &app.pid().to_string()])?;
    for _ in 0..10 {
        ensure!(Client::connect(app.port())?.get("/call")?.status == 200);
    }
    let recording = recorder.stop()?;
    assert_eq!(recording.of_kind("wake").chain(recording.of_kind("thread")).count(), 0);
    assert!(recording.of_kind("data").count() >= 20, "it was watched");
    Ok(())
}
