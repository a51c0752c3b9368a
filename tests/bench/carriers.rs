//! What it costs an application to have contexts carried to other hosts (docs/propagation.md): the same load, traced, with each kind of
//! `--propagate`.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use syspan_tests::{apps::App, nginx::Nginx, process, wrk};
use tempfile::TempDir;

use crate::{WARM_UP, agent::Agent, statistics::Summary};

/// The first is what the others are compared with.
const KINDS: [&str; 3] = ["off", "tcp", "headers=force"];

/// An application that makes HTTP requests over connections that it keeps.
struct Caller {
    name: &'static str,
    pid: u32,
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

/// Measures each application in each state, round after round, and gives a table, with ratios to `off` in the same round. `paused`: the
/// agent stands still while the load runs, so that what the programs cost is seen, and not what it costs to share CPUs with the agent.
pub(crate) fn measure(rounds: usize, duration: Duration, paused: bool) -> Result<String> {
    let mut table = "| application | `--propagate` | requests/s | of `off` | CPU time of a request, µs | of `off` |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    for caller in [node()?, nginx()?] {
        let mut measured = vec![Vec::new(); KINDS.len()];
        for round in 1..=rounds {
            for (kind, measured) in KINDS.iter().zip(&mut measured) {
                let one = caller.load(kind, duration, paused)?;
                eprintln!("    {}, {kind}, round {round}: {:.0}/s, {:.1} µs", caller.name, one.rate, one.cpu);
                measured.push(one);
            }
        }
        let off = measured.first().context("off")?.clone();
        for (kind, measured) in KINDS.iter().zip(&measured) {
            let of = |number: fn(&Measured) -> f64| -> Result<(Summary, Summary)> {
                let ratios = measured.iter().zip(&off).map(|(one, off)| number(one) / number(off));
                Summary::of(measured.iter().map(number)).zip(Summary::of(ratios)).context("no round")
            };
            let ((rate, slower), (cpu, dearer)) = (of(|one| one.rate)?, of(|one| one.cpu)?);
            writeln!(table, "| {} | `{kind}` | {rate:.0} | {slower:.2} | {cpu:.1} | {dearer:.2} |", caller.name)?;
        }
    }
    Ok(table)
}

impl Caller {
    fn load(&self, kind: &str, duration: Duration, paused: bool) -> Result<Measured> {
        let agent = Agent::start(self.pid, &["--propagate", kind])?;
        if paused {
            agent.signal(Signal::STOP)?;
        }
        let warm = wrk::run(&self.url, WARM_UP)?;
        let before = process::cpu(self.pid)?;
        let load = wrk::run(&self.url, duration)?;
        let cpu = process::cpu(self.pid)?.saturating_sub(before);
        agent.signal(Signal::CONT)?;
        agent.stop(warm.requests + load.requests)?;
        Ok(Measured { rate: load.requests_per_second, cpu: cpu.as_secs_f64() * 1e6 / load.requests.max(1) as f64 })
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
    Ok(Caller { name: "Node, `http.Agent`, two calls a request", pid, url, _servers: servers })
}

/// nginx as a proxy: one call for each request.
fn nginx() -> Result<Caller> {
    let (folder, files) = files()?;
    let proxy = Nginx::proxy(files.port())?;
    let (pid, url) = (proxy.pid(), format!("http://127.0.0.1:{}/1k", proxy.port()));
    let servers: Vec<Box<dyn Send>> = vec![Box::new(proxy), Box::new(files), Box::new(folder)];
    Ok(Caller { name: "nginx, `proxy_pass`", pid, url, _servers: servers })
}
