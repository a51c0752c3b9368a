//! How runs begin and end: recordings and their replay, `exec`, `--duration`, signals, a reader that goes away.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use syspan_tests::{
    apps::{self, App},
    causes::{differences, parents, requests},
    http::{self, Load},
    otlp::{self, Kind, Span},
    ports,
    postgres::Postgres,
    server::Server,
    syspan::{self, Syspan, losses},
    wait,
};
use tempfile::TempDir;

const NONE: [&str; 0] = [];

fn hello(number: usize) -> String {
    format!("/hello?id={number}")
}

/// Exactly one server's span for each of so many `/hello` requests, and nothing else.
fn assert_hellos(spans: &[Span], count: usize) {
    let expected = (0..count).map(|number| (hello(number), 1)).collect();
    assert_eq!(differences(&requests(spans), &expected), NONE);
    assert_eq!(spans.len(), count);
}

#[test]
fn a_recording_gives_the_same_spans_each_time() -> Result<()> {
    const REQUESTS: usize = 100;
    let (postgres, folder) = (Postgres::start()?, TempDir::with_prefix("recordings-")?);
    let app = App::orders(&postgres.environment())?;
    let file = folder.path().join("recording.jsonl");
    let file = file.to_str().context("path")?;
    let mut command = Command::new(syspan::program());
    command.args(["record", "--output", file, "--pid", &app.pid().to_string()]);
    let mut recorder = Server::start("syspan", folder.path(), &command)?;
    recorder.wait_for("syspan: ready")?;
    Load::connect(app.port(), 8)?.run(REQUESTS, |number| format!("/checkout?id={number}"))?;
    let status = recorder.stop()?;
    ensure!(status.success(), "syspan record: {status}");

    let replay = || -> Result<(String, String)> {
        let output = syspan::output(&["replay", file, "--output", "otlp-json", "--sql-text", "raw"])?;
        let messages = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "syspan replay: {} {messages}", output.status);
        Ok((String::from_utf8(output.stdout)?, messages))
    };
    let (printed, messages) = replay()?;
    assert_eq!(replay()?, (printed.clone(), messages.clone()));
    let spans = otlp::read(&printed)?;
    assert_eq!(spans.len(), 3 * REQUESTS);
    let expected = (0..REQUESTS).map(|number| (format!("/checkout?id={number}"), 1)).collect();
    assert_eq!(differences(&requests(&spans), &expected), NONE);
    let parents = parents(&spans);
    assert_eq!((parents.right, parents.missing, parents.wrong.len()), (2 * REQUESTS, 0, 0), "{:?}", parents.wrong);
    assert!(losses(&messages)?.is_empty(), "{messages}");
    Ok(())
}

#[test]
fn exec_traces_what_the_command_starts_and_ends_like_it() -> Result<()> {
    let folder = TempDir::with_prefix("recordings-")?;
    let script = r#"
        "$3" -m http.server --bind 127.0.0.1 --directory "$2" "$1" > "$2/log" 2>&1 &
        until curl --silent --output /dev/null "http://127.0.0.1:$1/?first"; do sleep 0.05; done
        curl --silent --output /dev/null "http://127.0.0.1:$1/?second"
        kill $!
        exit 7"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &ports::free()?.to_string()]).arg(folder.path()).arg(apps::python("bin/python")?);
    let output = syspan::exec_output(&["--output", "otlp-json"], &command)?;
    let messages = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(7), "{messages}");
    assert!(losses(&messages)?.is_empty(), "{messages}");
    let spans = otlp::read(&String::from_utf8(output.stdout)?)?;
    assert_eq!(spans.len(), 4, "{spans:#?}");
    for query in ["first", "second"] {
        let client = spans.iter().find(|span| span.kind == Kind::Client && span.attribute("url.full").ends_with(query));
        let client = client.with_context(|| format!("{query}: {spans:#?}"))?;
        let server = spans.iter().find(|span| span.is_http_server() && span.attribute("url.query") == query);
        let server = server.with_context(|| format!("{query}: {spans:#?}"))?;
        assert_eq!((client.service(), server.service()), ("curl", "http.server"));
        assert_eq!((&server.parent_span_id, &server.trace_id), (&client.span_id, &client.trace_id));
        assert_eq!(client.attribute("http.response.status_code"), "200");
    }
    Ok(())
}

