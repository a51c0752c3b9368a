//! Contexts between hosts (docs/propagation.md): what is on the wire, what both agents are told of it, and that nobody else notices.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use syspan_tests::{
    apps::App,
    bpf,
    http::{Client, Load},
    network::{INTERFACE, Network, SERVER, SERVER_6},
    propagation::{Client as Talker, ensure_not_slowed},
    recording::{Recorder, Recording},
    segments::{self, Segment},
    syspan::Syspan,
    tcpdump, wait,
};
use tempfile::TempDir;

/// The TCP option (docs/propagation.md).
const OPTION: u8 = 25;

/// Where the agent of the client's host was, when the client connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// There already.
    New,
    /// Not there yet.
    Old,
}

fn server(environment: &[(String, String)]) -> Result<App> {
    App::script(&syspan_tests::sources().join("apps/propagation/server.py"), environment)
}

/// What was seen of a client's steps: on the wire, by the agent of its host, and by the agent of the server's.
struct Talk {
    connection: Connection,
    port: u16,
    segments: Vec<Segment>,
    client: Recording,
    server: Recording,
}

impl Talk {
    /// To be called in the server's namespace.
    fn of(network: &Network, address: &str, connection: Connection, steps: &[&str]) -> Result<Self> {
        let app = server(&[])?;
        let port = app.port();
        let folder = TempDir::with_prefix("propagation-")?;
        let file = folder.path().join("wire.pcap");
        let arguments = ["-i", INTERFACE, "-n", "--immediate-mode", "-s", "0"];
        let tcpdump = tcpdump::writing(&file, &arguments, &format!("tcp port {port}"))?;
        let mut client = Talker::start(&network.client(), address, port, steps)?;
        if connection == Connection::Old {
            client.connect()?;
        }
        let agent = |pid: u32| Recorder::start(&["--propagate", "tcp", "--pid", &pid.to_string()]);
        let (at_server, at_client) = (agent(app.pid())?, agent(client.pid())?);
        if connection == Connection::New {
            client.connect()?;
        }
        client.begin()?;
        client.end()?;
        let segments = wait::until("the end of the connection", wait::START, || {
            let segments = segments::read(&file)?;
            let ends = |of_server| segments.iter().any(|segment| segment.ends && (segment.source == port) == of_server);
            Ok((ends(true) && ends(false)).then_some(segments))
        })?;
        tcpdump.stop()?;
        Ok(Self { connection, port, segments, client: at_client.stop()?, server: at_server.stop()? })
    }

    /// Demands that exactly the segments that begin a message of the client's carry the option, that both agents were told of its
    /// context, at the same position, and gives how many there were.
    fn assert_carried(&self) -> usize {
        let sent = contexts(&self.client, "write");
        assert_eq!(sent.keys().copied().collect::<Vec<_>>(), beginnings(&self.client), "{:#?}", self.client.events);
        let of_client = self.segments.iter().filter(|segment| segment.source != self.port);
        let carried: BTreeMap<u32, String> =
            of_client.filter_map(|segment| Some((segment.sequence, option(segment.option(OPTION)?)))).collect();
        assert_eq!(carried, sent, "{:#?}", self.segments);
        let options = self.segments.iter().filter(|segment| segment.option(OPTION).is_some());
        assert_eq!(options.count(), sent.len(), "nobody else sends the option, and each is sent once");
        let mut arrived = sent.clone();
        if self.connection == Connection::Old {
            // The server's thread was waiting in that read when the agent came, which sees a call only from its entry on.
            arrived.pop_first();
        }
        assert_eq!(contexts(&self.server, "read"), arrived);
        sent.len()
    }
}

