//! Every table and queue is filled on purpose: what was seen is what came out and what is counted as lost, exactly.
//!
//! What there was to see is known from elsewhere: from a workload that counts its own system calls, from nginx's access log,
//! from the client's answers.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use syspan_tests::{
    apps::{self, App},
    http::Load,
    nginx::Nginx,
    otlp::{Kind, Span},
    receiver::{Receiver, numbers},
    rotel::{Endpoints, Rotel},
    syspan::{Outcome, Syspan, accounts, losses},
    wait,
};

/// Smaller than what any workload here moves while nobody reads.
const SMALL_RING: [&str; 2] = ["--ring-size", "64KiB"];

/// tests/apps/sockets/counted.py: exchanges whose system calls are counted.
struct Counted {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Counted {
    fn start(arguments: &[&str]) -> Result<Self> {
        let script = syspan_tests::sources().join("apps/sockets/counted.py");
        let mut command = Command::new(apps::python("bin/python")?);
        command.arg(script).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().context("standard input")?;
        let answers = BufReader::new(child.stdout.take().context("standard output")?);
        let mut counted = Self { child, orders, answers };
        ensure!(counted.answer()? == "open", "it did not begin");
        Ok(counted)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes so many exchanges; how many calls have moved bytes since the start.
    fn make(&mut self, exchanges: usize) -> Result<u64> {
        writeln!(self.orders, "{exchanges}")?;
        let answer = self.answer()?;
        answer.strip_prefix("calls ").with_context(|| answer.clone())?.parse().with_context(|| answer.clone())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(i32::try_from(pid)?).context("process 0")?, signal)?)
}

fn is_incomplete(span: &Span) -> bool {
    span.attribute("syspan.incomplete") == "true"
}

/// A span's response is its own request's: a target that is not found is answered by 404. Or the span says that the response
/// was not seen. Gives how many say so.
fn assert_right_or_incomplete(spans: &[Span]) -> usize {
    for span in spans {
        let (target, status) = (span.target(), span.attribute("http.response.status_code"));
        let target = if span.kind == Kind::Client { span.attribute("url.full") } else { &target };
        let right = target
            .trim_start_matches("http://a")
            .strip_prefix('/')
            .and_then(|target| target.split_once('/'))
            .is_some_and(|(own, _)| own == status);
        assert!(right || (is_incomplete(span) && status.is_empty()), "{status} is not the answer: {span:#?}");
    }
    spans.iter().filter(|span| is_incomplete(span)).count()
}

/// What the run says of its transfers and requests agrees with its spans; the transfers that it saw and that it knows of.
fn transfers(outcome: &Outcome) -> Result<(u64, u64)> {
    let accounts = accounts(&outcome.messages)?;
    let (requests, became) = &accounts["requests"];
    let lost = |cause: &str| outcome.losses.get(cause).copied().unwrap_or(0);
    assert_eq!(became["spans"], outcome.spans.len() as u64);
    assert_eq!(*requests, outcome.spans.len() as u64 + lost("unfinished"));
    let (all, parts) = &accounts["transfers"];
    let incomplete = outcome.spans.iter().filter(|span| is_incomplete(span)).count();
    assert_eq!(incomplete as u64, lost("incomplete"), "each of them says so");
    assert_eq!(parts.get("ring_full").copied().unwrap_or(0), lost("ring_full"));
    Ok((parts["seen"], *all))
}

#[test]
fn a_full_ring_buffer() -> Result<()> {
    let mut workload = Counted::start(&["tcp", "8"])?;
    let syspan = Syspan::run(&[workload.pid()], &SMALL_RING)?;
    workload.make(8)?; // every connection is known
    wait::until("the first spans", wait::START, || Ok((syspan.printed()?.lines().count() > 0).then_some(())))?;
    // Nobody reads while much more is moved than there is room for.
    signal(syspan.pid(), Signal::STOP)?;
    workload.make(5_000)?;
    signal(syspan.pid(), Signal::CONT)?;
    let calls = workload.make(1_000)?;
    let outcome = syspan.stop()?;

    let (seen, all) = transfers(&outcome)?;
    assert_eq!(all, calls, "seen and lost are what the workload did: {}", outcome.messages);
    assert!(seen < calls / 2, "most was lost");
    let incomplete = assert_right_or_incomplete(&outcome.spans);
    assert!(outcome.spans.len() > incomplete, "what was seen whole is there");
    Ok(())
}

#[test]
fn a_full_ring_buffer_of_a_recording() -> Result<()> {
    let mut workload = Counted::start(&["tcp", "8"])?;
    let folder = tempfile::TempDir::with_prefix("losses-")?;
    let file = folder.path().join("recording");
    let mut command = Command::new(syspan_tests::syspan::program());
    command.args(["record", "--pid", &workload.pid().to_string()]).args(SMALL_RING).arg("-o").arg(&file);
    let mut syspan = syspan_tests::server::Server::start("record", folder.path(), &command)?;
    syspan.wait_for("syspan: ready")?;
    workload.make(8)?;
    signal(syspan.pid(), Signal::STOP)?;
    workload.make(3_000)?;
    signal(syspan.pid(), Signal::CONT)?;
    let calls = workload.make(8)?;
    let log = syspan.log().to_owned();
    ensure!(syspan.stop()?.success(), "the recording failed");

    let (mut seen, mut lost) = (0, 0);
    for line in std::fs::read_to_string(&file)?.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        match event["event"].as_str() {
            Some("data") => seen += 1,
            Some("lost") if event["cause"] == "ring_full" => lost += event["count"].as_u64().unwrap_or(0),
            _ => {}
        }
    }
    assert_eq!(seen + lost, calls);
    let said = losses(&std::fs::read_to_string(log)?)?;
    assert_eq!(said.get("ring_full"), Some(&lost), "the recording's end says what it lacks");
    Ok(())
}

