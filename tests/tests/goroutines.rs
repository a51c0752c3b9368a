//! Which goroutine did what, as it is recorded, against what the Go runtime says of itself (tests/apps/go-goroutines).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use syspan_tests::{
    apps::App,
    goroutines::{Compared, compare},
    http::{self, Load},
    ports,
    recording::{Recorder, Recording, bytes},
    wait,
};

const REQUESTS: usize = 200;
/// More than there are threads: goroutines take turns on them.
const CONNECTIONS: usize = 16;

/// What a program of which many goroutines are at work did while it served these requests, each several times.
fn recorded(paths: &[&'static str]) -> Result<Recording> {
    let app = App::go("go-goroutines", &[])?;
    let recorder = Recorder::start(&["--pid", &app.pid().to_string()])?;
    for path in paths {
        Load::connect(app.port(), CONNECTIONS)?.run(REQUESTS, |_| (*path).to_owned())?;
    }
    recorder.stop()
}

#[test]
fn goroutines_are_told_by_their_ids() -> Result<()> {
    let compared = compare(&recorded(&["/own", "/spawn"])?)?;
    assert_eq!(compared, Compared { own: 2 * REQUESTS, handed: 0, untold: 0 });
    Ok(())
}

#[test]
fn a_request_is_read_and_answered_by_one_goroutine() -> Result<()> {
    let recording = recorded(&["/own"])?;
    let (mut compared, mut reading) = (0, HashMap::new());
    for event in recording.of_kind("data") {
        let goroutine = event["task"]["goroutine"]["id"].as_u64();
        assert!(goroutine.is_some(), "{event}");
        if event["direction"] == "read" {
            reading.insert(event["socket"].clone(), goroutine);
        } else {
            assert_eq!(reading.get(&event["socket"]), Some(&goroutine), "{event}");
            compared += 1;
        }
    }
    assert_eq!(compared, REQUESTS);
    Ok(())
}

/// net/http's client writes requests on goroutines of its own, one for each connection.
#[test]
fn requests_of_the_http_client_belong_to_who_makes_them() -> Result<()> {
    let recording = recorded(&["/call"])?;
    assert_eq!(compare(&recording)?, Compared { own: 0, handed: REQUESTS, untold: 0 });
    let mut writers = BTreeSet::new();
    for event in recording.of_kind("data").filter(|event| event["direction"] == "write") {
        if bytes(event)?.contains("GET /item") {
            writers.extend(event["task"]["goroutine"]["id"].as_u64());
        }
    }
    assert!(writers.len() < REQUESTS, "connections are used again: {writers:?}");
    Ok(())
}

/// The kernel is told where its goroutines are when the agent has given up its privileges. (Probes in its functions it may not get
/// any more then: docs/security.md.)
#[test]
fn a_program_that_is_started_later() -> Result<()> {
    let port = ports::free()?;
    let recorder = Recorder::start(&["--port", &port.to_string()])?;
    let _app = App::go_on(port, "go-goroutines", &[])?;
    wait::until("its goroutines to be told", wait::START, || {
        http::get(port, "/hello")?;
        let known = recorder.so_far()?.of_kind("data").any(|event| event.pointer("/task/goroutine").is_some());
        Ok(known.then_some(()))
    })?;
    Load::connect(port, CONNECTIONS)?.run(REQUESTS, |_| "/own".to_owned())?;
    assert_eq!(compare(&recorder.stop()?)?, Compared { own: REQUESTS, handed: 0, untold: 0 });
    Ok(())
}
