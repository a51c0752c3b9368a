//! Packet captures: what `syspan replay` makes of them, against what tshark reads in the same file, and against what the kernel showed
//! of the same traffic.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    apps::{self, App},
    http::{Client, Load},
    mariadb::MariaDb,
    nginx::Nginx,
    otlp::{self, Kind, Span},
    php::PhpFpm,
    postgres::Postgres,
    syspan::{self, Syspan},
    tcpdump::{Capture, Tcpdump},
    tshark::{self, Requests, Statements},
};
use tempfile::TempDir;

const RAW: &[&str] = &["--sql-text", "raw"];

/// Method, target and status of the requests that a service answered, by the client's port.
fn requests(spans: &[Span], service: &str) -> Requests {
    let mut requests = Requests::new();
    for span in spans.iter().filter(|span| span.is_http_server() && span.service() == service) {
        let own = requests.entry(span.attribute("network.peer.port").to_owned()).or_default();
        own.push((method(span), span.target(), span.attribute("http.response.status_code").to_owned()));
    }
    requests
}

fn method(span: &Span) -> String {
    let original = span.attribute("http.request.method_original");
    if original.is_empty() { span.attribute("http.request.method").to_owned() } else { original.to_owned() }
}

/// Text and error of the statements, in the order in which they began.
fn statements(spans: &[Span]) -> Statements {
    let sql = spans.iter().filter(|span| span.is_sql());
    sql.map(|span| (span.attribute("db.query.text").to_owned(), span.attribute("error.type").to_owned())).collect()
}

