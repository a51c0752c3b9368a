//! What it costs an application to have contexts carried to other hosts (docs/propagation.md): the same load, traced, with each kind of
//! `--propagate`.

use std::{collections::BTreeSet, fmt::Write as _, fs, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use syspan_tests::{
    apps::App,
    chain,
    network::{Network, SERVER},
    nginx::Nginx,
    postgres::Postgres,
    process, wrk,
};
use tempfile::TempDir;

use crate::{WARM_UP, agent::Agent, statistics::Summary};

/// The first is what the others are compared with.
const KINDS: [&str; 3] = ["off", "tcp", "headers=force"];

/// The name of the chain of services.
const CHAIN: &str = "nginx, Node, Java, Go, Python on two hosts";

/// For so long Java compiles what it runs.
const JUST_IN_TIME: Duration = Duration::from_secs(10);

/// An application that makes HTTP requests over connections that it keeps.
struct Caller {
    name: &'static str,
    /// Its processes on each host, which have an agent each; their children count as well.
    hosts: Vec<Vec<u32>>,
    url: String,
    /// Stopped when dropped.
    _servers: Vec<Box<dyn Send>>,
}

/// What was measured of an application in one round.
#[derive(Clone, Copy)]
struct Measured {
    /// Answers a second.
    rate: f64,
    /// CPU time of the application for one of them, µs.
    cpu: f64,
}

/// An application's measurements: `kinds[n]` has each round's of the kind of `--propagate` that [`KINDS`] names there.
pub(crate) struct Carried {
    name: &'static str,
    kinds: Vec<Vec<Measured>>,
}

/// How each application is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub rounds: usize,
    pub duration: Duration,
    /// The agent stands still while the load runs, so that what the programs cost is seen, and not what it costs to share CPUs with the agent.
    pub paused: bool,
}

/// Measures each application in each state, round after round.
pub(crate) fn measure(plan: Plan) -> Result<Vec<Carried>> {
    Ok(vec![node()?.compare(plan)?, nginx()?.compare(plan)?, chain(plan)?])
}

/// A table, with ratios to `off` in the same round.
pub(crate) fn table(text: &mut String, all: &[Carried]) -> Result<()> {
    writeln!(
        text,
        "| application | `--propagate` | requests/s | of `off` | CPU time of a request, µs | of `off` |\n\
         |---|---|--:|--:|--:|--:|"
    )?;
    for carried in all {
        for (number, kind) in KINDS.iter().enumerate() {
            let [rate, slower] = carried.summaries(number, |one| one.rate)?;
            let [cpu, dearer] = carried.summaries(number, |one| one.cpu)?;
            writeln!(text, "| {} | `{kind}` | {rate:.0} | {slower:.2} | {cpu:.1} | {dearer:.2} |", carried.name)?;
        }
    }
    Ok(())
}

/// What the chain of services has of its throughput with the kind that costs it most: the median.
pub(crate) fn of_chain(all: &[Carried]) -> Result<f64> {
    let chain = all.iter().find(|carried| carried.name == CHAIN).context("the chain was not measured")?;
    let ratios = (1..KINDS.len()).map(|kind| Ok(chain.summaries(kind, |one| one.rate)?[1].median));
    ratios.collect::<Result<Vec<f64>>>()?.into_iter().reduce(f64::min).context("one kind")
}

impl Carried {
    /// A number of one kind in all rounds, and its ratio to `off`.
    fn summaries(&self, kind: usize, number: fn(&Measured) -> f64) -> Result<[Summary; 2]> {
        let (of, off) = self.kinds.get(kind).zip(self.kinds.first()).context("not measured")?;
        let ratios = of.iter().zip(off).map(|(one, off)| number(one) / number(off));
        let (absolute, ratio) = Summary::of(of.iter().map(number)).zip(Summary::of(ratios)).context("no round")?;
        Ok([absolute, ratio])
    }
}

impl Caller {
    fn compare(&self, plan: Plan) -> Result<Carried> {
        let mut kinds = vec![Vec::new(); KINDS.len()];
        for round in 1..=plan.rounds {
            for (kind, measured) in KINDS.iter().zip(&mut kinds) {
                let one = self.load(kind, plan)?;
                eprintln!("    {}, {kind}, round {round}: {:.0}/s, {:.1} µs", self.name, one.rate, one.cpu);
                measured.push(one);
            }
        }
        Ok(Carried { name: self.name, kinds })
    }

