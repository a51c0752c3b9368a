//! `cargo xtask accuracy`: how many parents are right. Writes docs/accuracy.md.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    build,
    setup::{self, Scope},
    steps, workspace,
};

/// What `accuracy` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these rows: their lines are replaced, the others stay [default: all]
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// How many requests are judged of each row and load [default: 1000]
    #[arg(long)]
    requests: Option<usize>,
    /// How many requests are made at once, one measurement for each [default: 1,16,64]
    #[arg(long)]
    concurrency: Option<String>,
    /// The page that is written; its numbers are beside it, as JSON [default: docs/accuracy.md]
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Sets up, builds (unless `SYSPAN_BIN` names an agent), and measures; an error if a row could not be measured.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!("only root can measure: the agent loads eBPF programs");
    }
    setup::run(Scope::Accuracy)?;
    let agent = build::agent()?;
    steps::say("Judging parents");
    let Options { rows, requests, concurrency, output } = options;
    let mut command = setup::cargo()?;
    command.args(["run", "--quiet", "--package", "syspan-tests", "--bin", "accuracy", "--"]).args(rows);
    command.arg("--output").arg(output.clone().unwrap_or_else(|| workspace::root().join("docs/accuracy.md")));
    if let Some(requests) = requests {
        command.args(["--requests", &requests.to_string()]);
    }
    if let Some(concurrency) = concurrency {
        command.args(["--concurrency", concurrency]);
    }
    steps::run(command.env("SYSPAN_BIN", agent))
}
