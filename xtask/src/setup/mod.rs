//! `cargo xtask setup`: installs what is missing, each step only when it is needed, so that a second run does nothing.

mod apps;
mod go;
mod packages;
mod runtimes;
mod toolchain;

use anyhow::Result;
pub(crate) use toolchain::{cargo, cargo_tool, ebpf_clippy};

/// What to prepare for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Building the agent: the eBPF toolchain.
    Build,
    /// Fuzzing as well: libFuzzer is C++.
    Fuzz,
    /// End-to-end tests and the demo as well: servers, applications.
    Everything,
    /// The same, and the applications whose parents are judged.
    Accuracy,
}

/// Installs what the scope needs and this machine lacks.
pub(crate) fn run(scope: Scope) -> Result<()> {
    let toolchain = toolchain::chosen()?;
    let mut needed = toolchain.packages();
    match scope {
        Scope::Build => {}
        Scope::Fuzz => needed.extend_from_slice(packages::FUZZ),
        Scope::Everything | Scope::Accuracy => {
            needed.extend_from_slice(packages::SERVERS);
            needed.extend_from_slice(packages::RUNTIMES);
        }
    }
    packages::install(&needed)?;
    toolchain.install_linker()?;
    if matches!(scope, Scope::Everything | Scope::Accuracy) {
        apps::install()?;
        runtimes::install()?;
        go::build()?;
    }
    Ok(())
}

/// Installs a Python package's programs into the virtual environment of the build tools.
pub(crate) fn python_tool(requirement: &str) -> Result<()> {
    apps::python_tool(requirement)
}

/// Whether packages can be installed and programs loaded into the kernel.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
