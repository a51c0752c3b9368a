//! `cargo xtask bench`: what tracing costs an application, and what it costs the agent.
//!
//! The machine is shared and noisy, so nothing is compared over time: all states of a case are measured in turn, round
//! after round, and every number of a state is divided by that of the untraced application in the same round.

mod agent;
mod calls;
mod carriers;
mod cases;
mod engine;
mod report;
mod states;
mod statistics;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use carriers::Plan;
use cases::Case;
use clap::Parser;
use states::{Measured, State};
use syspan_tests::rotel::{Endpoints, Rotel};

/// Before each measurement, so that connections are open and the code of the path is compiled.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Options {
    /// How often every state is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each time, seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often a hundred thousand of each system call are made in each state
    #[arg(long, default_value_t = calls::RUNS)]
    call_runs: usize,
    /// Measure single system calls alone, and print the table
    #[arg(long)]
    only_calls: bool,
    /// Measure what carries contexts to other hosts alone, and print the table
    #[arg(long)]
    only_carriers: bool,
    /// With an agent that stands still meanwhile: what its programs cost
    #[arg(long, requires = "only_carriers")]
    paused: bool,
    /// Where the report goes
    #[arg(long)]
    output: PathBuf,
}

/// All measurements of one case: `rounds[n]` holds one for each of [`Case::states`].
struct Measurements {
    case: &'static Case,
    rounds: Vec<Vec<(State, Measured)>>,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let duration = Duration::from_secs(options.seconds);
    let plan = Plan { rounds: options.rounds, duration, paused: options.paused };
    if options.only_carriers {
        let mut text = String::new();
        carriers::table(&mut text, &carriers::measure(plan)?)?;
        print!("{text}");
        return Ok(());
    }
    let machine = report::Machine::read()?;
    let calls = calls::measure(options.call_runs)?;
    let throughput = calls::throughput()?;
    if options.only_calls {
        let mut text = String::new();
        report::calls(&mut text, &calls, &throughput)?;
        print!("{text}");
        return Ok(());
    }
    let carried = carriers::measure(plan)?;
    let endpoints = Endpoints::free()?;
    let _sink = Rotel::quiet(endpoints)?;
    let mut all = Vec::new();
    for case in cases::ALL {
        let running = case.start(endpoints.http)?;
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            let mut measured = Vec::new();
            for &state in case.states() {
                let one = state.measure(&running, endpoints.http, WARM_UP, duration)?;
                eprintln!("    {}, {state}, round {round}: {:.0} requests/s", case.name, one.load.requests_per_second);
                measured.push((state, one));
            }
            rounds.push(measured);
        }
        all.push(Measurements { case, rounds });
    }
    let mut text = report::write(&machine, options.seconds, &all, &engine::read()?, (&calls, &throughput), &carried)?;
    text.push_str(&by_hand(&options.output));
    if let Some(folder) = options.output.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&options.output, &text).with_context(|| options.output.display().to_string())?;
    print!("{text}");
    Ok(())
}

/// What somebody has written about an earlier run, which the report keeps: from this line on.
const BY_HAND: &str = "## What the numbers mean";

fn by_hand(report: &Path) -> String {
    let old = fs::read_to_string(report).unwrap_or_default();
    old.find(BY_HAND).map(|at| format!("\n{}", &old[at..])).unwrap_or_default()
}
