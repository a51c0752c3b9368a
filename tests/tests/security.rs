//! What the agent may do, what it tells of what it saw, and what hostile processes do to it (docs/security.md).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use syspan_tests::{
    apps::App,
    http::{self, Client},
    otlp::Span,
    ports,
    receiver::Receiver,
    server::Server,
    syspan::{self, Syspan},
    wait,
};
use tempfile::TempDir;

/// The documented list, as setpriv(1) takes it, and the bits of `/proc/PID/status`.
const CAPABILITIES: [&str; 4] = ["bpf", "perfmon", "sys_ptrace", "dac_read_search"];
/// CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (include/uapi/linux/capability.h).
const LOOKING: u64 = 1 << 19 | 1 << 2;
/// CAP_PERFMON.
const PROBING: u64 = 1 << 38;

/// A Python that any user may run, and that a copy of it can be: Debian's.
const PYTHON: &str = "/usr/bin/python3";

/// The agent's program where every user may run it: the build folder may be closed to others.
struct Installed {
    _folder: TempDir,
    program: PathBuf,
}

impl Installed {
    fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("security-")?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let program = folder.path().join("syspan");
        fs::copy(syspan::program(), &program)?;
        Ok(Self { _folder: folder, program })
    }

    /// Run by a user of no importance with these capabilities.
    fn with(&self, capabilities: &[&str]) -> Command {
        let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
        for kind in ["inh-caps", "bounding-set", "ambient-caps"] {
            command.arg(format!("--{kind}=-all{set}"));
        }
        command.arg(&self.program);
        command
    }
}

fn named(name: &str) -> [(String, String); 1] {
    [("OTEL_SERVICE_NAME".to_owned(), name.to_owned())]
}

fn forking() -> PathBuf {
    syspan_tests::sources().join("apps/forking/forking.py")
}

fn only_server(spans: &[Span]) -> &Span {
    let mut servers = spans.iter().filter(|span| span.is_http_server());
    let span = servers.next().unwrap_or_else(|| panic!("no span of a server in {spans:#?}"));
    assert!(servers.next().is_none(), "{spans:#?}");
    span
}

#[test]
fn the_documented_capabilities_are_enough() -> Result<()> {
    let installed = Installed::new()?;
    // Root's process: everything about it is closed to the agent's user.
    let app = App::script(&forking(), &named("of-root"))?;
    let port = app.port().to_string();
    let syspan =
        Syspan::start_by(&installed.with(&CAPABILITIES), &["--output", "otlp-json", "--port", &port], &[], &[])?;
    ensure!(http::get(app.port(), "/seen")?.status == 200);
    let outcome = syspan.stop()?;
    let span = only_server(&outcome.spans);
    assert_eq!((span.service(), span.target().as_str()), ("of-root", "/seen"));
    assert!(span.resource["process.executable.path"].contains("python"), "{:?}", span.resource);
    assert_eq!(outcome.messages.lines().next(), Some("syspan: ready (1 process)"), "{}", outcome.messages);
    Ok(())
}

#[test]
fn a_missing_capability_is_said() -> Result<()> {
    let installed = Installed::new()?;
    let without = |missing: &str| -> Result<Output> {
        let kept: Vec<&str> = CAPABILITIES.into_iter().filter(|name| *name != missing).collect();
        Ok(installed.with(&kept).args(["run", "--all", "--duration", "1s", "--output", "none"]).output()?)
    };
    for (capability, needed) in [("bpf", true), ("perfmon", true), ("sys_ptrace", false), ("dac_read_search", false)] {
        let output = without(capability)?;
        let messages = String::from_utf8(output.stderr)?;
        let remedy = format!("CAP_{}", capability.to_uppercase());
        let sentence = messages.lines().find(|line| line.contains(&remedy)).with_context(|| messages.clone())?;
        assert!(sentence.starts_with("syspan: "), "{sentence}");
        if needed {
            assert_eq!(output.status.code(), Some(1), "{messages}");
            assert_eq!(messages.lines().count(), 1, "{messages}");
        }
    }
    Ok(())
}

