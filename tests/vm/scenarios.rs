//! Examines the kernel by `syspan doctor`, then traces the service end to end, a scenario after the other.

mod expected;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use expected::{Expected, LeftOut};
use rustix::process::{Resource, Rlimit, setrlimit};
use syspan_tests::{
    causes::marker,
    goroutines::{Compared, compare},
    http::{Client, Load},
    ports,
    postgres::Postgres,
    recording::Recorder,
    server::Server,
    syspan::{self, Syspan},
    wait,
};
use tempfile::TempDir;

use crate::report::Report;

/// tests/apps/go-goroutines.
const GO: &str = "/usr/bin/go-goroutines";

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A name for the table, and what it is.
type Scenario = (&'static str, fn(&Machine) -> Result<()>);

/// How often a scenario is run in which the kernel has left out system calls ([`LeftOut`]).
const RUNS: u32 = 10;

const SCENARIOS: &[Scenario] = &[
    ("HTTP keep-alive, IPv4 and IPv6", keep_alive),
    ("HTTP pipelining", pipelining),
    ("PostgreSQL, TCP and Unix socket", statements),
    ("connections older than the agent", older_connections),
    ("agent killed under load", killed),
    ("contexts by TCP option", contexts),
    ("four capabilities instead of root", restricted),
    ("goroutines, http.Client", goroutines),
    ("which thread wakes which", wakes),
];

/// Runs everything; what fails is in the report, and only a report that cannot be made is an error.
pub(crate) fn run() -> Result<()> {
    let mut report = Report::open()?;
    let untouched = InKernel::now()?;
    let started = Instant::now();
    report.doctor(doctor()?, started.elapsed().as_secs_f64())?;
    let machine = Machine::start(untouched);
    for (name, scenario) in SCENARIOS {
        let started = Instant::now();
        let (mut runs, mut outcome);
        runs = 1;
        loop {
            outcome = match &machine {
                Ok(machine) => scenario(machine),
                Err(error) => Err(anyhow::anyhow!("the servers did not start: {error:?}")),
            };
            let left_out = outcome.as_ref().is_err_and(|error| error.is::<LeftOut>());
            if !left_out || runs == RUNS {
                break;
            }
            runs += 1;
        }
        report.scenario(name, started.elapsed().as_secs_f64(), runs, &outcome)?;
    }
    report.end()
}

fn doctor() -> Result<serde_json::Value> {
    let output = syspan::output(&["doctor", "--output", "json"])?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("syspan doctor said:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The servers that all scenarios use.
struct Machine {
    _postgres: Postgres,
    _orders: Server,
    _folder: TempDir,
    port: u16,
    /// What BPF there was before the first agent: those that ended may take a while to be freed.
    untouched: InKernel,
}

impl Machine {
    fn start(untouched: InKernel) -> Result<Self> {
        let postgres = Postgres::start()?;
        let folder = TempDir::with_prefix("orders-")?;
        let port = ports::free()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["orders", "--port", &port.to_string(), "--database", &postgres.port().to_string()]);
        command.arg("--database-socket").arg(database_socket(&postgres)).env("OTEL_SERVICE_NAME", expected::SERVER);
        let mut orders = Server::start("orders", folder.path(), &command)?;
        orders.wait_for_port(port)?;
        Ok(Self { _postgres: postgres, _orders: orders, _folder: folder, port, untouched })
    }

    /// A connection whose server's thread has its sessions with PostgreSQL open.
    fn connect(&self, address: IpAddr) -> Result<Client> {
        let mut client = Client::connect_to((address, self.port).into())?;
        ensure!(client.get("/hello?before")?.status == 200, "the service does not answer");
        Ok(client)
    }
}

fn database_socket(postgres: &Postgres) -> PathBuf {
    postgres.socket_folder().join(format!(".s.PGSQL.{}", postgres.port()))
}

/// Observes this process, the client, and its children, the service among them.
fn observe() -> Result<Syspan> {
    Syspan::run(&[std::process::id()], &["--sql-text", "raw"])
}

fn keep_alive(machine: &Machine) -> Result<()> {
    let mut expected = Expected::default();
    let syspan = observe()?;
    for address in [LOCALHOST, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let mut client = machine.connect(address)?;
        expected.request(address, "/hello?before");
        for number in 0..10 {
            client.get(&expected.request(address, &format!("/hello?id={number}")))?;
        }
        client.close()?;
    }
    expected.check(&syspan.stop()?)
}

fn pipelining(machine: &Machine) -> Result<()> {
    let mut expected = Expected::default();
    let syspan = observe()?;
    let mut client = machine.connect(LOCALHOST)?;
    expected.request(LOCALHOST, "/hello?before");
    let targets: Vec<String> = (0..10).map(|number| format!("/hello?id={number}")).collect();
    let responses = client.pipeline(&targets)?;
    ensure!(responses.iter().all(|response| response.status == 200), "{responses:?}");
    for target in &targets {
        expected.request(LOCALHOST, target);
    }
    client.close()?;
    expected.check(&syspan.stop()?)
}

fn statements(machine: &Machine) -> Result<()> {
    let mut expected = Expected::default();
    let syspan = observe()?;
    let mut client = machine.connect(LOCALHOST)?;
    expected.request(LOCALHOST, "/hello?before");
    for number in 0..5 {
        client.get(&expected.checkout(LOCALHOST, number))?;
    }
    client.close()?;
    expected.check(&syspan.stop()?)
}

/// Connections that were open before, on both ends and to PostgreSQL. Each has a call under way when the agent comes,
/// whose entry was not seen: what the first request shows is not judged, all that follows is.
fn older_connections(machine: &Machine) -> Result<()> {
    const FIRST: usize = 1_000;
    let mut expected = Expected::of_older_sessions();
    let mut clients = [machine.connect(LOCALHOST)?, machine.connect(LOCALHOST)?];
    let syspan = observe()?;
    let first = format!("/checkout?id={FIRST}");
    for client in &mut clients {
        client.get(&first)?;
    }
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.get(&expected.checkout(LOCALHOST, 10 * round + number))?;
        }
    }
    for client in clients {
        client.close()?;
    }
    let mut outcome = syspan.stop()?;
    outcome.losses.remove("unmatched");
    outcome.spans.retain(|span| {
        let statement = marker(span).is_some_and(|marker| marker.starts_with(&format!("checkout-{FIRST}-")));
        !statement && span.target() != first && !span.attribute("url.full").ends_with(&first)
    });
    expected.check(&outcome)
}

