//! `cargo xtask soak`: hours of mixed load with the agent beside it, and everything that can happen to an agent before.
//!
//! It measures memory and what is lost, not speed, so that it can run while the machine does other things.

mod report;
mod samples;
mod steady;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use report::Report;
use steady::Plan;
use syspan_tests::{
    mixed::{Mixed, Pace, Servers},
    ordeals::Ordeal,
};

/// The long forms of what tests/tests/harmlessness.rs does.
const ORDEALS: [Ordeal; 4] =
    [Ordeal::Kill, Ordeal::Pause(Duration::from_secs(30)), Ordeal::OutOfMemory, Ordeal::Cycles(100)];

/// How long the servers' latency is measured without an agent, before and after each ordeal.
const ALONE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Options {
    /// How long the steady load lasts
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Connections that are made meanwhile for one request each [default: 1 000 000 an hour]
    #[arg(long)]
    connections: Option<u64>,
    /// The steady load alone: nothing happens to an agent before
    #[arg(long)]
    steady_only: bool,
    /// Where the report goes
    #[arg(long)]
    output: PathBuf,
}

fn main() -> ExitCode {
    match soak(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as it must be.
fn soak(options: &Options) -> Result<bool> {
    let plan = Plan::new(options.minutes, options.connections);
    let servers = Servers::start()?;
    let mut report = Report::default();
    if !options.steady_only {
        report.alone("before", &Mixed::run(&servers, Pace::Full, ALONE)?);
        for ordeal in ORDEALS {
            eprintln!("    {ordeal}");
            report.ordeal(ordeal, ordeal.endure(&servers));
            report.alone("after it", &Mixed::run(&servers, Pace::Full, ALONE)?);
        }
    }
    eprintln!("    {plan}");
    let steady = steady::run(&plan, &servers)?;
    report.steady(&plan, &steady);
    if let Some(folder) = options.output.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = report.to_string();
    fs::write(&options.output, &text).with_context(|| options.output.display().to_string())?;
    print!("{text}");
    Ok(report.passed())
}