/// wrk against nginx, while the agent is held up for longer than 64 KiB can hold what is moved. nginx makes two calls for each
/// request: it reads it and it answers it, unless the client has gone.
#[test]
fn a_small_ring_buffer_under_load() -> Result<()> {
    const CONNECTIONS: u64 = 32;
    /// Each takes well over 64 bytes of the ring buffer.
    const HELD_UP: usize = 2_000;
    let nginx = Nginx::statuses()?;
    let syspan = Syspan::run(&[nginx.pid()], &SMALL_RING)?;
    let script = syspan_tests::sources().join("apps/nginx/statuses.lua");
    let wrk = Command::new("wrk")
        .args(["-t2", &format!("-c{CONNECTIONS}"), "-d3s", "-s"])
        .arg(script)
        .arg(format!("http://127.0.0.1:{}", nginx.port()))
        .stdout(Stdio::piped())
        .spawn()
        .context("wrk could not be started; `cargo xtask setup` installs it")?;
    nginx.wait_for_served(1_000)?;
    signal(syspan.pid(), Signal::STOP)?;
    let before = nginx.served()?;
    nginx.wait_for_served(before + HELD_UP)?;
    signal(syspan.pid(), Signal::CONT)?;
    let wrk = wrk.wait_with_output()?;
    let report = String::from_utf8(wrk.stdout)?;
    let answered = report.lines().find_map(|line| line.trim().split_once(" requests in ")).context("a number")?.0;
    let answered: u64 = answered.trim().parse()?;
    let log = nginx.finish()?;
    let outcome = syspan.stop()?;

    let (served, sent) = (log.lines().count() as u64, log.lines().filter(|&bytes| bytes != "0").count() as u64);
    assert!((answered..=answered + CONNECTIONS).contains(&served), "wrk counts {answered}, nginx {served}");
    assert!(outcome.losses.contains_key("ring_full"), "the ring buffer was never full: {}", outcome.messages);
    let (_, all) = transfers(&outcome)?;
    assert_eq!(all, served + sent, "{}", outcome.messages);
    assert_right_or_incomplete(&outcome.spans);
    Ok(())
}

