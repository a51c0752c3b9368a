//! `cargo xtask bench`: what tracing costs. Writes docs/benchmarks.md.

use std::fs;

use anyhow::{Result, bail};

use crate::{
    build,
    setup::{self, Scope},
    steps, workspace,
};

/// What `bench` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A few short rounds, for a first look: the report goes to target/benchmarks.md and proves little
    #[arg(long)]
    quick: bool,
    /// How often every state is measured
    #[arg(long, conflicts_with = "quick")]
    rounds: Option<u32>,
    /// How long each time, seconds
    #[arg(long, conflicts_with = "quick")]
    seconds: Option<u32>,
}

/// Sets up, builds, and measures.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!("only root can measure: the agent loads eBPF programs");
    }
    setup::run(Scope::Everything)?;
    build::release()?;

    // Results of recordings that are no longer made would be reported as well.
    let old = workspace::target().join("criterion/replay");
    if old.exists() {
        fs::remove_dir_all(old)?;
    }
    steps::say("Replaying recordings (the engine alone)");
    let mut command = setup::cargo()?;
    command.args(["bench", "--package", "syspan", "--bench", "engine", "--", "--noplot"]);
    if options.quick {
        command.args(["--warm-up-time", "1", "--measurement-time", "2"]);
    }
    steps::run(&mut command)?;

    steps::say("Loading applications, with and without tracing");
    let mut command = setup::cargo()?;
    command.args(["run", "--quiet", "--package", "syspan-tests", "--bin", "bench", "--", "--output"]);
    if options.quick {
        command.arg(workspace::target().join("benchmarks.md")).args(["--rounds", "2", "--seconds", "2"]);
    } else {
        command.arg(workspace::root().join("docs/benchmarks.md"));
    }
    for (name, value) in [("--rounds", options.rounds), ("--seconds", options.seconds)] {
        if let Some(value) = value {
            command.arg(name).arg(value.to_string());
        }
    }
    command.env("SYSPAN_BIN", workspace::agent());
    steps::run(&mut command)
}