/// No request fails when the agent ends without a word, nothing is left in the kernel, and another one can start.
fn killed(machine: &Machine) -> Result<()> {
    const ROUND: usize = 20;
    let mut load = Load::connect(machine.port, 4)?;
    let syspan = observe()?;
    let during = InKernel::now()?;
    ensure!(during.programs.len() > machine.untouched.programs.len(), "its programs are not listed: {during:?}");
    let (answered, killed) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| -> Result<()> {
        let loading = scope.spawn(|| -> Result<()> {
            let mut last = false;
            while !last {
                last = killed.load(Ordering::Relaxed);
                load.run(ROUND, |number| format!("/checkout?id={number}"))?;
                answered.fetch_add(ROUND, Ordering::Relaxed);
            }
            Ok(())
        });
        let kill = wait::until("the first answers", wait::START, || {
            Ok((loading.is_finished() || answered.load(Ordering::Relaxed) >= 2 * ROUND).then_some(()))
        })
        .and_then(|()| syspan.kill());
        killed.store(true, Ordering::Relaxed);
        match loading.join() {
            Ok(outcome) => outcome.and(kill),
            Err(_) => bail!("the load panicked"),
        }
    })?;
    // The kernel frees them in the background.
    wait::until("the kernel to free the agent's programs, maps and links", wait::START, || {
        Ok((InKernel::now()? == machine.untouched).then_some(()))
    })?;
    statements(machine).context("the next agent")
}

/// `--propagate tcp`: each request's context leaves the client and arrives at the service, on new connections; on older ones from
/// Linux 6.12 on, and the agent says so where not.
fn contexts(machine: &Machine) -> Result<()> {
    const REQUESTS: usize = 4;
    let mut older = machine.connect(LOCALHOST)?;
    let own = std::process::id();
    let recorder = Recorder::start(&["--propagate", "tcp", "--pid", &own.to_string()])?;
    for address in [LOCALHOST, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let mut client = machine.connect(address)?;
        for number in 1..REQUESTS {
            client.get(&format!("/hello?id={number}"))?;
        }
    }
    for number in 0..=REQUESTS {
        older.get(&format!("/hello?id={number}"))?;
    }
    let is_old_kernel = recorder.messages()?.contains("are older than syspan");
    let recording = recorder.stop()?;
    let left_out = recording.lost("preempted");
    let verdict = (|| {
        let sent = recording.contexts("write", Some(own));
        let arrived = recording.contexts("read", None);
        // The service was waiting in its first read on the older connection when the agent came.
        let expected = 2 * REQUESTS + if is_old_kernel { 0 } else { REQUESTS };
        let found = sent.iter().filter(|context| arrived.contains(context)).count();
        ensure!(found == expected, "{found} of {expected} contexts arrived: sent {sent:?}, arrived {arrived:?}");
        Ok(())
    })();
    if left_out > 0 { verdict.map_err(|error: anyhow::Error| error.context(LeftOut(left_out))) } else { verdict }
}

