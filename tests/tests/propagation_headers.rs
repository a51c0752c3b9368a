//! `--propagate headers` (docs/propagation.md): what a server is sent, what both agents tell, and that no other byte changes.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    apps::App,
    bpf,
    network::{Network, SERVER, SERVER_6},
    nginx::Nginx,
    otlp::{Kind, Span},
    ports,
    propagation::{Client, ensure_not_slowed},
    recording::Recorder,
    server::Server,
    syspan::{self, Outcome, Syspan},
    wait,
};
use tempfile::TempDir;

const FORCE: [&str; 2] = ["--propagate", "headers=force"];

fn app(file: &str) -> PathBuf {
    syspan_tests::sources().join("apps/propagation").join(file)
}

/// tests/apps/propagation/server.py, and the heads that it was sent.
struct Echo {
    app: App,
    folder: TempDir,
}

impl Echo {
    fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("heads-")?;
        let heads = folder.path().join("heads").display().to_string();
        Ok(Self { app: App::script(&app("server.py"), &[("HEADS".to_owned(), heads)])?, folder })
    }

    /// The target and the `traceparent` lines of each request.
    fn seen(&self) -> Result<Vec<(String, Vec<String>)>> {
        let text = fs::read_to_string(self.folder.path().join("heads"))?;
        let heads = text.split("\r\n\r\n").filter(|head| !head.is_empty());
        Ok(heads
            .map(|head| {
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let context = head.lines().filter_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("traceparent").then(|| value.trim().to_owned())
                });
                (target, context.collect())
            })
            .collect())
    }
}

/// What agents of two hosts told of a client's steps.
struct Talk {
    client: Outcome,
    server: Outcome,
}

impl Talk {
    /// To be called in the server's namespace. The client's agent comes before it connects, or after.
    fn of(
        network: &Network,
        (address, port): (&str, u16),
        pids: &[u32],
        steps: &[&str],
        is_older: bool,
    ) -> Result<Self> {
        let mut client = Client::start(&network.client(), address, port, steps)?;
        if is_older {
            client.connect()?;
        }
        let at_server = Syspan::run(pids, &FORCE)?;
        let at_client = Syspan::run(&[client.pid()], &FORCE)?;
        client.connect()?;
        client.begin()?;
        client.end()?;
        Ok(Self { client: at_client.stop()?, server: at_server.stop()? })
    }
}

/// `00-<trace>-<span>-01`, as it was sent for a span.
fn header(span: &Span) -> String {
    format!("00-{}-{}-01", span.trace_id, span.span_id)
}

fn of_kind(spans: &[Span], kind: Kind) -> Vec<&Span> {
    let mut spans: Vec<&Span> = spans.iter().filter(|span| span.kind == kind).collect();
    spans.sort_by_key(|span| span.start);
    spans
}

#[track_caller]
fn assert_below(child: &Span, parent: &Span) {
    assert_eq!((&child.trace_id, &child.parent_span_id), (&parent.trace_id, &parent.span_id), "{child:#?} {parent:#?}");
}

const STEPS: [&str; 6] =
    ["get,/item?id=1", "post,10", "post,300000", "pieces,2,10", "get,/item?id=2", "get,/item?id=3"];

