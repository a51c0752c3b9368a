//! Builds the eBPF programs and hands the object to the crate, which embeds it: the agent is one file.
//!
//! The programs are for another target (`bpfel-unknown-none`) and need a toolchain with a `core` for it, which rustup's
//! stable does not have; so this is cargo within cargo, with its own target directory (one directory would deadlock on
//! cargo's lock). `SYSPAN_EBPF_TOOLCHAIN` chooses: `debian` (`/usr/bin/cargo` of Debian's cargo-web), `nightly`
//! (rustup's, with rust-src), or a path to a cargo. `SYSPAN_EBPF_OBJECT` names an object that is already built.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

fn main() -> Result<(), Box<dyn Error>> {
    for name in ["SYSPAN_EBPF_OBJECT", "SYSPAN_EBPF_TOOLCHAIN"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("the agent has no parent directory")?;
    println!("cargo::rerun-if-changed={}", root.join("ebpf").display());
    let object = match env::var_os("SYSPAN_EBPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => build(root)?,
    };
    if !object.is_file() {
        return Err(format!("no BPF object at {}", object.display()).into());
    }
    println!("cargo::rustc-env=SYSPAN_EBPF_OBJECT={}", object.display());
    Ok(())
}

fn build(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target_dir = root.join("target/ebpf");
    let mut command = cargo()?;
    command
        .args(["build", "--package", "syspan-ebpf", "--release", "-Z", "build-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(root.join("ebpf"))
        .env("RUSTC_BOOTSTRAP", "1") // aya-ebpf's inline assembly, and build-std
        .env("CARGO_ENCODED_RUSTFLAGS", ["-Clinker=bpf-linker", "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\u{1f}"))
        .env("PATH", path_with(&root.join("target/tools/bin"))?);
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO_BUILD_TARGET", "RUSTFLAGS"] {
        command.env_remove(name); // of the outer build, for another toolchain
    }
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !status.success() {
        return Err("building the eBPF programs failed; `cargo xtask setup` installs what it needs".into());
    }
    Ok(target_dir.join(TARGET).join("release/syspan-ebpf"))
}

fn cargo() -> Result<Command, Box<dyn Error>> {
    let choice = env::var("SYSPAN_EBPF_TOOLCHAIN").unwrap_or_else(|_| {
        let debian = Path::new(DEBIAN_RUSTC).exists() && Path::new("/usr/lib/rustlib").join(TARGET).exists();
        if debian { "debian".into() } else { "nightly".into() }
    });
    Ok(match choice.as_str() {
        "debian" => {
            let mut command = Command::new(DEBIAN_CARGO);
            command.env("RUSTC", DEBIAN_RUSTC);
            command
        }
        "nightly" => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]).env_remove("RUSTC");
            command
        }
        path => Command::new(path),
    })
}

fn path_with(first: &Path) -> Result<std::ffi::OsString, Box<dyn Error>> {
    let old = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(std::iter::once(first.to_path_buf()).chain(env::split_paths(&old)))?)
}