#[test]
fn propagation_takes_one_capability_more() -> Result<()> {
    let installed = Installed::new()?;
    let app = App::script(&forking(), &named("of-root"))?;
    let pid = app.pid().to_string();
    for carrier in ["tcp", "headers=force"] {
        let arguments = ["--output", "otlp-json", "--propagate", carrier];
        let output = installed.with(&CAPABILITIES).arg("run").args(arguments).args(["--pid", &pid]).output()?;
        let messages = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{messages}");
        assert!(messages.starts_with("syspan: ") && messages.contains("CAP_NET_ADMIN"), "{messages}");
        assert_eq!(messages.lines().count(), 1, "{messages}");

        let enough = [&CAPABILITIES[..], &["net_admin"]].concat();
        let syspan = Syspan::start_by(&installed.with(&enough), &arguments, &[app.pid()], &[])?;
        ensure!(http::get(app.port(), "/seen")?.status == 200);
        assert_eq!(only_server(&syspan.stop()?.spans).target(), "/seen");
    }
    Ok(())
}

/// The fields of a `status` file that tell what a thread may do.
fn rights(status: &str) -> BTreeMap<&str, u64> {
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(name, _)| name.starts_with("Cap") || *name == "NoNewPrivs")
        .map(|(name, value)| (name, u64::from_str_radix(value.trim(), 16).unwrap_or(u64::MAX)))
        .collect()
}

#[test]
fn every_thread_gives_up_what_it_does_not_need() -> Result<()> {
    let receiver = Receiver::start("http/protobuf")?;
    let port = ports::free()?;
    let endpoint = format!("http://127.0.0.1:{}", receiver.port());
    let syspan = Syspan::start(&["--output", "otlp-json", "--otlp", &endpoint, "--port", &port.to_string()], &[], &[])?;
    // What appears later is still found, read and exported, though it is another user's.
    let folder = TempDir::with_prefix("security-")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let script = folder.path().join("forking.py");
    fs::copy(forking(), &script)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", PYTHON]).arg(&script);
    command.env("PORT", port.to_string()).env("OTEL_SERVICE_NAME", "of-nobody");
    let mut app = Server::start("app", folder.path(), &command)?;
    app.wait_for_port(port)?;
    wait::until("the process to be observed", wait::START, || {
        http::get(port, "/later")?;
        Ok((syspan.printed()?.contains("/later") && !receiver.requests()?.is_empty()).then_some(()))
    })?;

    let mut seen = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{}/task", syspan.pid()))? {
        let folder = thread?.path();
        let name = fs::read_to_string(folder.join("comm"))?.trim().to_owned();
        let status = fs::read_to_string(folder.join("status"))?;
        let rights = rights(&status);
        // Only what exports talks to strangers, and it may nothing.
        let kept = match name.as_str() {
            "syspan" => LOOKING | PROBING,
            "identities" => LOOKING,
            _ => 0,
        };
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(rights[set], kept, "{set} of {name}: {status}");
        }
        // A thread that was started when the others had given up theirs can no longer reduce its bounding set.
        let bound = if name == "identities" { rights["CapBnd"] & !PROBING } else { rights["CapBnd"] };
        assert_eq!(bound, kept, "CapBnd of {name}: {status}");
        assert_eq!((rights["CapInh"], rights["CapAmb"], rights["NoNewPrivs"]), (0, 0, 1), "{name}: {status}");
        *seen.entry(name).or_insert(0) += 1;
    }
    assert!(
        seen.len() > 2 && ["identities", "tokio-rt-worker"].iter().all(|name| seen.contains_key(*name)),
        "{seen:?}"
    );
    let outcome = syspan.stop()?;
    assert!(outcome.spans.iter().all(|span| span.service() == "of-nobody"), "{:#?}", outcome.spans);
    Ok(())
}

#[test]
fn a_traced_command_keeps_all_rights() -> Result<()> {
    let script = "cat /proc/self/status; ulimit -a";
    let rights_of = |output: Output| -> Result<Vec<String>> {
        ensure!(output.status.success());
        let text = String::from_utf8(output.stdout)?;
        let told = |line: &&str| {
            line.starts_with("Cap") || line.starts_with("NoNewPrivs") || line.starts_with("Sig") || line.contains('(')
        };
        // What is pending or queued, and which signals a shell catches, is no right.
        Ok(text
            .lines()
            .filter(told)
            .filter(|line| !line.starts_with("SigQ") && !line.starts_with("State"))
            .map(str::to_owned)
            .collect())
    };
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let expected = rights_of(command.output()?)?;
    assert!(expected.iter().any(|line| line.starts_with("CapEff:")), "{expected:?}");
    assert_eq!(rights_of(syspan::exec_output(&["--output", "none"], &command)?)?, expected);
    Ok(())
}