/// The service that a capture calls a server on this port.
fn on(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn bodies() -> Result<App> {
    App::node(&syspan_tests::sources().join("apps/node-bodies/server.js"), &[])
}

/// A request with these header lines and this body, and its answer's status.
fn send(client: &mut Client, request_line: &str, headers: &str, body: &[u8]) -> Result<u16> {
    let head = format!("{request_line} HTTP/1.1\r\nHost: shop.test\r\n{headers}\r\n");
    client.send(&[head.as_bytes(), body].concat())?;
    Ok(client.receive()?.status)
}

/// 200 requests on four connections, and one of each kind on another.
fn http_traffic(port: u16) -> Result<()> {
    Load::connect(port, 4)?.run(200, |number| format!("/200?id={number}"))?;
    let mut client = Client::connect(port)?;
    for status in [200, 201, 304, 404, 500] {
        ensure!(send(&mut client, &format!("GET /{status}?way=get"), "", b"")? == status);
    }
    let body = vec![b'x'; 100_000];
    ensure!(send(&mut client, "POST /200?way=length", "Content-Length: 100000\r\n", &body)? == 200);
    ensure!(send(&mut client, "PUT /500?way=length", "Content-Length: 3\r\n", b"GET")? == 500);
    let chunks = b"3\r\nGET\r\n2\r\n /\r\n0\r\n\r\n";
    ensure!(send(&mut client, "POST /404?way=chunks", "Transfer-Encoding: chunked\r\n", chunks)? == 404);
    ensure!(send(&mut client, "DELETE /202", "", b"")? == 202);
    let paths: Vec<String> = (0..20).map(|number| format!("/{}?pipelined={number}", 200 + number % 2)).collect();
    client.pipeline(&paths)?;
    Ok(())
}

/// How many requests [`http_traffic`] makes.
const REQUESTS: usize = 200 + 9 + 20;

#[test]
fn http_is_what_tshark_reads() -> Result<()> {
    let app = bodies()?;
    let nginx = Nginx::proxy(app.port())?;
    let tcpdump = Tcpdump::start(&[app.port(), nginx.port()], &["-i", "lo"])?;
    http_traffic(nginx.port())?;
    let capture = tcpdump.stop()?;
    let outcome = syspan::replay(&capture.file(), &[])?;
    outcome.assert_nothing_lost();
    for port in [nginx.port(), app.port()] {
        let expected = tshark::http(&capture.file(), port)?;
        assert_eq!(expected.values().map(Vec::len).sum::<usize>(), REQUESTS);
        assert_eq!(requests(&outcome.spans, &on(port)), expected);
    }
    // Both ends of each: the wire joins them, and nothing else is claimed.
    let clients: BTreeMap<_, _> = outcome.spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let (servers, others): (Vec<&Span>, Vec<&Span>) = outcome.spans.iter().partition(|span| span.is_http_server());
    assert_eq!((servers.len(), others.len()), (2 * REQUESTS, 2 * REQUESTS));
    for server in servers {
        let client = clients.get(server.parent_span_id.as_str()).with_context(|| format!("{server:?}"))?;
        assert_eq!((client.kind, client.service(), client.parent_span_id.as_str()), (Kind::Client, "127.0.0.1", ""));
        assert!(client.attribute("url.full").ends_with(&server.target()), "{client:?} {server:?}");
        assert_eq!((client.start, client.end), (server.start, server.end));
        assert_eq!(server.attribute("syspan.parent.evidence"), "socket");
    }
    Ok(())
}

/// Connections for one request, and connections for many.
#[test]
fn fastcgi_is_what_tshark_reads() -> Result<()> {
    for start in [PhpFpm::over_tcp, PhpFpm::kept_open] {
        let php = start(&[])?;
        let port = php.fastcgi_port().context("PHP listens on a port")?;
        let tcpdump = Tcpdump::start(&[port], &["-i", "lo"])?;
        let mut client = Client::connect(php.port())?;
        let mut sent = BTreeMap::new();
        for round in 0..50 {
            for (path, status) in
                [("/hello", 200), ("/nothing", 404), ("/checkout?id=x", 400), ("/echo?length=99999", 200)]
            {
                let separator = if path.contains('?') { '&' } else { '?' };
                let path = format!("{path}{separator}round={round}");
                ensure!(client.get(&path)?.status == status, "{path}");
                sent.insert(path, status.to_string());
            }
        }
        let capture = tcpdump.stop()?;
        let outcome = syspan::replay(&capture.file(), &[])?;
        outcome.assert_nothing_lost();
        let requests = requests(&outcome.spans, &on(port));
        let statuses = |own: &Vec<_>| own.iter().map(|(_, _, status): &(_, _, String)| status.clone()).collect();
        let by_port: BTreeMap<String, Vec<String>> =
            requests.iter().map(|(port, own)| (port.clone(), statuses(own))).collect();
        assert_eq!(by_port, tshark::fastcgi(&capture.file(), port)?);
        let told = requests.into_values().flatten().map(|(_, target, status)| (target, status));
        assert_eq!(told.collect::<BTreeMap<_, _>>(), sent);
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn script(file: &str) -> PathBuf {
    syspan_tests::sources().join("apps/databases").join(file)
}

fn node(file: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(script(file)).env("NODE_PATH", syspan_tests::target().join("apps/node/node_modules"));
    node
}

#[test]
fn postgresql_is_what_tshark_reads() -> Result<()> {
    let postgres = Postgres::start()?;
    // All interfaces: the link type is LINUX_SLL2.
    let tcpdump = Tcpdump::start(&[postgres.port()], &["-i", "any"])?;
    run(Command::new(apps::python("bin/python")?)
        .arg(script("postgres.py"))
        .arg("statements")
        .envs(postgres.environment()))?;
    run(node("postgres.js").envs(postgres.environment()))?;
    let capture = tcpdump.stop()?;
    let outcome = syspan::replay(&capture.file(), RAW)?;
    outcome.assert_nothing_lost();
    let expected = tshark::postgresql(&capture.file(), postgres.port())?;
    assert_eq!(expected.len(), 17 + 12);
    assert_eq!(statements(&outcome.spans), expected);
    Ok(())
}

#[test]
fn mysql_is_what_tshark_reads() -> Result<()> {
    let (mariadb, folder) = (MariaDb::start()?, TempDir::with_prefix("captures-")?);
    // The older link type of all interfaces, and times in nanoseconds.
    let options = ["-i", "any", "-y", "LINUX_SLL", "--time-stamp-precision=nano"];
    let tcpdump = Tcpdump::start(&[mariadb.port()], &options)?;
    run(Command::new(apps::python("bin/python")?)
        .arg(script("mariadb.py"))
        .arg("statements")
        .env("ITEMS", folder.path().join("items"))
        .envs(mariadb.environment()))?;
    run(node("mariadb.js").envs(mariadb.environment()))?;
    let capture = tcpdump.stop()?;
    let outcome = syspan::replay(&capture.file(), RAW)?;
    outcome.assert_nothing_lost();
    let expected = tshark::mysql(&capture.file(), mariadb.port())?;
    assert_eq!(expected.len(), 12 + 9);
    assert_eq!(statements(&outcome.spans), expected);
    Ok(())
}

/// The same traffic by two ways that have nothing in common but the parsers: the kernel's system calls, and the wire.
#[test]
fn the_wire_shows_what_the_system_calls_show() -> Result<()> {
    let (postgres, mariadb) = (Postgres::start()?, MariaDb::start()?);
    let orders = App::orders(&[postgres.environment(), mariadb.environment()].concat())?;
    let (bodies, proxy) = (bodies()?, Nginx::proxy(orders.port())?);
    let ports = [postgres.port(), mariadb.port(), orders.port(), bodies.port(), proxy.port()];
    let tcpdump = Tcpdump::start(&ports, &["-i", "lo"])?;
    let syspan = Syspan::run(&[orders.pid(), bodies.pid(), proxy.pid()], RAW)?;
    http_traffic(bodies.port())?;
    let mut load = Load::connect(proxy.port(), 8)?;
    for path in ["checkout", "mariadb/plain", "mariadb/prepared", "mariadb/repeated"] {
        load.run(100, |number| format!("/{path}?id={number}"))?;
    }
    let mut live = syspan.stop()?;
    let wire = syspan::replay(&tcpdump.stop()?.file(), RAW)?;
    live.spans.sort_by_key(|span| span.start);
    live.assert_nothing_lost();
    wire.assert_nothing_lost();

    let answered = |port, count| -> Result<()> {
        let on_the_wire = requests(&wire.spans, &on(port));
        let ports = &on_the_wire.keys().collect::<Vec<_>>();
        let services = live.spans.iter().filter(|span| {
            span.is_http_server() && ports.iter().any(|port| *port == span.attribute("network.peer.port"))
        });
        let service = services.map(Span::service).next().context("nobody has answered")?;
        assert_eq!(on_the_wire.values().map(Vec::len).sum::<usize>(), count);
        let live: Requests =
            requests(&live.spans, service).into_iter().filter(|(port, _)| on_the_wire.contains_key(port)).collect();
        assert_eq!(on_the_wire, live);
        Ok(())
    };
    answered(bodies.port(), REQUESTS)?;
    answered(proxy.port(), 400)?;
    answered(orders.port(), 400)?;

    let executed = |spans: &[Span]| {
        let mut statements: Vec<_> = spans
            .iter()
            .filter(|span| span.is_sql())
            .map(|span| {
                let attribute = |name| span.attribute(name).to_owned();
                (
                    attribute("db.query.text"),
                    attribute("error.type"),
                    attribute("db.namespace"),
                    attribute("server.port"),
                )
            })
            .collect();
        statements.sort();
        statements
    };
    assert_eq!(executed(&wire.spans), executed(&live.spans));
    assert_eq!(executed(&wire.spans).len(), 5 * 100);
    Ok(())
}

/// Captures that others have made (tests/build.rs looks whether they are there).
fn collection() -> PathBuf {
    syspan_tests::sources().join("../../shared/data/pcap")
}

/// tshark takes PostgreSQL's text for ASCII, whatever `client_encoding` is, and shows something else for every other byte.
fn ascii(statements: Statements) -> Statements {
    statements.into_iter().map(|(text, error)| (text.replace(|letter: char| !letter.is_ascii(), ""), error)).collect()
}

#[test]
#[cfg_attr(not(captures), ignore = "no captures beside the project")]
fn captures_by_others_are_what_tshark_reads() -> Result<()> {
    let folder = collection();
    let file = folder.join("http/httpv1.pcap");
    let outcome = syspan::replay(&file, &[])?;
    outcome.assert_nothing_lost();
    assert_eq!(requests(&outcome.spans, "120.52.183.165:80"), tshark::http(&file, 80)?);

    for (name, port, count) in [
        ("mysql-error", 20130, 2),
        ("mysql-exec", 30130, 1),
        ("mysql-table-insert", 20130, 2),
        ("mysql-table-select", 20130, 2),
    ] {
        let file = folder.join(format!("mysql/{name}.pcap"));
        let outcome = syspan::replay(&file, RAW)?;
        outcome.assert_nothing_lost();
        let expected = tshark::mysql(&file, port)?;
        assert_eq!((statements(&outcome.spans), outcome.spans.len()), (expected, count), "{name}");
    }

    // Most of its statements were prepared before: neither knows their text.
    let file = folder.join("postgre/pgsql-all.pcap");
    let outcome = syspan::replay(&file, RAW)?;
    let expected = tshark::postgresql(&file, 8000)?;
    let unknown = expected.iter().filter(|(text, _)| text.is_empty()).count() as u64;
    assert_eq!((expected.len(), outcome.losses), (32, [("unknown_statement".to_owned(), unknown)].into()));
    assert_eq!(ascii(statements(&outcome.spans)), ascii(expected));
    Ok(())
}

#[test]
#[cfg_attr(not(captures), ignore = "no captures beside the project")]
fn other_protocols_are_said_to_be_unknown() -> Result<()> {
    let folder = collection();
    // Of the first two, the server's first bytes are not in the file.
    for (name, connections, missing) in [
        ("http/http2-multi", 1, true),
        ("http/grpc-unary", 1, true),
        ("redis/redis-debug", 1, false),
        ("redis/redis-error", 1, false),
        ("mongo/mongo-msg", 1, false),
        ("kafka/00-produce-v2", 1, false),
        ("kafka/01-fetch-v12-ok", 1, false),
        ("amqp/amqp2", 2, false),
    ] {
        let outcome = syspan::replay(&folder.join(format!("{name}.pcap")), &[])?;
        // Each end of a connection counts.
        let mut losses = BTreeMap::from([("unknown_protocol".to_owned(), 2 * connections)]);
        losses.extend(missing.then(|| ("packet_missing".to_owned(), 1)));
        assert_eq!((outcome.losses, outcome.spans), (losses, vec![]), "{name}");
    }
    Ok(())
}

/// Spans without their ids, which each file has its own of, in an order that does not depend on them.
fn told(spans: &[Span]) -> Vec<Span> {
    let mut told = spans.to_vec();
    for span in &mut told {
        for id in [&mut span.trace_id, &mut span.span_id, &mut span.parent_span_id] {
            id.clear();
        }
    }
    told.sort_by(|one, other| {
        let key = |span: &Span| (span.start, span.kind, span.attributes.clone());
        key(one).cmp(&key(other))
    });
    told
}

/// A capture of HTTP requests on a few connections.
fn http_capture() -> Result<(Capture, String)> {
    let app = bodies()?;
    let tcpdump = Tcpdump::start(&[app.port()], &["-i", "lo"])?;
    http_traffic(app.port())?;
    Ok((tcpdump.stop()?, on(app.port())))
}

#[test]
fn every_form_of_the_same_capture_gives_the_same_spans() -> Result<()> {
    let (capture, service) = http_capture()?;
    let original = syspan::replay(&capture.file(), &[])?;
    assert_eq!(original.spans.len(), 2 * REQUESTS);
    for format in ["pcapng", "nsecpcap", "modpcap"] {
        let file = capture.edited(format, &["-F", format])?;
        ensure!(fs::read(&file)?[..4] != fs::read(capture.file())?[..4], "{format} is another format");
        let edited = syspan::replay(&file, &[])?;
        assert_eq!((told(&edited.spans), edited.losses), (told(&original.spans), original.losses.clone()), "{format}");
    }
    // Packets that are there twice, and in another order: nothing changes.
    let twice = capture.file().with_file_name("twice.pcap");
    run(Command::new("mergecap").args(["-F", "pcap", "-w"]).arg(&twice).arg(capture.file()).arg(capture.file()))?;
    let twice = syspan::replay(&twice, &[])?;
    assert_eq!((told(&twice.spans), twice.losses), (told(&original.spans), original.losses.clone()));
    // From standard input.
    let file = capture.file();
    let mut replay = Command::new(syspan::program());
    let printed = replay.args(["replay", "--output", "otlp-json", "-"]).stdin(File::open(&file)?).output()?;
    let mut spans = otlp::read(&String::from_utf8(printed.stdout)?)?;
    spans.sort_by_key(|span| span.start);
    assert_eq!(spans, original.spans);
    // With a short snap length, the heads are still there, twenty of them in one packet.
    let cut = syspan::replay(&capture.edited("cut", &["-s", "4000"])?, &[])?;
    assert_eq!(requests(&cut.spans, &service), requests(&original.spans, &service));
    assert!(cut.losses.keys().eq(["packet_cut"]), "{:?}", cut.losses);
    Ok(())
}

/// Whatever packet a capture lacks, no answer goes to another request, and the loss is counted.
#[test]
fn a_capture_that_lacks_packets() -> Result<()> {
    let (capture, service) = http_capture()?;
    let whole = requests(&syspan::replay(&capture.file(), &[])?.spans, &service);
    let answers: BTreeMap<_, _> =
        whole.values().flatten().map(|(method, target, status)| ((method, target), status)).collect();
    let packets = count(&capture.file())?;
    let (mut lossy, mut spans) = (0, 0);
    for lacking in (1..packets).step_by(packets / 40) {
        let lacking = [lacking, lacking + 1, lacking + 7].map(|number| number.to_string()).join(" ");
        let edited = capture.file().with_file_name("lacking.pcap");
        run(Command::new("editcap").arg(capture.file()).arg(&edited).args(lacking.split(' ')))?;
        let outcome = syspan::replay(&edited, &[])?;
        lossy += usize::from(!outcome.losses.is_empty());
        for (method, target, status) in requests(&outcome.spans, &service).values().flatten() {
            spans += 1;
            let right = answers.get(&(method, target)).with_context(|| format!("{method} {target} was not sent"))?;
            assert!(status.is_empty() || status == *right, "without {lacking}: {method} {target} {status}");
        }
    }
    assert!(lossy > 20, "packets of data were left out in {lossy} files only");
    assert!(spans > 30 * REQUESTS, "the other requests are still there: {spans}");
    Ok(())
}

/// Packets of a capture.
fn count(file: &Path) -> Result<usize> {
    let output = Command::new("capinfos").args(["-r", "-T", "-m", "-c"]).arg(file).output()?;
    let printed = String::from_utf8(output.stdout)?;
    let number = printed.trim().rsplit(',').next().unwrap_or_default();
    number.trim_matches('"').parse().with_context(|| printed.clone())
}