    fn load(&self, kind: &str, plan: Plan) -> Result<Measured> {
        let start = |pids: &Vec<u32>| Agent::start(pids, &["--propagate", kind]);
        let agents: Vec<Agent> = self.hosts.iter().map(start).collect::<Result<_>>()?;
        if plan.paused {
            agents.iter().try_for_each(|agent| agent.signal(Signal::STOP))?;
        }
        let warm = wrk::run(&self.url, WARM_UP)?;
        let before = self.cpu()?;
        let load = wrk::run(&self.url, plan.duration)?;
        let cpu = self.cpu()?.saturating_sub(before);
        for agent in agents {
            agent.signal(Signal::CONT)?;
            agent.stop(warm.requests + load.requests)?;
        }
        Ok(Measured { rate: load.requests_per_second, cpu: cpu.as_secs_f64() * 1e6 / load.requests.max(1) as f64 })
    }

    /// CPU time of all processes.
    fn cpu(&self) -> Result<Duration> {
        let mut all = BTreeSet::new();
        for pid in self.hosts.iter().flatten() {
            all.extend(process::family(*pid)?);
        }
        all.into_iter().map(process::cpu).sum()
    }
}

/// nginx with a file of 1 KiB that any request gets.
fn files() -> Result<(TempDir, Nginx)> {
    let folder = TempDir::with_prefix("static-")?;
    for name in ["1k", "item"] {
        fs::write(folder.path().join(name), "x".repeat(1024))?;
    }
    let text = fs::read_to_string(syspan_tests::sources().join("bench/static.conf"))?;
    let configuration = folder.path().join("static.conf");
    fs::write(&configuration, text.replace("@ROOT@", &folder.path().display().to_string()))?;
    let nginx = Nginx::start(&configuration, 0)?;
    Ok((folder, nginx))
}

/// tests/apps/propagation/loop.js: two calls for each request.
fn node() -> Result<Caller> {
    let (folder, files) = files()?;
    let environment = [("DOWNSTREAM", format!("127.0.0.1:{}", files.port())), ("POOL_SIZE", "20".to_owned())];
    let script = syspan_tests::sources().join("apps/propagation/loop.js");
    let app = App::node(&script, &environment.map(|(name, value)| (name.to_owned(), value)))?;
    let (pid, url) = (app.pid(), format!("http://127.0.0.1:{}/forward?id=1", app.port()));
    let servers: Vec<Box<dyn Send>> = vec![Box::new(app), Box::new(files), Box::new(folder)];
    Ok(Caller { name: "Node, `http.Agent`, two calls a request", hosts: vec![vec![pid]], url, _servers: servers })
}

/// nginx as a proxy: one call for each request.
fn nginx() -> Result<Caller> {
    let (folder, files) = files()?;
    let proxy = Nginx::proxy(files.port())?;
    let (pid, url) = (proxy.pid(), format!("http://127.0.0.1:{}/1k", proxy.port()));
    let servers: Vec<Box<dyn Send>> = vec![Box::new(proxy), Box::new(files), Box::new(folder)];
    Ok(Caller { name: "nginx, `proxy_pass`", hosts: vec![vec![pid]], url, _servers: servers })
}

/// Five services on two hosts, as tests/tests/chain.rs has them: nginx and Node on one, Java, Go, Python and PostgreSQL on the other. PostgreSQL
/// and wrk are not observed.
fn chain(plan: Plan) -> Result<Carried> {
    let network = Network::new()?;
    network.on_server(|| {
        let postgres = Postgres::start_on(&format!("127.0.0.1,{SERVER}"))?;
        let second = chain::second_half(&postgres.environment())?;
        let database = [postgres.environment(), vec![("PGHOST".to_owned(), SERVER.to_owned())]].concat();
        let (address, behind) = (format!("{SERVER}:{}", second.port()), second.pids());
        network.on_client(|| {
            let first = chain::first_half(&database, &address)?;
            // A request with this id has nothing that sleeps.
            let url = format!("http://127.0.0.1:{}/checkout?id=0", first.port());
            wrk::run(&url, JUST_IN_TIME)?;
            Caller { name: CHAIN, hosts: vec![first.pids(), behind], url, _servers: Vec::new() }.compare(plan)
        })
    })
}