/// `syspan exec` of a shell script that writes a line when it is ready; its status after it was sent a signal.
fn signalled(script: &str, signal: Signal) -> Result<Option<i32>> {
    let folder = TempDir::with_prefix("security-")?;
    let mut command = Command::new(syspan::program());
    command.args(["exec", "--output", "none", "--", "sh", "-c", script]);
    let mut server = Server::start("exec", folder.path(), &command)?;
    server.wait_for("script runs")?;
    kill_process(Pid::from_raw(i32::try_from(server.pid())?).context("process 0")?, signal)?;
    let status = server.wait_for_end(wait::START)?;
    assert!(server.output()?.contains("nothing lost"), "{}", server.output()?);
    Ok(status.code())
}

#[test]
fn signals_are_passed_on_to_the_command() -> Result<()> {
    let waits = "echo script runs; exec sleep 1000";
    assert_eq!(signalled(waits, Signal::TERM)?, Some(128 + 15));
    assert_eq!(signalled(waits, Signal::INT)?, Some(128 + 2));
    let own = "trap 'kill $child; exit 7' TERM; sleep 1000 & child=$!; echo script runs; wait";
    assert_eq!(signalled(own, Signal::TERM)?, Some(7), "the command decides how it ends");
    // The command has become another user's.
    let other = "echo script runs; exec setpriv --reuid nobody --clear-groups sleep 1000";
    assert_eq!(signalled(other, Signal::TERM)?, Some(128 + 15));
    Ok(())
}

/// Text that no terminal should be given as it is.
const ESCAPES: &str = "\u{1b}[31m\u{7}\u{8}\r\u{9b}2J\u{202e}\u{200b}";

/// What must not be told to anybody.
const SECRETS: [&str; 10] = [
    "canary-authorization",
    "canary-cookie",
    "canary-set-cookie",
    "canary-body",
    "canary-answer",
    "canary-userinfo",
    "canary-sig",
    "canary-literal",
    "canary-environment",
    "canary-argument",
];

/// tests/apps/hostile/secrets.py under a name that is an escape sequence.
struct Hostile {
    server: Server,
    _folder: TempDir,
    port: u16,
}

impl Hostile {
    fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("security-")?;
        let script = folder.path().join(format!("canary{ESCAPES}.py"));
        fs::copy(syspan_tests::sources().join("apps/hostile/secrets.py"), &script)?;
        let port = ports::free()?;
        let mut command = Command::new(PYTHON);
        command.arg(&script).args(["--password=canary-argument", "canary-argument"]);
        command.envs([("ANSWER", "canary-answer"), ("COOKIE", "session=canary-set-cookie")]);
        command.env("PORT", port.to_string()).env("DATABASE_PASSWORD", "canary-environment");
        let mut server = Server::start("hostile", folder.path(), &command)?;
        server.wait_for_port(port)?;
        Ok(Self { server, _folder: folder, port })
    }

    fn ask(&self) -> Result<()> {
        let statement = format!("SELECT 'canary-literal', {ESCAPES} FROM \"a{ESCAPES}b\" WHERE n = 'canary-literal'");
        let encoded: String = statement.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let body = "canary-body";
        // A space would end the target, and so would the end of the line.
        let path = format!("/path{}?sig=canary-sig&q=1", ESCAPES.replace('\r', ""));
        let request = format!(
            "POST http://canary-userinfo:canary-userinfo@shop.test{path} HTTP/1.1\r\nHost: shop.test\r\n\
             User-Agent: {}\r\nAuthorization: Bearer canary-authorization\r\nCookie: id=canary-cookie\r\n\
             X-Statement: {encoded}\r\nContent-Length: {}\r\n\r\n{body}",
            ESCAPES.replace('\r', ""),
            body.len()
        );
        let mut client = Client::connect(self.port)?;
        client.send(request.as_bytes())?;
        let response = client.receive()?;
        ensure!(response.status == 200, "{response:?}");
        Ok(())
    }
}

#[track_caller]
fn assert_harmless(text: &str, what: &str) {
    let active = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200b}".contains(c);
    if let Some(line) = text.lines().find(|line| line.contains(active)) {
        panic!("{what} has {line:?}");
    }
}

#[track_caller]
fn assert_no_secrets(text: &str, what: &str) {
    for secret in SECRETS {
        if let Some(line) = text.lines().find(|line| line.contains(secret)) {
            panic!("{what} has {secret}: {line}");
        }
    }
}

