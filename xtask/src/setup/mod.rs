//! `cargo xtask setup`: installs what is missing, each step only when it is needed, so that a second run does nothing.

mod apps;
mod packages;
mod toolchain;

use std::{path::Path, process::Command};

use anyhow::Result;
pub(crate) use apps::opentelemetry_sdk;
pub(crate) use toolchain::{cargo, cargo_tool, ebpf_clippy};

use crate::steps;

/// Where the tracepoints are described; attaching programs to them needs it.
const TRACEFS: &str = "/sys/kernel/tracing";

/// What to prepare for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Building the agent: the eBPF toolchain.
    Build,
    /// Fuzzing as well: libFuzzer is C++.
    Fuzz,
    /// End-to-end tests and the demo as well: servers, applications, tracefs.
    Everything,
}

/// Installs what the scope needs and this machine lacks.
pub(crate) fn run(scope: Scope) -> Result<()> {
    let toolchain = toolchain::chosen()?;
    let mut needed = toolchain.packages();
    match scope {
        Scope::Build => {}
        Scope::Fuzz => needed.extend_from_slice(packages::FUZZ),
        Scope::Everything => needed.extend_from_slice(packages::SERVERS),
    }
    packages::install(&needed)?;
    toolchain.install_linker()?;
    if scope == Scope::Everything {
        apps::install()?;
        mount_tracefs();
    }
    Ok(())
}

/// Installs a Python package's programs into the virtual environment of the build tools.
pub(crate) fn python_tool(requirement: &str) -> Result<()> {
    apps::python_tool(requirement)
}

/// A machine without systemd may have booted without tracefs. A failure is not fatal: the agent says what it lacks.
fn mount_tracefs() {
    if Path::new(TRACEFS).join("events").exists() || !is_root() {
        return;
    }
    steps::say(&format!("Mounting tracefs at {TRACEFS}"));
    if let Err(error) = steps::run(Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS])) {
        eprintln!("    {error:#}");
    }
}

/// Whether packages can be installed and programs loaded into the kernel.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
