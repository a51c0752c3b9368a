//! HTTP/1.1 by precise system calls (tests/apps/sockets): whatever way the bytes take, both ends are captured, and the
//! server's span is below the client's.

#![allow(clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use syspan_tests::{
    apps,
    causes::differences,
    otlp::{Kind, Span},
    server::Server,
    syspan::{self, Outcome, Syspan},
    wait,
};
use tempfile::TempDir;

const NONE: [&str; 0] = [];
const FAMILIES: [&str; 4] = ["ipv4", "ipv6", "unix", "abstract"];
const TCP: [&str; 2] = ["ipv4", "ipv6"];

fn scenario(name: &str, families: &[&str], folder: &TempDir) -> Result<Command> {
    let mut command = Command::new(apps::python("bin/python")?);
    command.arg(syspan_tests::sources().join("apps/sockets/scenarios.py")).arg(name).args(families);
    command.env("TMPDIR", folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Runs a scenario of two processes under `syspan exec`, once for each family.
fn traced(name: &str, families: &[&str]) -> Result<Outcome> {
    let folder = TempDir::with_prefix("sockets-")?;
    syspan::exec(&["--output", "otlp-json"], &scenario(name, families, &folder)?)
}

/// Which family a client's span was made over, by the address it connected to.
fn family(client: &Span) -> &'static str {
    match client.attribute("network.peer.address") {
        "127.0.0.1" => "ipv4",
        "::1" => "ipv6",
        path if path.starts_with('/') => "unix",
        name if name.starts_with('@') => "abstract",
        _ => "unknown",
    }
}

fn asked(client: &Span) -> &str {
    client.attribute("url.full").strip_prefix("http://a").unwrap_or_default()
}

/// Over each family and for each target exactly one client's span, a root, with exactly one server's span below it,
/// which is another process's; and nothing else.
fn assert_pairs(outcome: &Outcome, families: &[&str], targets: &[String], status: &str) {
    outcome.assert_nothing_lost();
    let clients: HashMap<&str, &Span> = outcome
        .spans
        .iter()
        .filter(|span| span.kind == Kind::Client)
        .map(|span| (span.span_id.as_str(), span))
        .collect();
    let expected: BTreeMap<String, usize> = families
        .iter()
        .flat_map(|family| targets.iter().map(move |target| (format!("{family} {target}"), 1)))
        .collect();
    let mut found = BTreeMap::new();
    for client in clients.values() {
        *found.entry(format!("{} {}", family(client), asked(client))).or_insert(0) += 1;
        assert_eq!(client.parent_span_id, "", "{client:?}");
    }
    assert_eq!(differences(&found, &expected), NONE, "the clients' spans");
    let mut found = BTreeMap::new();
    for server in outcome.spans.iter().filter(|span| span.is_http_server()) {
        let Some(client) = clients.get(server.parent_span_id.as_str()) else {
            panic!("no client's span is its parent: {server:?}");
        };
        assert_eq!((server.trace_id.as_str(), server.target().as_str()), (client.trace_id.as_str(), asked(client)));
        assert_eq!(server.attribute("syspan.parent.evidence"), "socket");
        assert_ne!(server.resource.get("process.pid"), client.resource.get("process.pid"));
        assert!(client.start <= server.start, "{server:?} begins before {client:?}");
        assert!(server.error || server.end <= client.end, "{server:?} ends after {client:?}");
        *found.entry(format!("{} {}", family(client), server.target())).or_insert(0) += 1;
    }
    assert_eq!(differences(&found, &expected), NONE, "the servers' spans");
    assert_eq!(outcome.spans.len(), 2 * expected.len());
    for span in &outcome.spans {
        assert_eq!(span.attribute("http.response.status_code"), status, "{span:?}");
        assert_eq!(span.service(), "scenarios", "{span:?}");
    }
}

fn pairs(name: &str, families: &[&str], targets: &[&str]) -> Result<()> {
    let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
    assert_pairs(&traced(name, families)?, families, &targets, "200");
    Ok(())
}

#[test]
fn every_call_that_reads() -> Result<()> {
    let calls = ["by_read", "by_readv", "recv", "by_recv_into", "by_recvmsg", "by_recvmsg_into"];
    let ways = ["byte_by_byte", "peeked", "without_waiting"];
    let targets: Vec<String> = calls.iter().chain(&ways).map(|name| format!("/{name}")).collect();
    assert_pairs(&traced("reads", &FAMILIES)?, &FAMILIES, &targets, "200");
    Ok(())
}

#[test]
fn every_call_that_writes() -> Result<()> {
    let targets = ["/by_write", "/by_writev", "/by_sendmsg", "/bytes_in_buffers", "/bytes_in_calls"];
    pairs("writes", &FAMILIES, &targets)
}

#[test]
fn a_head_split_at_each_of_its_bytes() -> Result<()> {
    let cuts = 1.."GET /vector?cut=00 HTTP/1.1\r\nHost: a\r\n\r\n".len();
    let vectors = cuts.clone().map(|cut| format!("/vector?cut={cut:02}"));
    let targets: Vec<String> = vectors.chain(cuts.map(|cut| format!("/called?cut={cut:02}"))).collect();
    assert_pairs(&traced("split_anywhere", &["ipv4", "unix"])?, &["ipv4", "unix"], &targets, "200");
    Ok(())
}

#[test]
fn two_messages_in_one_call() -> Result<()> {
    pairs("several_messages", &FAMILIES, &["/sendmmsg"])
}

#[test]
fn a_body_by_sendfile() -> Result<()> {
    pairs("sendfile", &FAMILIES, &["/sendfile?n=0", "/sendfile?n=1"])
}

#[test]
fn a_hundred_megabytes_each_way() -> Result<()> {
    pairs("large_bodies", &["ipv4", "unix"], &["/large", "/small"])
}

#[test]
fn a_client_that_closes_its_half() -> Result<()> {
    pairs("half_close", &FAMILIES, &["/half-close"])
}

#[test]
fn an_answer_that_ends_with_the_connection() -> Result<()> {
    pairs("ended_by_close", &FAMILIES, &["/close"])
}

#[test]
fn twenty_pipelined_requests() -> Result<()> {
    let targets: Vec<String> = (0..20).map(|n| format!("/pipelined?n={n}")).collect();
    assert_pairs(&traced("pipelined", &FAMILIES)?, &FAMILIES, &targets, "200");
    Ok(())
}

#[test]
fn duplicates_of_closed_descriptors() -> Result<()> {
    pairs("duplicates", &FAMILIES, &["/duplicate", "/duplicate/again"])
}

#[test]
fn a_connection_that_a_child_answers() -> Result<()> {
    pairs("handed_to_a_child", &FAMILIES, &["/child", "/child/again"])
}

#[test]
fn a_descriptor_passed_to_another_process() -> Result<()> {
    pairs("passed_on", &FAMILIES, &["/passed", "/passed/again"])
}

#[test]
fn descriptor_numbers_that_are_used_again() -> Result<()> {
    let targets: Vec<String> = (0..20).map(|n| format!("/reused?n={n}")).collect();
    assert_pairs(&traced("reused_numbers", &FAMILIES)?, &FAMILIES, &targets, "200");
    Ok(())
}

/// Runs a scenario of connections that are older than the agent.
fn older(name: &str) -> Result<Outcome> {
    let folder = TempDir::with_prefix("sockets-")?;
    let mut servers = Vec::new();
    for family in FAMILIES {
        let mut server = Server::start(family, folder.path(), &scenario(name, &[family], &folder)?)?;
        server.wait_for("open")?;
        servers.push(server);
    }
    let pids: Vec<u32> = servers.iter().map(Server::pid).collect();
    let syspan = Syspan::run(&pids, &[])?;
    for server in &mut servers {
        kill_process(Pid::from_raw(i32::try_from(server.pid())?).context("process 0")?, Signal::USR1)?;
        let status = server.wait_for_end(wait::START)?;
        ensure!(status.success(), "{status}: {}", server.output()?);
    }
    syspan.stop()
}

#[test]
fn connections_older_than_the_agent() -> Result<()> {
    let targets = ["/used?n=0", "/used?n=1", "/unused?n=0", "/unused?n=1"].map(str::to_owned);
    assert_pairs(&older("older_than_the_agent")?, &FAMILIES, &targets, "200");
    Ok(())
}

/// The entry of the call that the agent found under way was not seen, so its bytes were not: one request for each
/// connection that was waited on so, which is counted.
#[test]
fn calls_under_way_when_the_agent_starts() -> Result<()> {
    let mut outcome = older("blocked_before_the_agent")?;
    assert_eq!(outcome.losses, [("unmatched".to_owned(), FAMILIES.len() as u64)].into());
    outcome.losses.clear();
    let first: Vec<Span> = outcome.spans.extract_if(.., |span| asked(span) == "/used?n=0").collect();
    assert_eq!(first.iter().map(family).collect::<BTreeSet<_>>(), FAMILIES.into(), "the clients' ends are there");
    assert_eq!(first.len(), FAMILIES.len());
    let targets = ["/used?n=1", "/unused?n=0", "/unused?n=1"].map(str::to_owned);
    assert_pairs(&outcome, &FAMILIES, &targets, "200");
    Ok(())
}

/// What each end says of an exchange that failed: `error.type`.
fn assert_failed(outcome: &Outcome, families: &[&str], target: &str, client_says: &str, server_says: &str) {
    for span in &outcome.spans {
        let expected = if span.kind == Kind::Client { client_says } else { server_says };
        assert_eq!((span.error, span.attribute("error.type")), (true, expected), "{span:?}");
    }
    assert_pairs(outcome, families, &[target.to_owned()], "");
}

#[test]
fn a_client_that_does_not_wait() -> Result<()> {
    assert_failed(&traced("aborted", &FAMILIES)?, &FAMILIES, "/aborted", "connection_closed", "connection_closed");
    Ok(())
}

#[test]
fn a_server_that_resets_the_connection() -> Result<()> {
    assert_failed(&traced("connection_reset", &TCP)?, &TCP, "/reset", "connection_reset", "connection_closed");
    Ok(())
}

/// More buffers in one call than are looked at: the client's head is incomplete and counted, the connection goes on.
#[test]
fn too_many_buffers_in_one_call() -> Result<()> {
    let mut outcome = traced("too_many_buffers", &FAMILIES)?;
    let each = FAMILIES.len() as u64;
    // Counted by the kernel side for the call, and by the parser for the head.
    let expected = [("budget", 2 * each), ("unmatched", each)].map(|(cause, count)| (cause.to_owned(), count));
    assert_eq!(outcome.losses, expected.into());
    outcome.losses.clear();
    let alone = outcome.spans.extract_if(.., |span| span.target() == "/too-many-buffers");
    assert!(alone.map(|span| (span.kind, span.parent_span_id)).eq([(); 4].map(|()| (Kind::Server, String::new()))));
    assert_pairs(&outcome, &FAMILIES, &["/after".to_owned()], "200");
    Ok(())
}