#[test]
fn nothing_that_was_seen_takes_over_the_terminal_or_gives_secrets_away() -> Result<()> {
    let hostile = Hostile::start()?;
    for format in ["text", "tree"] {
        let log = [("SYSPAN_LOG", "trace".to_owned())];
        let syspan = Syspan::start(&["--output", format], &[hostile.server.pid()], &log)?;
        hostile.ask()?;
        let (printed, messages) = syspan.stop_unread()?;
        for told in ["SELECT", "/path"] {
            assert!(printed.contains(told), "{format}: {printed}");
        }
        assert!(messages.contains("nothing lost"), "{messages}");
        for (text, what) in [(&printed, format), (&messages, "the log")] {
            assert_harmless(text, what);
            assert_no_secrets(text, what);
        }
    }
    let output = syspan::output(&["check", "--pid", &hostile.server.pid().to_string()])?;
    let table = String::from_utf8(output.stdout)?;
    assert!(table.contains("canary\u{fffd}[31m"), "named after its script: {table}");
    assert_harmless(&table, "check");
    assert_no_secrets(&table, "check");
    Ok(())
}

#[test]
fn what_is_exported_holds_no_secrets() -> Result<()> {
    let hostile = Hostile::start()?;
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start(protocol)?;
        let endpoint = format!("http://127.0.0.1:{}", receiver.port());
        let environment = [
            ("SYSPAN_LOG", "trace".to_owned()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary-of-the-collector".to_owned()),
        ];
        let arguments = ["--output", "otlp-json", "--otlp", &endpoint, "--protocol", protocol];
        let syspan = Syspan::start(&arguments, &[hostile.server.pid()], &environment)?;
        hostile.ask()?;
        wait::until("the spans to be exported", wait::START, || {
            let exported = format!("{:?}", receiver.requests()?);
            Ok((exported.contains("/path") && exported.contains("SELECT")).then_some(()))
        })?;
        let (printed, log) = syspan.stop_unread()?;
        let requests = receiver.requests()?;
        assert_eq!(requests[0].headers["authorization"], "Bearer canary-of-the-collector");
        let messages: String = requests.iter().map(|request| format!("{}\n", request.message)).collect();
        for (text, what) in [(&printed, "otlp-json"), (&log, "the log"), (&messages, "OTLP")] {
            assert_no_secrets(text, what);
            assert!(!text.contains("canary-of-the-collector"), "{what}");
        }
        // SQL and URL are told, without what was secret in them.
        for told in ["SELECT ?", "/path", "sig=REDACTED"] {
            assert!(printed.contains(told) && messages.contains(told), "{told}: {messages}");
        }
        assert_harmless(&log, "the log");
        // JSON escapes C0 alone, and is for programs.
        assert!(!printed.contains(|c: char| c < ' ' && c != '\n'), "{printed}");
    }
    Ok(())
}

/// A copy of Python that is called `node`, so that the name of the service is looked for in package.json.
fn node_of(folder: &Path, script: &Path, port: u16) -> Result<Command> {
    fs::copy(PYTHON, folder.join("node"))?;
    fs::copy(script, folder.join("server.js"))?;
    fs::File::create(folder.join("package.json"))?.write_all(br#"{"name": "from-the-package"}"#)?;
    let mut command = Command::new(folder.join("node"));
    command.arg(folder.join("server.js")).env("PORT", port.to_string()).stdin(Stdio::null());
    Ok(command)
}

#[test]
#[cfg_attr(not(fuse), ignore = "there is no /dev/fuse (`modprobe fuse`)")]
fn a_process_whose_files_hang_does_not_hold_up_others() -> Result<()> {
    let (folder, other_folder) = (TempDir::with_prefix("security-")?, TempDir::with_prefix("security-")?);
    let (port, other_port) = (ports::free()?, ports::free()?);
    let hang = node_of(folder.path(), &syspan_tests::sources().join("apps/hostile/hang.py"), port)?;
    let other = node_of(other_folder.path(), &forking(), other_port)?;
    let mut hanging = Server::start("hang", folder.path(), &hang)?;
    hanging.wait_for_port(port)?;
    let syspan = Syspan::run(&[], &["--port", &port.to_string(), "--port", &other_port.to_string()])?;
    let mut others = Server::start("other", other_folder.path(), &other)?;
    others.wait_for_port(other_port)?;
    wait::until("both to be seen", wait::START, || {
        ensure!(http::get(port, "/hanging")?.status == 204);
        ensure!(http::get(other_port, "/other")?.status == 200);
        let printed = syspan.printed()?;
        Ok((printed.contains("/hanging") && printed.contains("/other")).then_some(()))
    })?;
    let outcome = syspan.stop()?;
    for span in outcome.spans.iter().filter(|span| span.is_http_server()) {
        let expected = if span.target() == "/hanging" { "unknown_service:node" } else { "from-the-package" };
        assert_eq!(span.service(), expected, "{span:#?}");
    }
    Ok(())
}