fn option(option: &[u8]) -> String {
    assert_eq!(option.len(), 26);
    option[2..].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The contexts with a span that were told of a direction: trace id and span id by position.
fn contexts(recording: &Recording, direction: &str) -> BTreeMap<u32, String> {
    recording.contexts(direction, None).into_iter().collect()
}

/// The positions at which a message of the client's begins: what is sent first, or after something was received. Ascending.
fn beginnings(recording: &Recording) -> Vec<u32> {
    let mut data: Vec<&Value> = recording.events.iter().filter(|event| event["event"] == "data").collect();
    data.sort_by_key(|event| event["time"].as_u64());
    let mut found = Vec::new();
    let mut last = "read";
    for event in data {
        let direction = event["direction"].as_str().unwrap_or_default();
        if direction == "write" && last == "read" {
            found.extend(event["position"].as_u64().and_then(|position| u32::try_from(position).ok()));
        }
        last = direction;
    }
    found.sort_unstable();
    found
}

const STEPS: [&str; 6] =
    ["get,/item?id=1", "get,/item?id=2", "post,10", "post,300000", "pieces,3,10", "get,/item?id=3"];
/// Messages that [`STEPS`] begin.
const MESSAGES: usize = 8;

#[test]
fn the_segments_that_begin_a_request_carry_its_context() -> Result<()> {
    let network = Network::new()?;
    for address in [SERVER, SERVER_6] {
        let talk = network.on_server(|| Talk::of(&network, address, Connection::New, &STEPS))?;
        assert_eq!(talk.assert_carried(), MESSAGES, "{address}");
    }
    Ok(())
}

#[test]
fn connections_that_are_older_than_the_agent_are_included() -> Result<()> {
    let network = Network::new()?;
    for address in [SERVER, SERVER_6] {
        let talk = network.on_server(|| Talk::of(&network, address, Connection::Old, &STEPS))?;
        assert_eq!(talk.assert_carried(), MESSAGES, "{address}");
    }
    Ok(())
}

/// Bodies of any size and by any call arrive as they were sent: the client compares digests.
#[test]
fn streams_are_what_they_were() -> Result<()> {
    let steps = ["post,70000", "sendfile,1000000", "more,5000", "pieces,20,600", "post,3000000", "rest,200000"];
    let network = Network::new()?;
    for address in [SERVER, SERVER_6] {
        let talk = network.on_server(|| Talk::of(&network, address, Connection::New, &steps))?;
        assert_eq!(talk.assert_carried(), 25, "{address}");
    }
    Ok(())
}

/// What a process passes on belongs to the trace of what it received.
#[test]
fn a_trace_goes_on_behind_the_next_host() -> Result<()> {
    let network = Network::new()?;
    network.on_server(|| {
        let last = server(&[])?;
        let downstream = format!("127.0.0.1:{}", last.port());
        let middle = server(&[("DOWNSTREAM".to_owned(), downstream)])?;
        let mut client =
            Talker::start(&network.client(), SERVER, middle.port(), &["get,/forward?id=1", "get,/forward?id=2"])?;
        let agent = |pids: &[u32]| {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            let selectors: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid]).collect();
            Recorder::start(&[&["--propagate", "tcp"], &selectors[..]].concat())
        };
        let at_server = agent(&[middle.pid(), last.pid()])?;
        let at_client = agent(&[client.pid()])?;
        client.connect()?;
        client.begin()?;
        client.end()?;
        let (server, client) = (at_server.stop()?, at_client.stop()?);
        let traces = |contexts: BTreeMap<u32, String>| -> Vec<String> {
            contexts.into_values().map(|ids| ids[..32].to_owned()).collect()
        };
        let begun = traces(contexts(&client, "write"));
        ensure!(begun.len() == 2 && begun[0] != begun[1], "{begun:?}");
        let passed_on = contexts(&server, "write");
        let mut expected = begun.clone();
        expected.sort();
        let mut found = traces(passed_on.clone());
        found.sort();
        assert_eq!(found, expected, "{:#?}", server.events);
        // Both hops arrive: from the client, and from the server in the middle.
        let arrived = contexts(&server, "read");
        assert_eq!(arrived.len(), 4);
        assert!(
            passed_on.iter().all(|(position, ids)| arrived.get(position) == Some(ids)),
            "{arrived:?} {passed_on:?}"
        );
        Ok(())
    })
}

