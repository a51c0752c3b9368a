//! `cargo xtask soak`: whether the agent stays harmless for hours. Writes target/soak/report.md.

use anyhow::{Result, bail};

use crate::{
    build,
    setup::{self, Scope},
    steps, workspace,
};

/// What `soak` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the steady load lasts
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Connections that are made meanwhile for one request each [default: 1 000 000 an hour]
    #[arg(long)]
    connections: Option<u64>,
    /// The steady load alone, without what happens to an agent before
    #[arg(long)]
    steady_only: bool,
}

/// Sets up, builds (unless `SYSPAN_BIN` names an agent), and soaks; an error if a demand was missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!("only root can soak: the agent loads eBPF programs");
    }
    setup::run(Scope::Everything)?;
    let agent = build::agent()?;
    steps::say(&format!("Soaking {}", agent.display()));
    let mut command = setup::cargo()?;
    command.args(["run", "--quiet", "--package", "syspan-tests", "--bin", "soak", "--", "--output"]);
    command.arg(workspace::target().join("soak/report.md"));
    command.args(["--minutes", &options.minutes.to_string()]);
    if let Some(connections) = options.connections {
        command.args(["--connections", &connections.to_string()]);
    }
    if options.steady_only {
        command.arg("--steady-only");
    }
    steps::run(command.env("SYSPAN_BIN", agent))
}
