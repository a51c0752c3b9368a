//! docs/recording.md: its example is a recording, and gives what the page says.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

use std::{io::Write as _, process::Command};

fn example() -> String {
    let page = include_str!("../../docs/recording.md");
    let (_, rest) = page.split_once("```jsonl\n").expect("the page has an example");
    rest.split_once("```").expect("the example ends").0.to_owned()
}

fn replay(recording: &str, output: &str) -> (bool, String, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(recording.as_bytes()).unwrap();
    let result = Command::new(env!("CARGO_BIN_EXE_syspan"))
        .args(["replay", "--output", output])
        .arg(file.path())
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (result.status.success(), text(&result.stdout), text(&result.stderr))
}

#[test]
fn the_example_is_one_request() {
    let (ok, out, err) = replay(&example(), "otlp-json");
    assert!(ok, "{err}");
    let line: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    let resource = &line["resourceSpans"][0];
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(span["name"], "GET");
    assert_eq!(span["startTimeUnixNano"], "1700000000000002000");
    assert_eq!(span["endTimeUnixNano"], "1700000000000005000");
    assert!(resource["resource"].to_string().contains("shop"), "{resource}");
    assert!(err.contains("1 span, nothing lost"), "{err}");
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    assert_eq!(replay(&example(), "otlp-json").1, replay(&example(), "otlp-json").1);
}

#[test]
fn what_is_no_recording_is_refused_with_a_sentence() {
    let example = example();
    let second = example.split_once('\n').unwrap().1;
    for (recording, words) in [
        ("", "is no recording"),
        (second, "first line must be the start event"),
        (&example.replace("\"version\":1", "\"version\":2"), "format 2"),
        (&example.replace("\"event\":\"tick\"", "\"event\":\"tock\""), "line 7"),
    ] {
        let (ok, out, err) = replay(recording, "text");
        assert!(!ok && out.lines().count() <= 1 && err.contains(words), "{words}: {err}");
    }
}