/// More sockets at once than the tables of the kernel and of the engine hold, each used twice.
#[test]
fn more_sockets_than_the_tables_hold() -> Result<()> {
    const TABLE: u64 = 65_536;
    const PROCESSES: usize = 6;
    const PAIRS: usize = 7_000;
    const UNANSWERED: usize = 500;
    let (pairs, unanswered) = (PAIRS.to_string(), UNANSWERED.to_string());
    // The requests without an answer are on the sockets that are the first to be dropped.
    let mut workloads = vec![Counted::start(&["pairs", &pairs, &unanswered])?];
    for _ in 1..PROCESSES {
        workloads.push(Counted::start(&["pairs", &pairs])?);
    }
    let pids: Vec<u32> = workloads.iter().map(Counted::pid).collect();
    let syspan = Syspan::start(&["--output", "text", "--ring-size", "64"], &pids, &[])?;
    let (mut calls, mut spans) = (0, 0);
    for round in 0..2 {
        for (number, workload) in workloads.iter_mut().enumerate() {
            let made = workload.make(PAIRS)?;
            calls += if round == 1 { made } else { 0 };
            spans += 2 * PAIRS - if (round, number) == (0, 0) { 2 * UNANSWERED } else { 0 };
            // The agent keeps up: what is dropped was not used for a while.
            wait::until("the spans", wait::START, || Ok((syspan.printed()?.lines().count() >= spans).then_some(())))?;
        }
    }
    let (printed, messages) = syspan.stop_unread()?;
    assert_eq!(printed.lines().count(), spans, "{messages}");
    let (accounts, losses) = (accounts(&messages)?, losses(&messages)?);
    let sockets = (PROCESSES * PAIRS * 2) as u64;
    assert!(losses["evicted"] >= sockets - TABLE);
    assert_eq!(losses["unfinished"], 2 * UNANSWERED as u64);
    assert_eq!(accounts["requests"].0, sockets * 2, "each was seen twice on each of its ends: {messages}");
    assert_eq!(accounts["transfers"].0, calls);
    // Answers whose requests had been given up.
    assert_eq!(losses.get("unmatched"), Some(&(2 * UNANSWERED as u64)), "{messages}");
    assert_eq!(losses.keys().collect::<Vec<_>>(), ["evicted", "unfinished", "unmatched"], "{messages}");
    Ok(())
}

const HTTP: [&str; 2] = ["--protocol", "http/protobuf"];

#[test]
fn a_collector_that_never_answers() -> Result<()> {
    const REQUESTS: usize = 1_000;
    let collector = TcpListener::bind("127.0.0.1:0")?; // the kernel accepts, nobody answers
    let app = App::orders(&[])?;
    let url = format!("http://{}", collector.local_addr()?);
    let environment =
        [("OTEL_BSP_MAX_QUEUE_SIZE", "100".to_owned()), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50".to_owned())];
    let syspan = Syspan::start(&[["--otlp", &url], HTTP].concat(), &[app.pid()], &environment)?;
    Load::connect(app.port(), 4)?.run(REQUESTS, |number| format!("/hello?id={number}"))?;
    // It ends in time, or it would be killed and fail.
    let (_, messages) = syspan.stop_unread()?;
    let (losses, accounts) = (losses(&messages)?, accounts(&messages)?);
    let lost = |cause: &str| losses.get(cause).copied().unwrap_or(0);
    assert!(messages.contains("syspan: 0 spans\n"), "{messages}");
    assert_eq!(accounts["spans"].0, REQUESTS as u64);
    assert_eq!(lost("queue_full") + lost("export_failed"), REQUESTS as u64, "{messages}");
    assert!(lost("export_failed") >= 100 && lost("queue_full") > 0, "the queue was full: {messages}");
    Ok(())
}

#[test]
fn a_collector_that_is_killed() -> Result<()> {
    const REQUESTS: usize = 200;
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start(protocol)?;
        let app = App::orders(&[])?;
        let url = format!("http://127.0.0.1:{}", receiver.port());
        let syspan = Syspan::start(&["--otlp", &url, "--protocol", protocol], &[app.pid()], &[])?;
        let mut load = Load::connect(app.port(), 4)?;
        load.run(REQUESTS, |number| format!("/hello?id={number}"))?;
        wait::until("the spans", wait::START, || Ok((receiver.spans()? == REQUESTS).then_some(())))?;
        receiver.kill()?;
        load.run(REQUESTS, |number| format!("/hello?id={}", REQUESTS + number))?;
        let (_, messages) = syspan.stop_unread()?;
        let (all, became) = &accounts(&messages)?["spans"];
        assert_eq!(*all, 2 * REQUESTS as u64, "{messages}");
        // The receiver rejects one; the answer to its last request may not have come any more.
        let (taken, lost) =
            (became["exported"] + became.get("rejected").copied().unwrap_or(0), became["export_failed"]);
        assert!(taken <= REQUESTS as u64 && lost >= REQUESTS as u64, "{messages}");
    }
    Ok(())
}