/// What BPF there is in the kernel, by its ids.
#[derive(Debug, PartialEq, Eq)]
struct InKernel {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl InKernel {
    fn now() -> Result<Self> {
        // One that is freed between the listing and the question is no error.
        let programs = aya::programs::loaded_programs().flatten().map(|program| program.id()).collect();
        let maps = aya::maps::loaded_maps().flatten().map(|map| map.id()).collect();
        let links = aya::programs::loaded_links().flatten().map(|link| link.id()).collect();
        Ok(Self { programs, maps, links })
    }
}

/// As deploy/systemd starts it: four capabilities, another user than the service's, and no limit on locked memory, which
/// kernels before 5.11 charge maps to.
fn restricted(machine: &Machine) -> Result<()> {
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    let mut expected = Expected::default();
    let syspan = Syspan::run_by(&capabilities()?, &[std::process::id()], &["--sql-text", "raw"])?;
    let mut client = machine.connect(LOCALHOST)?;
    expected.request(LOCALHOST, "/hello?before");
    for number in 0..3 {
        client.get(&expected.checkout(LOCALHOST, number))?;
    }
    client.close()?;
    expected.check(&syspan.stop()?)
}

/// A Go program. Its functions are probed after the agent gave up its privileges.
fn goroutines(_: &Machine) -> Result<()> {
    const REQUESTS: usize = 20;
    let (folder, port) = (TempDir::with_prefix("goroutines-")?, ports::free()?);
    let mut go = Server::start("go", folder.path(), Command::new(GO).env("PORT", port.to_string()))?;
    go.wait_for_port(port)?;
    let recorder = Recorder::start(&["--pid", &go.pid().to_string()])?;
    for path in ["/own", "/spawn", "/call"] {
        Load::connect(port, 4)?.run(REQUESTS, |_| path.to_owned())?;
    }
    let recording = recorder.stop()?;
    let verdict = compare(&recording).and_then(|compared| {
        let Compared { own, handed, untold } = compared;
        ensure!((own, handed + untold) == (2 * REQUESTS, REQUESTS), "{compared:?}");
        // The kernel passes over a probe in a program while a map is being changed on that CPU (`bpf_prog_active`), and when a CPU that is
        // emulated stands still, that may last.
        ensure!(untold == 0, LeftOut(untold as u64));
        Ok(())
    });
    LeftOut::of(&recording).excuse(verdict)
}

/// A program that is called as one whose threads work for each other. What tells of it is attached after the agent gave up its
/// privileges.
fn wakes(_: &Machine) -> Result<()> {
    const REQUESTS: usize = 20;
    let (folder, port) = (TempDir::with_prefix("handoff-")?, ports::free()?);
    let program = folder.path().join("java");
    std::fs::copy(std::env::current_exe()?, &program)?;
    let mut command = Command::new(&program);
    command.args(["handoff", "--port", &port.to_string()]);
    let mut handoff = Server::start("handoff", folder.path(), &command)?;
    handoff.wait_for_port(port)?;
    let recorder = Recorder::start(&["--pid", &handoff.pid().to_string()])?;
    let mut client = Client::connect(port)?;
    let mut said = String::new();
    for _ in 0..REQUESTS {
        said = String::from_utf8(client.get("/work")?.body)?;
    }
    let recording = recorder.stop()?;
    let told = |event: &serde_json::Value| {
        let id = |pointer| event.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0);
        format!("worker={} waiter={}", id("/task/tid"), id("/woken")) == said
    };
    // Not only those: a channel's own lock may make its threads wait as well.
    let found = recording.of_kind("wake").filter(|event| told(event)).count();
    let verdict = if found >= REQUESTS { Ok(()) } else { Err(anyhow::anyhow!("{found} wake-ups of {said}")) };
    LeftOut::of(&recording).excuse(verdict)
}

/// The command that runs another as `nobody` with nothing but the four capabilities.
fn capabilities() -> Result<Vec<String>> {
    const HELD: &str = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search";
    let mut command: Vec<String> =
        ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"].map(str::to_owned).to_vec();
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.extend([set.to_owned(), HELD.to_owned()]);
    }
    Ok(command)
}
