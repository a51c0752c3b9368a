//! Which goroutine did what, as it is recorded, against what the Go runtime says of itself (tests/apps/go-goroutines).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use syspan_tests::{
    apps::App,
    http::Load,
    recording::{Recorder, Recording, bytes},
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

/// The number behind a key in a text.
fn number(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn writes(recording: &Recording) -> impl Iterator<Item = &Value> {
    recording.of_kind("data").filter(|event| event["direction"] == "write")
}

#[test]
fn goroutines_are_told_by_their_ids() -> Result<()> {
    let recording = recorded(&["/own", "/spawn"])?;
    let mut compared = 0;
    for event in writes(&recording) {
        let text = bytes(event)?;
        let Some(id) = number(&text, "goroutine=") else { continue };
        let creator = number(&text, "created_by=").context("no creator")?;
        let mut expected = json!({ "id": id });
        // Go before 1.21 does not know who started a goroutine.
        if creator != 0 {
            expected["works_for"] = json!({ "started_by": creator });
        }
        assert_eq!(event["task"]["goroutine"], expected, "{text}");
        compared += 1;
    }
    assert_eq!(compared, 2 * REQUESTS);
    Ok(())
}

#[test]
fn a_request_is_read_and_answered_by_one_goroutine() -> Result<()> {
    let recording = recorded(&["/own"])?;
    let mut reading = std::collections::HashMap::new();
    let mut compared = 0;
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
    let (mut compared, mut writers) = (0, std::collections::BTreeSet::new());
    for event in writes(&recording) {
        let text = bytes(event)?;
        let Some(by) = number(&text, "GET /item?goroutine=") else { continue };
        assert_eq!(event["task"]["goroutine"]["works_for"], json!({ "handed_by": by }), "{event} {text}");
        writers.extend(event["task"]["goroutine"]["id"].as_u64());
        compared += 1;
    }
    assert_eq!(compared, REQUESTS);
    assert!(writers.len() < REQUESTS, "connections are used again: {writers:?}");
    Ok(())
}