/// The last metrics say what the end of the run says.
#[test]
fn metrics_account_for_everything() -> Result<()> {
    const REQUESTS: usize = 100;
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start(protocol)?;
        let app = App::orders(&[])?;
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", receiver.port())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-of=metrics".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_owned()),
        ];
        let syspan = Syspan::start(&[], &[app.pid()], &environment)?;
        Load::connect(app.port(), 4)?.run(REQUESTS, |number| format!("/hello?id={number}"))?;
        wait::until("metrics by the clock", wait::START, || Ok((receiver.metrics()?.len() > 1).then_some(())))?;
        let (_, messages) = syspan.stop_unread()?;

        let requests = receiver.metrics()?;
        assert!(requests.iter().all(|request| request.headers.get("x-of").is_some_and(|of| of == "metrics")));
        let told: Vec<BTreeMap<String, i64>> =
            requests.iter().map(|request| numbers(&request.message)).collect::<Result<_>>()?;
        let (last, all) = (told.last().context("metrics")?, REQUESTS as i64);
        let started: Vec<i64> = told.iter().map(|numbers| numbers["otel.sdk.span.started"]).collect();
        assert!(started.is_sorted(), "{started:?}");
        let expected = [
            ("syspan.events data", 2 * all),
            ("syspan.requests span", all),
            ("syspan.requests unfinished", 0),
            ("otel.sdk.span.started", all),
            ("otel.sdk.span.live", 0),
            ("otel.sdk.processor.span.processed", all),
            ("otel.sdk.processor.span.processed queue_full", 0),
            ("otel.sdk.processor.span.queue.size", 0),
            ("otel.sdk.processor.span.queue.capacity", 65_536),
            ("otel.sdk.exporter.span.inflight", 0),
            ("otel.sdk.exporter.span.exported", all - 1),
            ("otel.sdk.exporter.span.exported rejected", 1),
            ("syspan.losses rejected", 1),
            ("syspan.losses ring_full", 0),
        ];
        for (name, value) in expected {
            assert_eq!(last.get(name), Some(&value), "{name}: {messages}");
        }
        let resource = requests[0].message["resourceMetrics"][0]["resource"]["attributes"].to_string();
        assert!(resource.contains(r#""service.name","value":{"stringValue":"syspan"}"#), "{resource}");
    }
    Ok(())
}

#[test]
fn a_real_collector_takes_the_metrics() -> Result<()> {
    let endpoints = Endpoints::free()?;
    let rotel = Rotel::of_metrics(endpoints)?;
    let app = App::orders(&[])?;
    for url in [endpoints.grpc, endpoints.http].map(|port| format!("http://127.0.0.1:{port}")) {
        let protocol = if url.ends_with(&endpoints.grpc.to_string()) { "grpc" } else { "http/protobuf" };
        let environment = [("OTEL_METRICS_EXPORTER", "otlp".to_owned())]; // asked for: a refusal would be warned about
        let syspan = Syspan::start(&["--otlp", &url, "--protocol", protocol], &[app.pid()], &environment)?;
        let (_, messages) = syspan.stop_unread()?;
        assert_eq!(messages.lines().filter(|line| line.contains("WARN")).count(), 0, "{messages}");
    }
    let log = rotel.stop_log()?;
    for name in ["syspan.events", "syspan.losses", "otel.sdk.span.started", "otel.sdk.exporter.span.exported"] {
        assert_eq!(log.matches(name).count(), 2, "{name} by each protocol, in:\n{log}");
    }
    Ok(())
}

/// A backend that knows nothing but traces is not disturbed, and neither is the user.
#[test]
fn a_collector_for_traces_only() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = App::orders(&[])?;
    let server = thread::spawn(move || not_found(&listener));
    let environment = [("OTEL_METRIC_EXPORT_INTERVAL", "50".to_owned()), ("SYSPAN_LOG", "info".to_owned())];
    let syspan = Syspan::start(&["--otlp", &url], &[app.pid()], &environment)?;
    let asked = server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    assert!(asked.starts_with("POST /v1/metrics "), "{asked}");
    let (_, messages) = syspan.stop_unread()?;
    assert_eq!(messages.matches("takes no metrics").count(), 1, "{messages}");
    assert!(messages.contains("syspan: 0 spans, nothing lost"), "{messages}");
    Ok(())
}

/// Answers one request by 404; its first line. Nobody listens any more then: another one would be refused, and told.
fn not_found(listener: &TcpListener) -> Result<String> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(reader.read_line(&mut head)? > 0, "the connection ended: {head}");
    }
    reader.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(head)
}