/// A request that names its trace itself: what is sent on for it is in that trace. A header that is passed on leaves the call out, so the
/// context beside it has the call's own span; one that the program makes says all by itself.
#[test]
fn a_trace_that_a_request_names_goes_on() -> Result<()> {
    let last = server(&[])?;
    let app = server(&[("DOWNSTREAM".to_owned(), format!("127.0.0.1:{}", last.port()))])?;
    let recorder = Recorder::start(&["--propagate", "tcp", "--pid", &app.pid().to_string()])?;
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    let line = |name: &str| format!("{name}00-{TRACE}-{SPAN}-01");
    let long = format!("Cookie: {}", "c".repeat(1500));
    let cases = [
        ("/forward", vec![line("traceparent: ")], true),
        ("/forward", vec![line("TraceParent:"), "tracestate: a=1".to_owned()], true),
        ("/forward", vec![long, line("traceparent: ")], true),
        ("/forward", vec![line("traceparent: ") + "-more"], false),
        ("/pass", vec![line("traceparent: ")], true),
        ("/own", vec![line("traceparent: ")], false),
        ("/forward", vec![line("transparent: ")], false),
        ("/forward", vec![line("traceparent: ").replace('b', "B")], false),
        ("/forward", vec![line("traceparent: ").replace(TRACE, &"0".repeat(32))], false),
        ("/forward", vec![line("traceparent: ") + "1"], false),
        ("/forward", vec![], false),
    ];
    let mut client = Client::connect(app.port())?;
    for (number, (path, headers, _)) in cases.iter().enumerate() {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        ensure!(client.get_with(&format!("{path}?id={number}"), &headers)?.status == 200, "{headers:?}");
    }
    let recording = recorder.stop()?;
    let sent = contexts(&recording, "write");
    let mut positions = BTreeMap::new();
    for (event, (_, bytes)) in recording.data()?.iter().zip(recording.captured()?) {
        let number = bytes.strip_prefix("GET /item?id=").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        let position = event["position"].as_u64().and_then(|position| u32::try_from(position).ok());
        if let (Some(number), Some(position), "write") = (number, position, event["direction"].as_str().unwrap_or("")) {
            positions.insert(number, position);
        }
    }
    for (number, (path, headers, goes_on)) in cases.iter().enumerate() {
        let position = positions.get(&number).with_context(|| format!("no call of {number}"))?;
        let ids = sent.get(position);
        assert_eq!(ids.is_none(), *path == "/own", "{path} {headers:?}: {ids:?}");
        if let Some(ids) = ids {
            assert_eq!(&ids[..32] == TRACE, *goes_on, "{path} {headers:?}: {ids:?}");
            assert_ne!(&ids[32..], SPAN, "{path} {headers:?}: the call has a span of its own");
        }
    }
    Ok(())
}

/// The types of the programs that a process holds.
fn program_types(pid: u32) -> Result<Vec<String>> {
    let mut types = bpf::Objects::held_by(pid)?.program_types()?;
    types.sort();
    types.dedup();
    Ok(types)
}

#[test]
fn nothing_is_attached_to_sockets_unless_asked_for() -> Result<()> {
    let app = server(&[])?;
    let off = Syspan::run(&[app.pid()], &[])?;
    // Those of the kprobe type are for functions of Go programs, and attached to none here.
    assert_eq!(program_types(off.pid())?, ["kprobe", "raw_tracepoint"]);
    off.stop()?;
    let tcp = Syspan::run(&[app.pid()], &["--propagate", "tcp"])?;
    let held = bpf::Objects::held_by(tcp.pid())?;
    assert_eq!(program_types(tcp.pid())?, ["kprobe", "raw_tracepoint", "sock_ops"]);
    tcp.kill()?;
    held.wait_until_gone()
}

/// An agent that is killed leaves a connection as it is, and the one after it finds it again.
#[test]
fn killed_in_mid_stream() -> Result<()> {
    let network = Network::new()?;
    network.on_server(|| {
        let app = server(&[])?;
        let folder = TempDir::with_prefix("propagation-")?;
        let end = folder.path().join("end");
        let step = format!("steadily,{}", end.display());
        let mut client = Talker::start(&network.client(), SERVER, app.port(), &[&step])?;
        let pids = [client.pid(), app.pid()];
        let agent = || Syspan::run(&pids, &["--propagate", "tcp"]);
        let first = agent()?;
        client.connect()?;
        client.begin()?;
        for agent in [first, agent()?, agent()?] {
            // It is at work before it is killed.
            wait::until("spans", wait::START, || Ok((!agent.printed()?.is_empty()).then_some(())))?;
            let held = bpf::Objects::held_by(agent.pid())?;
            agent.kill()?;
            held.wait_until_gone()?;
        }
        touch(&end)?;
        client.end()?;
        Ok(())
    })
}

fn touch(file: &Path) -> Result<()> {
    fs::write(file, "").with_context(|| file.display().to_string())
}