/// The ids on the wire are those that are exported, on both hosts.
#[test]
fn what_is_sent_is_what_is_exported() -> Result<()> {
    let network = Network::new()?;
    for address in [SERVER, SERVER_6] {
        network.on_server(|| {
            let echo = Echo::start()?;
            let talk = Talk::of(&network, (address, echo.app.port()), &[echo.app.pid()], &STEPS, false)?;
            talk.client.assert_nothing_lost();
            talk.server.assert_nothing_lost();
            let (clients, servers) =
                (of_kind(&talk.client.spans, Kind::Client), of_kind(&talk.server.spans, Kind::Server));
            let seen = echo.seen()?;
            assert_eq!((clients.len(), servers.len(), seen.len()), (7, 7, 7), "{address}");
            for ((client, server), (target, headers)) in clients.iter().zip(&servers).zip(&seen) {
                assert_eq!(headers, &[header(client)], "{address} {target}");
                assert_below(server, client);
                assert_eq!(server.attribute("syspan.parent.evidence"), "header");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The first request on it may be the middle of what the agent has not seen; the ones behind it are joined.
#[test]
fn connections_that_are_older_than_the_agent_are_included() -> Result<()> {
    let network = Network::new()?;
    network.on_server(|| {
        let echo = Echo::start()?;
        let talk = Talk::of(&network, (SERVER, echo.app.port()), &[echo.app.pid()], &STEPS, true)?;
        talk.client.assert_nothing_lost();
        let (clients, seen) = (of_kind(&talk.client.spans, Kind::Client), echo.seen()?);
        assert_eq!((clients.len(), seen.len()), (7, 7));
        assert_eq!(seen[0].1, Vec::<String>::new());
        for (client, (target, headers)) in clients.iter().zip(&seen).skip(1) {
            assert_eq!(headers, &[header(client)], "{target}");
        }
        Ok(())
    })
}

/// HAProxy from the template of the tests, reachable from the other namespace.
fn haproxy(folder: &Path, upstream: u16) -> Result<(Server, u16)> {
    let port = ports::free()?;
    let template = fs::read_to_string(syspan_tests::sources().join("apps/proxies/haproxy.cfg"))?;
    let text = template
        .replace("bind 127.0.0.1:@PORT@", &format!("bind :::{port} v4v6"))
        .replace("@UPSTREAM@", &upstream.to_string());
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let mut server = Server::start("haproxy", folder, &command)?;
    server.wait_for_port(port)?;
    Ok((server, port))
}

/// The same of nginx.
fn nginx(folder: &Path, upstream: u16) -> Result<Nginx> {
    let template = fs::read_to_string(syspan_tests::sources().join("apps/nginx/proxy.conf"))?;
    let file = folder.join("wire.conf");
    fs::write(&file, template.replace("listen 127.0.0.1:@PORT@;", "listen [::]:@PORT@ ipv6only=off;"))?;
    Nginx::start(&file, upstream)
}

/// A proxy passes the header on as it came; the kernel puts the proxy's own span into it.
#[test]
fn a_header_that_is_passed_on_names_the_proxy() -> Result<()> {
    let network = Network::new()?;
    network.on_server(|| {
        let folder = TempDir::with_prefix("proxy-")?;
        for name in ["nginx", "haproxy"] {
            let echo = Echo::start()?;
            let upstream = echo.app.port();
            let (proxy, port, pid): (Box<dyn Send>, u16, u32) = if name == "nginx" {
                let nginx = nginx(folder.path(), upstream)?;
                let (port, pid) = (nginx.port(), nginx.pid());
                (Box::new(nginx), port, pid)
            } else {
                let (server, port) = haproxy(folder.path(), upstream)?;
                let pid = server.pid();
                (Box::new(server), port, pid)
            };
            let talk = Talk::of(&network, (SERVER_6, port), &[pid, echo.app.pid()], &STEPS, false)?;
            let clients = of_kind(&talk.client.spans, Kind::Client);
            assert_eq!(clients.len(), 7, "{name}");
            let seen = echo.seen()?;
            assert_eq!(seen.len(), 7, "{name}");
            for client in clients {
                let of_trace = |kind| {
                    let spans = of_kind(&talk.server.spans, kind);
                    spans.into_iter().filter(|span| span.trace_id == client.trace_id).collect::<Vec<_>>()
                };
                let (servers, passed_on) = (of_trace(Kind::Server), of_trace(Kind::Client));
                ensure!(servers.len() == 2 && passed_on.len() == 1, "{name}: {servers:#?} {passed_on:#?}");
                assert_below(servers[0], client);
                assert_below(passed_on[0], servers[0]);
                assert_below(servers[1], passed_on[0]);
                ensure!(
                    seen.iter().any(|(_, headers)| *headers == [header(passed_on[0])]),
                    "{name}: {:#?} is not on the wire: {seen:?}",
                    passed_on[0]
                );
            }
            drop(proxy);
        }
        Ok(())
    })
}

/// What is no plain head, or is not known to begin a request, is as it was; the client compares digests of all bodies.
#[test]
fn everything_else_is_left_alone() -> Result<()> {
    let own = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00";
    let with_own = format!("with_head,/mine,traceparent: {own}");
    let steps = [
        "get,/first",
        &with_own,
        "with_head,/two,traceparent: 1,Traceparent: 2",
        "smuggled,3000",
        "get,/behind-the-body",
        "pipelined,3",
        "get,/behind-several",
    ];
    let network = Network::new()?;
    network.on_server(|| {
        let echo = Echo::start()?;
        let talk = Talk::of(&network, (SERVER, echo.app.port()), &[echo.app.pid()], &steps, false)?;
        talk.client.assert_nothing_lost();
        let clients = of_kind(&talk.client.spans, Kind::Client);
        let sent = |target: &str| {
            let is_it = |span: &&&Span| span.attribute("url.full").ends_with(target);
            clients.iter().filter(is_it).map(|span| header(span)).collect::<Vec<_>>()
        };
        let expected: Vec<(String, Vec<String>)> = [
            ("/first", sent("/first")),
            ("/mine", vec![own.to_owned()]),
            ("/two", vec!["1".to_owned(), "2".to_owned()]),
            ("/body", sent("/body")),
            ("/behind-the-body", sent("/behind-the-body")),
            // Of several in one write the first is one.
            ("/item?id=0", sent("/item?id=0")),
            ("/item?id=1", vec![]),
            ("/item?id=2", vec![]),
            // By the lengths it is not known that it begins a request.
            ("/behind-several", vec![]),
        ]
        .map(|(target, headers)| (target.to_owned(), headers))
        .into();
        assert_eq!(echo.seen()?, expected);
        Ok(())
    })?;
    // What follows a head in several writes, or one that makes another protocol possible, is not known to be a request.
    let upgrade = |to: &str| format!("with_head,/upgrade,Upgrade: {to}");
    for (first, expected) in [
        ("split,/split".to_owned(), [0, 0]),
        (upgrade("websocket"), [1, 0]),
        (upgrade("h2c"), [1, 1]),
        ("with_head,/long,X-Long: ".to_owned() + &"x".repeat(5000), [0, 0]),
    ] {
        network.on_server(|| {
            let echo = Echo::start()?;
            Talk::of(&network, (SERVER, echo.app.port()), &[echo.app.pid()], &[&first, "get,/next"], false)?;
            let headers: Vec<usize> = echo.seen()?.iter().map(|(_, headers)| headers.len()).collect();
            assert_eq!(headers, expected, "{first}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Bodies of any size and by any call arrive as they were sent: the client compares digests. Both ends count alike: what one wrote
/// is what the other read, at the same positions.
#[test]
fn streams_are_what_they_were() -> Result<()> {
    const STEPS: [&str; 7] =
        ["post,70000", "sendfile,1000000", "more,5000", "pieces,20,600", "post,300000", "post,3000000", "rest,200000"];
    let network = Network::new()?;
    for address in [SERVER, SERVER_6] {
        network.on_server(|| {
            let echo = Echo::start()?;
            let port = echo.app.port();
            let mut client = Client::start(&network.client(), address, port, &STEPS)?;
            let agent = |pid: u32| Recorder::start(&[&FORCE[..], &["--pid", &pid.to_string()]].concat());
            let (at_server, at_client) = (agent(echo.app.pid())?, agent(client.pid())?);
            client.connect()?;
            client.begin()?;
            client.end()?;
            let (at_server, at_client) = (at_server.stop()?, at_client.stop()?);
            let (sent, arrived) = (at_client.contexts("write", None), at_server.contexts("read", None));
            // The heads that were sent with MSG_MORE and by sendfile are whole as well.
            assert_eq!(sent.len(), 26, "{sent:?}");
            assert_eq!(sent, arrived, "{address}");
            let seen: Vec<String> = echo.seen()?.into_iter().flat_map(|(_, headers)| headers).collect();
            let told: Vec<String> =
                sent.iter().map(|(_, ids)| format!("00-{}-{}-01", &ids[..32], &ids[32..])).collect();
            assert_eq!(seen, told, "{address}");
            Ok(())
        })?;
    }
    Ok(())
}

/// An agent that is killed leaves a connection as it is, and the one after it finds it again.
#[test]
fn killed_in_mid_stream() -> Result<()> {
    let network = Network::new()?;
    network.on_server(|| {
        let echo = Echo::start()?;
        let folder = TempDir::with_prefix("propagation-")?;
        let end = folder.path().join("end");
        let step = format!("steadily,{}", end.display());
        let mut client = Client::start(&network.client(), SERVER, echo.app.port(), &[&step])?;
        let pids = [client.pid(), echo.app.pid()];
        let agent = || Syspan::run(&pids, &FORCE);
        let mut before = 0;
        for number in 0..3 {
            let agent = agent()?;
            if number == 0 {
                client.connect()?;
                client.begin()?;
            }
            // It is at work before it is killed.
            before = wait::until("headers", wait::START, || {
                let sent = echo.seen()?.iter().filter(|(_, headers)| !headers.is_empty()).count();
                Ok((sent > before).then_some(sent))
            })?;
            let held = bpf::Objects::held_by(agent.pid())?;
            agent.kill()?;
            held.wait_until_gone()?;
        }
        fs::write(&end, "")?;
        client.end()?;
        Ok(())
    })
}

/// Small writes without TCP_NODELAY: a request that TCP is handed in two pieces waits for 40 ms in between.
#[test]
fn small_writes_are_not_slowed() -> Result<()> {
    const STEPS: [&str; 5] =
        ["crowded,400,700", "lockstep,100,510", "lockstep,400,60", "fresh,100,10", "pieces,10,600"];
    let network = Network::new()?;
    network.on_server(|| {
        let echo = Echo::start()?;
        ensure_not_slowed(&network, (echo.app.port(), echo.app.pid()), &STEPS, &FORCE)
    })
}

/// What the agent says of this kernel is what it does: where sockets would answer wrongly, it touches none.
#[test]
fn no_socket_is_touched_where_it_would_answer_wrongly() -> Result<()> {
    let echo = Echo::start()?;
    let doctor = syspan::output(&["doctor"])?;
    let text = String::from_utf8(doctor.stdout)?;
    let line = text.lines().find(|line| line.contains("FIONREAD")).context("doctor says nothing of FIONREAD")?;
    let is_broken = line.starts_with("warning");
    eprintln!("{line}");
    let program_types = |agent: &Syspan| -> Result<Vec<String>> {
        let mut types = bpf::Objects::held_by(agent.pid())?.program_types()?;
        types.sort();
        types.dedup();
        Ok(types)
    };
    let all = ["kprobe", "raw_tracepoint", "sk_msg", "sock_ops"];
    let forced = Syspan::run(&[echo.app.pid()], &FORCE)?;
    assert_eq!(program_types(&forced)?, all);
    let held = bpf::Objects::held_by(forced.pid())?;
    forced.kill()?;
    held.wait_until_gone()?;
    let asked = Syspan::run(&[echo.app.pid()], &["--propagate", "headers"])?;
    assert_eq!(program_types(&asked)?, if is_broken { &all[..2] } else { &all[..] });
    let messages = asked.stop()?.messages;
    let sentences: Vec<&str> = messages.lines().filter(|line| line.contains("FIONREAD")).collect();
    assert_eq!(sentences.len(), usize::from(is_broken), "{messages}");
    assert!(sentences.iter().all(|sentence| sentence.contains("headers=force")), "{messages}");
    Ok(())
}

/// Nothing makes a table of sockets unless headers are asked for: only who may attach to sockets can.
#[test]
fn a_table_of_sockets_is_made_for_headers_only() -> Result<()> {
    let echo = Echo::start()?;
    for (arguments, expected) in [(&[][..], false), (&["--propagate", "tcp"], false), (&FORCE, true)] {
        let agent = Syspan::run(&[echo.app.pid()], arguments)?;
        let tables = bpf::Objects::held_by(agent.pid())?.map_types()?;
        assert_eq!(tables.iter().any(|kind| kind == "sockhash"), expected, "{arguments:?}: {tables:?}");
        agent.stop()?;
    }
    Ok(())
}
