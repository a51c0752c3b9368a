//! The bytes on the wire are the same with the agent and without.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    apps::App,
    network::{INTERFACE, Network, SERVER},
    otlp::Kind,
    packets::{Connection, connections},
    postgres::Postgres,
    server::Server,
    syspan::Syspan,
    tcpdump, wait,
};
use tempfile::TempDir;

/// A server and the port it listens on.
type Listening = (u32, u16);

/// What is recorded while a client talks to a server: without the agent, with it, and without it again. The agent must
/// have made spans of these kinds.
fn three_runs(network: &Network, server: Listening, client: &Command, kinds: &[Kind]) -> Result<[Vec<Connection>; 3]> {
    Ok([
        one_run(network, server, client, None)?,
        one_run(network, server, client, Some(kinds))?,
        one_run(network, server, client, None)?,
    ])
}

fn one_run(
    network: &Network,
    (server, port): Listening,
    client: &Command,
    traced: Option<&[Kind]>,
) -> Result<Vec<Connection>> {
    let folder = TempDir::with_prefix("wire-")?;
    let file = folder.path().join("wire.pcap");
    let arguments = ["-i", INTERFACE, "-n", "--immediate-mode", "-s", "0"];
    let tcpdump = tcpdump::writing(&file, &arguments, &format!("tcp port {port}"))?;

    // The client is there before the agent and begins when it is told to.
    let begin = folder.path().join("begin");
    let mut waiting = Command::new("sh");
    waiting.args(["-c", "until [ -e \"$0\" ]; do sleep 0.02; done; exec \"$@\""]).arg(&begin).args(network.client());
    waiting.arg(client.get_program()).args(client.get_args());
    waiting.envs(client.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut client = Server::start("client", folder.path(), &waiting)?;
    let agent =
        traced.map(|kinds| Ok::<_, anyhow::Error>((Syspan::run(&[server, client.pid()], &[])?, kinds))).transpose()?;
    fs::write(begin, "")?;
    let status = client.wait_for_end(wait::START)?;
    ensure!(status.success(), "the client ended with {status}: {}", client.output()?);
    let connections = wait::until("the ends of all connections", wait::START, || {
        Ok(connections(&file)?.filter(|connections| !connections.is_empty()))
    })?;
    tcpdump.stop()?;
    if let Some((agent, kinds)) = agent {
        let spans = agent.stop()?.spans;
        for &kind in kinds {
            ensure!(spans.iter().any(|span| span.kind == kind), "no {kind:?} span: {spans:#?}");
        }
    }
    Ok(connections)
}

fn assert_same(runs: &[Vec<Connection>; 3]) {
    let [before, traced, after] = runs;
    // If these differ, the conversation depends on something else than the agent.
    assert!(before == after, "without the agent, twice:\n{before:#?}\n{after:#?}");
    assert!(before == traced, "without the agent and with it:\n{before:#?}\n{traced:#?}");
}

#[test]
fn http_on_the_wire_is_the_same() -> Result<()> {
    let network = Network::new()?;
    let runs = network.on_server(|| {
        let folder = syspan_tests::sources().join("apps/wire");
        let server = App::script(&folder.join("server.py"), &[])?;
        let mut client = Command::new("/usr/bin/python3");
        client.arg(folder.join("client.py")).args([SERVER, &server.port().to_string()]);
        three_runs(&network, (server.pid(), server.port()), &client, &[Kind::Server, Kind::Client])
    })?;
    assert_eq!(runs[0].len(), 5);
    assert_same(&runs);
    Ok(())
}

/// Zeroes the process id and the secret key of `BackendKeyData`, which are new in each session (PostgreSQL 15, 55.7).
fn without_keys(connection: &mut Connection) -> Result<()> {
    let stream = &mut connection.server.stream;
    let mut at = 1; // the answer to the client's wish for TLS
    while at < stream.len() {
        let kind = stream[at];
        let length = stream.get(at + 1..).and_then(|rest| rest.first_chunk()).context("a message's length")?;
        let end = at + 1 + usize::try_from(u32::from_be_bytes(*length))?;
        if kind == b'K' {
            stream.get_mut(at + 5..end).context("a message")?.fill(0);
            return Ok(());
        }
        at = end;
    }
    anyhow::bail!("a session without BackendKeyData")
}

#[test]
fn postgresql_on_the_wire_is_the_same() -> Result<()> {
    let network = Network::new()?;
    let mut runs = network.on_server(|| {
        let server = Postgres::start_on(SERVER)?;
        let mut client = server.psql(&syspan_tests::sources().join("apps/wire/queries.sql"));
        client.env("PGHOST", SERVER);
        three_runs(&network, (server.pid(), server.port()), &client, &[Kind::Client])
    })?;
    for connection in runs.iter_mut().flatten() {
        without_keys(connection)?;
    }
    assert_eq!(runs[0].len(), 1);
    assert_same(&runs);
    Ok(())
}