/// Small writes without TCP_NODELAY depend on when the receiver acknowledges, which depends on how segments look to it: with an option
/// on each of them the first step takes 40 ms for each of its rounds.
#[test]
fn small_writes_are_not_slowed() -> Result<()> {
    const STEPS: [&str; 5] = ["lockstep,100,510", "lockstep,200,60", "fresh,200,10", "fresh,200,600", "pieces,10,600"];
    let network = Network::new()?;
    network.on_server(|| {
        let app = server(&[])?;
        ensure_not_slowed(&network, (app.port(), app.pid()), &STEPS, &["--propagate", "tcp"])
    })
}

/// What became of the calls that a process made for its requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Joins {
    /// Sent in the trace of the request that caused them.
    right: usize,
    /// Sent in the trace of another one.
    wrong: usize,
    /// Sent in a trace of their own.
    own: usize,
}

/// Loads an application of tests/apps/propagation and judges each of its calls: both the request and the calls for it have its number in
/// their target.
fn joins(start: impl FnOnce(&[(String, String)]) -> Result<App>, connections: usize, requests: usize) -> Result<Joins> {
    let items = server(&[])?;
    let environment = [("DOWNSTREAM", format!("127.0.0.1:{}", items.port())), ("POOL_SIZE", "4".to_owned())];
    let app = start(&environment.map(|(name, value)| (name.to_owned(), value)))?;
    let recorder = Recorder::start(&["--propagate", "tcp", "--pid", &app.pid().to_string()])?;
    Load::connect(app.port(), connections)?.run(requests, |number| format!("/forward?id={number}"))?;
    let recording = recorder.stop()?;
    let place = |event: &Value| Some((event.get("socket")?.as_u64()?, event.get("position")?.as_u64()?));
    let mut numbers = BTreeMap::new();
    for (event, (_, bytes)) in recording.data()?.iter().zip(recording.captured()?) {
        let target = bytes.split(' ').nth(1).unwrap_or_default();
        let kind = ["/forward?id=", "/item?id="].into_iter().find_map(|kind| target.strip_prefix(kind));
        if let (Some(number), Some(place)) = (kind, place(event)) {
            numbers.insert(place, number.split('-').next().unwrap_or_default().to_owned());
        }
    }
    let contexts = |direction: &str| -> Vec<(String, String)> {
        let of = |event: &&Value| event["event"] == "context" && event["direction"] == direction;
        let traced =
            |event: &Value| Some((event["trace_id"].as_str()?.to_owned(), numbers.get(&place(event)?)?.clone()));
        recording.events.iter().filter(of).filter_map(traced).collect()
    };
    let begun: BTreeMap<String, String> = contexts("read").into_iter().collect();
    assert_eq!(begun.len(), requests, "each request has a trace");
    let mut joins = Joins::default();
    for (trace, number) in contexts("write") {
        *match begun.get(&trace) {
            Some(of) if *of == number => &mut joins.right,
            Some(_) => &mut joins.wrong,
            None => &mut joins.own,
        } += 1;
    }
    Ok(joins)
}

fn app(file: &str) -> std::path::PathBuf {
    syspan_tests::sources().join("apps/propagation").join(file)
}

/// A thread keeps to its request: all calls are right once the process has shown it.
#[test]
fn a_thread_for_each_request_joins() -> Result<()> {
    let joins = joins(server, 16, 400)?;
    eprintln!("{joins:?}");
    assert_eq!(joins.wrong, 0, "{joins:?}");
    assert_eq!(joins.right + joins.own, 400, "{joins:?}");
    assert!(joins.right >= 300, "{joins:?}");
    Ok(())
}

/// Whatever a program does with its requests, none of its calls leaves in the trace of another one.
#[test]
fn no_call_joins_another_trace() -> Result<()> {
    let node = |environment: &[(String, String)]| App::node(&app("loop.js"), environment);
    let handing = |environment: &[(String, String)]| App::script(&app("handing.py"), environment);
    let coroutines = |environment: &[(String, String)]| App::script(&app("coroutines.py"), environment);
    for connections in [1, 4, 5, 32] {
        for (name, joins) in [
            ("node", joins(node, connections, 400)?),
            ("handing", joins(handing, connections, 400)?),
            ("coroutines", joins(coroutines, connections, 400)?),
        ] {
            eprintln!("{name}, {connections} connections: {joins:?}");
            assert_eq!(joins.wrong, 0, "{name}, {connections} connections: {joins:?}");
            assert_eq!(joins.right + joins.own, 800, "{name}, {connections} connections: {joins:?}");
        }
    }
    Ok(())
}
