//! `cargo xtask lint`: formatting, clippy, dependency rules, spelling, links. Each is one check with a name.

use std::process::Command;

use anyhow::Result;

use crate::{
    links,
    setup::{self, Scope},
    steps, workspace,
};

/// Tools from the registry that only the lints need, and their versions.
const TOOLS: &[(&str, &str)] = &[("cargo-deny", "0.20.2"), ("cargo-machete", "0.9.2")];

/// The spell checker ships as a ready-made program in a Python wheel.
const TYPOS: &str = "typos==1.52.0";

/// Runs all checks; an error if one fails.
pub(crate) fn run() -> Result<()> {
    setup::run(Scope::Build)?;
    let failed: Vec<&str> = checks()?.into_iter().filter(|(_, passed)| !passed).map(|(name, _)| name).collect();
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Runs all checks, set-up done: their names, and whether they passed.
pub(crate) fn checks() -> Result<Vec<(&'static str, bool)>> {
    install_tools()?;
    let deny_warnings = ["--", "--deny", "warnings"];
    let mut checks = Vec::new();
    let mut judge = |name, check: &mut dyn FnMut() -> Result<()>| {
        steps::say(&format!("Lint: {name}"));
        let outcome = check();
        if let Err(error) = &outcome {
            eprintln!("    {error:#}");
        }
        checks.push((name, outcome.is_ok()));
    };
    let mut run = |name, command: &mut Command| judge(name, &mut || steps::run(command));

    run("rustfmt", setup::cargo()?.args(["fmt", "--all", "--check"]));
    run(
        "clippy",
        setup::cargo()?
            .args(["clippy", "--quiet", "--workspace", "--exclude", "syspan-ebpf", "--all-targets"])
            .args(deny_warnings),
    );
    run("clippy-ebpf", &mut setup::ebpf_clippy()?);
    // Advisories come from a database on the network, which a build must not depend on.
    run("cargo-deny", setup::cargo()?.args(["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]));
    let tool = |path| {
        let mut command = Command::new(workspace::tools().join(path));
        command.current_dir(workspace::root());
        command
    };
    run("cargo-machete", &mut tool("bin/cargo-machete"));
    run("typos", &mut tool("python/bin/typos"));
    judge("links", &mut links::check);
    Ok(checks)
}

fn install_tools() -> Result<()> {
    for (name, version) in TOOLS {
        setup::cargo_tool(name, version)?;
    }
    if !workspace::tools().join("python/bin/typos").is_file() {
        setup::python_tool(TYPOS)?;
    }
    Ok(())
}
