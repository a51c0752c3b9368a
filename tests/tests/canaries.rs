//! A process that is not selected is never copied from: what only such processes say is in no recording and no export.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use syspan_tests::{
    apps::App,
    http::{self, Client},
    ports,
    postgres::Postgres,
    receiver::Receiver,
    recording::{Recorder, Recording},
    syspan::Syspan,
    wait,
};
use tempfile::TempDir;

/// What processes that are not selected say to each other.
const PRIVATE: &str = "canary-private";

/// What a process that is not selected says to one that is: the one that reads it may be copied from.
const SENT: &str = "canary-sent";

fn app(name: &str) -> PathBuf {
    syspan_tests::sources().join("apps/forking").join(name)
}

/// Servers that are not selected, and their clients: this process and psql.
struct Unselected {
    forking: App,
    orders: App,
    postgres: Postgres,
    script: PathBuf,
    _folder: TempDir,
}

impl Unselected {
    fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("canaries-")?;
        let script = folder.path().join("canary.sql");
        fs::write(&script, format!("SELECT '{PRIVATE}' AS \"{PRIVATE}\";\nSELECT repeat('{PRIVATE}', 1000);\n"))?;
        let (forking, orders) = (App::script(&app("forking.py"), &[])?, App::orders(&[])?);
        Ok(Self { forking, orders, postgres: Postgres::start()?, script, _folder: folder })
    }

    /// The canary in a path, a header, a request's and an answer's body, SQL and rows: over TCP and over Unix sockets.
    fn talk(&self) -> Result<()> {
        let header = format!("X-Canary: {PRIVATE}");
        ensure!(Client::connect(self.forking.port())?.get_with(&format!("/{PRIVATE}"), &[&header])?.status == 200);
        let length = PRIVATE.len();
        let post =
            format!("POST /{PRIVATE} HTTP/1.1\r\nHost: a\r\n{header}\r\nContent-Length: {length}\r\n\r\n{PRIVATE}");
        let mut client = Client::connect(self.orders.port())?;
        client.send(post.as_bytes())?;
        client.receive()?;

        for environment in [self.postgres.environment(), self.postgres.unix_environment()] {
            let output = self.postgres.psql(&self.script).envs(environment).output()?;
            ensure!(String::from_utf8(output.stdout)?.contains(PRIVATE), "psql: {}", output.status);
        }

        let (mut near, mut far) = UnixStream::pair()?;
        near.write_all(post.as_bytes())?;
        far.read_exact(&mut vec![0; post.len()])?;
        far.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{PRIVATE}").as_bytes())?;
        ensure!(near.read(&mut [0; 1024])? > 0);
        Ok(())
    }
}

/// The processes that a recording tells of: those that did something in it, and those that it introduces.
fn pids(recording: &Recording) -> BTreeSet<u64> {
    let pid = |event: &Value| event.pointer("/task/pid").or_else(|| event.get("pid")).and_then(Value::as_u64);
    recording.events.iter().filter_map(pid).collect()
}

/// The parent that a recording says a process has.
fn parent(recording: &Recording, pid: u64) -> Option<&str> {
    let process = recording.events.iter().find(|event| event["event"] == "process" && event["pid"] == pid)?;
    let resource = process["resource"].as_array()?;
    resource.iter().find(|pair| pair[0] == "process.parent_pid")?[1].as_str()
}

/// Lets everybody talk while one service is selected by these arguments, and looks into all that comes of it.
fn nothing_but_the_selected(selected: &App, arguments: &[&str]) -> Result<()> {
    let unselected = Unselected::start()?;
    let receiver = Receiver::start("http/protobuf")?;
    let url = format!("http://127.0.0.1:{}", receiver.port());
    let everything = ["--sql-text", "raw", "--http-header", "x-canary", "--returned-rows"];
    let export = ["--output", "otlp-json", "--otlp", &url, "--protocol", "http/protobuf"];
    let recorder = Recorder::start(arguments)?;
    let syspan = Syspan::start(&[&export[..], &everything[..], arguments].concat(), &[], &[])?;
    unselected.talk()?;
    for _ in 0..5 {
        let header = format!("X-Canary: {SENT}");
        ensure!(Client::connect(selected.port())?.get_with(&format!("/{SENT}"), &[&header])?.status == 200);
        unselected.talk()?;
    }
    let (printed, _) = syspan.stop_unread()?;
    let recording = recorder.stop()?;
    let received = format!("{:?}", receiver.requests()?);

    let recorded = recording.text()?;
    for (what, text) in [("recording", &recorded), ("output", &printed), ("export", &received)] {
        assert!(text.contains(SENT), "the {what} has nothing of the selected process");
        let canary = text.lines().find(|line| line.contains(PRIVATE));
        assert!(canary.is_none(), "the {what} has the canary: {canary:?}");
    }
    // The other end of the selected process's connections is this process: it is not in the recording at all.
    let own = u64::from(selected.pid());
    for pid in pids(&recording) {
        let parent = parent(&recording, pid);
        assert!(
            pid == own || parent == Some(&own.to_string()),
            "process {pid} is no child of {own}, but of {parent:?}"
        );
    }
    let reads = recording.captured()?.iter().filter(|(_, text)| text.contains(&format!("GET /{SENT} "))).count();
    assert_eq!(reads, 5, "each request is copied once, where it was read");
    Ok(())
}

#[test]
fn selected_by_its_id() -> Result<()> {
    let selected = App::script(&app("forking.py"), &[])?;
    nothing_but_the_selected(&selected, &["--pid", &selected.pid().to_string()])
}

#[test]
fn selected_by_its_port() -> Result<()> {
    let selected = App::script(&app("forking.py"), &[])?;
    nothing_but_the_selected(&selected, &["--port", &selected.port().to_string()])
}

#[test]
fn selected_until_it_becomes_another_program() -> Result<()> {
    const OTHER: &str = "/usr/bin/python3";
    let folder = TempDir::with_prefix("canaries-")?;
    let python = folder.path().join(format!("python-{}", ports::free()?));
    fs::copy(OTHER, &python)?;
    let pattern = python.display().to_string();
    let environment = [("PROGRAM".to_owned(), OTHER.to_owned())];
    let becoming = App::script_on(ports::free()?, &python, &app("becoming.py"), &environment)?;
    let stays = App::script_on(ports::free()?, &python, &app("becoming.py"), &environment)?;
    let recorder = Recorder::start(&["--exe", &pattern])?;
    http::get(becoming.port(), "/as-what-it-was")?;
    http::get(becoming.port(), "/become")?;

    // Whether a request was copied shows once a later one of the process that stays selected was written to the file,
    // which happens when there is enough.
    let was_copied = |path: &str, number: u32| -> Result<bool> {
        http::get(becoming.port(), path)?;
        let later = format!("/later-than-{number}");
        let recording = wait::until("what was done later", wait::START, || {
            http::get(stays.port(), &later)?;
            let text = recorder.so_far()?.text()?;
            Ok(text.contains(&later).then_some(text))
        })?;
        Ok(recording.contains(path))
    };
    let mut number = 0;
    wait::until("the other program to be let go", wait::START, || {
        number += 1;
        Ok((!was_copied(&format!("/probe-{number}"), number)?).then_some(()))
    })
    .context("it is still copied from")?;
    assert!(!was_copied(&format!("/{PRIVATE}"), 0)?);
    let text = recorder.stop()?.text()?;
    assert!(text.contains("/as-what-it-was"), "nothing is recorded of what it was");
    assert!(!text.contains(PRIVATE), "the canary is recorded");
    Ok(())
}
