//! What a single system call costs in each state (`loops/` makes them).

use std::{
    collections::BTreeMap,
    fmt,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::agent::{Agent, Idle};

/// Between batches, µs: some 150 000 events a second.
const PAUSE: u32 = 200;

/// Runs of each state, unless told otherwise.
pub(crate) const RUNS: usize = 20;

/// The calls, in the report's order.
pub(crate) const NAMES: [&str; 6] = ["read", "write", "sendto", "recvfrom", "sendmsg", "recvmsg"];

/// What the calls are made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watched {
    /// There is no agent.
    Not,
    /// The agent observes another process.
    Elsewhere,
    /// It observes this one, which speaks HTTP.
    Http,
    /// It observes this one, and has given its connection up.
    Unknown,
}

/// All states, in turn each round.
pub(crate) const STATES: [Watched; 4] = [Watched::Not, Watched::Elsewhere, Watched::Http, Watched::Unknown];

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Watched::Not => "no agent",
            Watched::Elsewhere => "attached, other process",
            Watched::Http => "traced, HTTP",
            Watched::Unknown => "traced, unknown protocol",
        })
    }
}

/// Nanoseconds of one call, by its name.
pub(crate) type Times = BTreeMap<String, f64>;

/// The runs of each state, [`RUNS`] of them.
pub(crate) type Calls = BTreeMap<Watched, Vec<Times>>;

/// Measures all states in turn.
pub(crate) fn measure(runs: usize) -> Result<Calls> {
    let mut http = Loops::start("http", PAUSE)?;
    let mut unknown = Loops::start("unknown", PAUSE)?;
    let idle = Idle::start()?;
    let mut all = Calls::new();
    for run in 1..=runs {
        for state in STATES {
            let loops = if state == Watched::Unknown { &mut unknown } else { &mut http };
            let agent = match state {
                Watched::Not => None,
                Watched::Elsewhere => Some(Agent::start(&[idle.pid()], &[])?),
                Watched::Http | Watched::Unknown => Some(Agent::start(&[loops.child.id()], &[])?),
            };
            // The first calls after an agent's start find cold caches, and a protocol that is not yet known.
            loops.run()?;
            let times = loops.run()?;
            eprintln!("    calls, {state}, run {run}: {times:.0?}");
            all.entry(state).or_default().push(times);
            if let Some(agent) = agent {
                let losses = agent.stop(0)?.losses;
                ensure!(
                    losses.is_empty() || state == Watched::Unknown,
                    "calls that were to be traced were lost, which costs less than tracing them: {losses:?}"
                );
            }
        }
    }
    Ok(all)
}

/// Pauses that are tried until events are lost, µs.
const PAUSES: [u32; 9] = [500, 200, 100, 50, 30, 20, 10, 5, 0];

/// How many calls a second of one thread were captured, at most, and how many were more than the agent could take.
pub(crate) struct Throughput {
    /// The highest rate at which nothing was lost.
    pub kept: Option<f64>,
    /// The first at which something was.
    pub lost: Option<f64>,
}

/// Makes calls faster and faster until some are lost.
pub(crate) fn throughput() -> Result<Throughput> {
    let mut throughput = Throughput { kept: None, lost: None };
    for pause in PAUSES {
        let mut loops = Loops::start("http", pause)?;
        let agent = Agent::start(&[loops.child.id()], &[])?;
        let times = loops.run()?;
        let rate = 1e9 / times.get("all").context("no number of calls")?;
        let losses = agent.stop(0)?.losses;
        eprintln!("    {rate:.0} calls/s: lost {losses:?}");
        if !losses.is_empty() {
            throughput.lost = Some(rate);
            break;
        }
        throughput.kept = Some(throughput.kept.map_or(rate, |kept| kept.max(rate)));
    }
    Ok(throughput)
}

/// A process that makes the calls.
struct Loops {
    child: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
}

impl Loops {
    fn start(protocol: &str, pause: u32) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("loops");
        let mut child = Command::new(&program)
            .args([protocol, &pause.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let orders = child.stdin.take().context("no standard input")?;
        let results = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut loops = Self { child, orders, results };
        ensure!(loops.line()?.trim() == "ready", "loops did not start");
        Ok(loops)
    }

    fn run(&mut self) -> Result<Times> {
        writeln!(self.orders)?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.results.read_line(&mut line)? > 0, "loops ended");
        Ok(line)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        // It is only reading: nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
