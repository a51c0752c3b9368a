//! `cargo xtask build`: the release agent with its eBPF programs inside.

use std::{env, path::PathBuf};

use anyhow::Result;

use crate::{
    setup::{self, Scope},
    steps, workspace,
};

/// Builds target/release/syspan.
pub(crate) fn run() -> Result<()> {
    setup::run(Scope::Build)?;
    release()
}

/// Builds the agent, set-up done.
pub(crate) fn release() -> Result<()> {
    steps::say("Building the agent (several minutes the first time)");
    steps::run(setup::cargo()?.args(["build", "--release", "--package", "syspan"]))?;
    steps::say(&format!("The agent is {}", workspace::agent().display()));
    Ok(())
}

/// The agent that `SYSPAN_BIN` names, else the release build, made anew.
pub(crate) fn agent() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SYSPAN_BIN") {
        return Ok(path.into());
    }
    release()?;
    Ok(workspace::agent())
}