#[test]
fn exec_of_a_command_that_cannot_be_started() -> Result<()> {
    let output = syspan::exec_output(&[], &Command::new("/no/such/command"))?;
    let messages = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(127), "{messages}");
    assert!(messages.contains("/no/such/command cannot be started, there is no such command"), "{messages}");
    let output = syspan::exec_output(&[], &Command::new("/etc/passwd"))?;
    let messages = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(126), "{messages}");
    assert!(messages.contains("/etc/passwd cannot be started, it may not be executed"), "{messages}");
    Ok(())
}

#[test]
fn a_run_ends_after_its_duration() -> Result<()> {
    let app = App::orders(&[])?;
    let syspan = Syspan::run(&[app.pid()], &["--duration", "5s"])?;
    Load::connect(app.port(), 4)?.run(20, hello)?;
    let outcome = syspan.wait()?;
    assert_hellos(&outcome.spans, 20);
    outcome.assert_nothing_lost();
    Ok(())
}

#[test]
fn both_signals_end_a_run_with_everything_told() -> Result<()> {
    let app = App::orders(&[])?;
    for signal in [Signal::INT, Signal::TERM] {
        let syspan = Syspan::run(&[app.pid()], &[])?;
        Load::connect(app.port(), 4)?.run(20, hello)?;
        kill_process(Pid::from_raw(i32::try_from(syspan.pid())?).context("process 0")?, signal)?;
        let outcome = syspan.wait()?;
        assert_hellos(&outcome.spans, 20);
        assert_eq!(outcome.messages.lines().last(), Some("syspan: 20 spans, nothing lost"));
    }
    Ok(())
}

#[test]
fn text_is_a_line_each_and_comes_at_once() -> Result<()> {
    let app = App::orders(&[])?;
    let syspan = Syspan::start(&["--output", "text"], &[app.pid()], &[])?;
    let lines = |count: usize| -> Result<()> {
        wait::until(&format!("{count} lines"), wait::START, || {
            Ok((syspan.printed()?.lines().count() == count).then_some(()))
        })
    };
    for number in 0..3 {
        ensure!(http::get(app.port(), &hello(number))?.status == 200);
        lines(number + 1)?;
    }
    let (printed, messages) = syspan.stop_unread()?;
    assert_eq!(printed.lines().count(), 3, "{printed}");
    for line in printed.lines() {
        assert!(
            ["SERVER  ok", "GET", "status=200", "path=/hello", "trace="].iter().all(|word| line.contains(word)),
            "{line}"
        );
    }
    assert!(losses(&messages)?.is_empty(), "{messages}");
    Ok(())
}

#[test]
fn a_reader_that_goes_away_ends_the_run() -> Result<()> {
    let (app, folder) = (App::orders(&[])?, TempDir::with_prefix("recordings-")?);
    let shown = folder.path().join("shown");
    let mut command = Command::new("bash");
    command.args(["-c", r#"set -o pipefail; out=$1; shift; "$@" | head -n 1 > "$out""#, "bash"]).arg(&shown);
    command.arg(syspan::program()).args(["run", "--output", "text", "--pid", &app.pid().to_string()]);
    let mut server = Server::start("syspan", folder.path(), &command)?;
    server.wait_for("syspan: ready")?;
    // The first line ends `head`; one that comes after that finds nobody.
    let status = wait::until("the end", wait::START, || {
        ensure!(http::get(app.port(), "/hello")?.status == 200);
        Ok(server.wait_for_end(Duration::ZERO).ok())
    })?;
    assert_eq!(status.code(), Some(0), "{}", server.output()?);
    let shown = fs::read_to_string(shown)?;
    assert!(shown.lines().count() == 1 && shown.contains("path=/hello"), "{shown}");
    let messages = server.output()?;
    assert!(!messages.contains("panicked") && !messages.contains("Broken pipe"), "{messages}");
    Ok(())
}
