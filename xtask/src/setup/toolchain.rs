//! The Rust toolchain for the eBPF programs, which need `core` for a target that rustup does not ship, and bpf-linker.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use super::packages::{self, Package};
use crate::{steps, workspace};

/// `debian`, `nightly`, or the path of a cargo; agent/build.rs obeys it, and chooses the same way without it.
const CHOICE: &str = "SYSPAN_EBPF_TOOLCHAIN";

/// The last version whose LLVM bindings fit Debian's LLVM 22.
const LINKER_VERSION: &str = "0.13.0";

/// Where Debian keeps the LLVM that its rustc-web was built with.
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// A toolchain that can build for `bpfel-unknown-none`.
pub(crate) enum Toolchain {
    /// Debian's rustc-web with its prebuilt `core`.
    Debian,
    /// rustup's nightly with the `rust-src` component.
    Nightly,
    /// Another cargo, with a rustc that can build `core` for BPF.
    Cargo(PathBuf),
}

/// What the environment names, else what this machine has, else what can be installed on it.
pub(crate) fn chosen() -> Result<Toolchain> {
    match env::var(CHOICE).ok().as_deref() {
        Some("debian") => Ok(Toolchain::Debian),
        Some("nightly") => Ok(Toolchain::Nightly),
        Some(path) if Path::new(path).is_file() => Ok(Toolchain::Cargo(path.into())),
        Some(other) => bail!("{CHOICE}={other}: expected `debian`, `nightly`, or the path of a cargo"),
        None if Path::new("/usr/lib/rustlib/bpfel-unknown-none").exists() => Ok(Toolchain::Debian),
        None if nightly_has_source() && find_linker().is_some() => Ok(Toolchain::Nightly),
        None => Ok(Toolchain::Debian),
    }
}

impl Toolchain {
    /// The Debian packages it consists of.
    pub(crate) fn packages(&self) -> Vec<Package> {
        match self {
            Toolchain::Debian => packages::EBPF.to_vec(),
            Toolchain::Nightly | Toolchain::Cargo(_) => Vec::new(),
        }
    }

    /// Builds bpf-linker against the LLVM of the toolchain; its LLVM must not be older than rustc's.
    pub(crate) fn install_linker(&self) -> Result<()> {
        if find_linker().is_some() {
            return Ok(());
        }
        match self {
            Toolchain::Debian => steps::run_quietly(
                &format!("Building bpf-linker {LINKER_VERSION} (about a minute)"),
                "bpf-linker",
                Command::new("cargo")
                    .env("LLVM_PREFIX", DEBIAN_LLVM)
                    .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
                    .args(["--no-default-features", "--features", "llvm-22", "--root"])
                    .arg(workspace::tools()),
            ),
            Toolchain::Nightly | Toolchain::Cargo(_) => {
                bail!("bpf-linker is not on the PATH; for rustup's nightly install it with `cargo install bpf-linker`")
            }
        }
    }
}

/// Installs a tool from the registry among the build tools of this workspace.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<()> {
    if workspace::tools().join("bin").join(name).is_file() {
        return Ok(());
    }
    // Unoptimised: they run for a second, and an optimised build takes minutes.
    steps::run_quietly(
        &format!("Building {name} {version}"),
        name,
        Command::new("cargo")
            .envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")])
            .args(["install", name, "--debug", "--locked", "--version", version, "--root"])
            .arg(workspace::tools()),
    )
}

/// Clippy for the eBPF programs, by the toolchain that builds them: another one's would not know their target.
pub(crate) fn ebpf_clippy() -> Result<Command> {
    let mut command = match chosen()? {
        Toolchain::Debian => {
            packages::install(packages::LINT)?;
            // What `cargo clippy` does, without looking for a cargo-clippy, which would be rustup's.
            let mut command = Command::new("/usr/bin/cargo");
            command.arg("check").env("RUSTC", "/usr/bin/rustc").env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY);
            command
        }
        Toolchain::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo", "clippy"]);
            command
        }
        Toolchain::Cargo(path) => {
            let mut command = Command::new(path);
            command.arg("clippy");
            command
        }
    };
    command
        .args(["--quiet", "--package", "syspan-ebpf", "--release", "--target", "bpfel-unknown-none"])
        .args(["-Z", "build-std=core", "--target-dir", "target/ebpf-lint"])
        .current_dir(workspace::root())
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("RUSTC_BOOTSTRAP", "1") // build-std, and aya-ebpf's inline assembly
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__"); // how cargo-clippy passes `-D warnings` on
    Ok(command)
}

fn linker_path() -> PathBuf {
    workspace::tools().join("bin/bpf-linker")
}

fn find_linker() -> Option<PathBuf> {
    let own = linker_path();
    if own.is_file() {
        return Some(own);
    }
    steps::on_path("bpf-linker").then(|| "bpf-linker".into())
}

fn nightly_has_source() -> bool {
    let sysroot = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).stderr(Stdio::null()).output();
    sysroot.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout);
        output.status.success() && Path::new(path.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
    })
}

/// A cargo of this workspace, which finds the installed tools.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new("cargo");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(workspace::tools().join("bin")).chain(env::split_paths(&path));
    command.current_dir(workspace::root()).env("PATH", env::join_paths(folders)?);
    Ok(command)
}
