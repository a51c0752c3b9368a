//! `cargo xtask demo`: the shop of tests/shop, traced.

use std::os::unix::process::CommandExt as _;

use anyhow::Result;

use crate::{
    build,
    setup::{self, Scope},
    steps, workspace,
};

/// What `demo` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Stop after the traces have been shown, instead of going on until Ctrl-C
    #[arg(long)]
    once: bool,
}

/// Sets up, builds, and runs the shop.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(Scope::Everything)?;
    build::release()?;
    steps::say("Building the shop's driver");
    let mut command = setup::cargo()?;
    command.args(["run", "--quiet", "--package", "syspan-tests", "--bin", "shop"]);
    command.env("SYSPAN_BIN", workspace::agent());
    if options.once {
        command.args(["--", "--once"]);
    }
    // In place of this process, so that Ctrl-C reaches the shop alone and the prompt returns when all is cleaned up.
    Err(command.exec().into())
}
