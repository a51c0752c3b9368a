//! Debian packages: servers for the tests, and the eBPF toolchain.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::is_root;
use crate::{steps, workspace};

/// A Debian package, and the file that shows it is not needed because the machine has the thing from elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    instead: Option<Instead>,
}

#[derive(Clone, Copy)]
enum Instead {
    File(&'static str),
    Program(&'static str),
    PythonModule(&'static str),
}

impl Instead {
    fn is_present(self) -> bool {
        match self {
            Instead::File(path) => Path::new(path).exists(),
            Instead::Program(program) => steps::on_path(program),
            Instead::PythonModule(module) => {
                workspace::apps().join("python/bin/python").exists() // made with it: no need to ask the slow way
                    || Command::new("python3")
                        .args(["-c", &format!("import {module}")])
                        .stderr(Stdio::null())
                        .status()
                        .is_ok_and(|status| status.success())
            }
        }
    }
}

const fn package(name: &'static str) -> Package {
    Package { name, instead: None }
}

const fn unless_file(name: &'static str, file: &'static str) -> Package {
    Package { name, instead: Some(Instead::File(file)) }
}

const fn unless_program(name: &'static str, program: &'static str) -> Package {
    Package { name, instead: Some(Instead::Program(program)) }
}

/// What the end-to-end tests, the demo and the benchmarks run.
pub(crate) const SERVERS: &[Package] = &[
    unless_file("nginx-light", "/usr/sbin/nginx"),
    // The packages without a service: the tests bring their own configuration and data folder.
    unless_file("mariadb-server-core", "/usr/sbin/mariadbd"),
    unless_file("mariadb-client-core", "/usr/bin/my_print_defaults"),
    unless_file("postgresql-15", "/usr/lib/postgresql/15/bin/initdb"),
    unless_program("nodejs", "node"),
    unless_program("npm", "npm"),
    unless_program("python3", "python3"),
    // Debian's python3 comes without ensurepip, which a virtual environment needs; other Pythons have it.
    Package { name: "python3-venv", instead: Some(Instead::PythonModule("ensurepip")) },
    unless_program("golang-go", "go"),
    unless_program("curl", "curl"),
    unless_program("openssl", "openssl"),
    unless_program("wrk", "wrk"),
    unless_file("bpftool", "/usr/sbin/bpftool"),
    unless_program("tcpdump", "tcpdump"),
    // The independent reader of packet captures. Its question, whether others than root may capture, is answered by its default.
    unless_program("tshark", "tshark"),
    // `cargo xtask vm`: other kernels, the file system that they are given, and its loopback interface.
    unless_program("qemu-system-x86", "qemu-system-x86_64"),
    unless_program("cpio", "cpio"),
    unless_program("iproute2", "ip"),
];

/// What the applications and proxies of tests/src/runtimes.rs need.
pub(crate) const RUNTIMES: &[Package] = &[
    unless_file("openjdk-17-jdk-headless", "/usr/lib/jvm/java-17-openjdk-amd64/bin/javac"),
    unless_program("maven", "mvn"),
    unless_program("golang-go", "go"),
    unless_file("php8.2-fpm", "/usr/sbin/php-fpm8.2"),
    package("php8.2-pgsql"),
    package("php8.2-curl"),
    package("puma"),
    package("ruby-pg"),
    package("ruby-connection-pool"),
    // The package without a service.
    unless_file("apache2-bin", "/usr/sbin/apache2"),
    unless_file("haproxy", "/usr/sbin/haproxy"),
];

/// rustc with a prebuilt `core` for BPF, and the LLVM of the same version for bpf-linker.
pub(crate) const EBPF: &[Package] = &[
    unless_file("rustc-web", "/usr/bin/rustc"),
    unless_file("cargo-web", "/usr/bin/cargo"),
    package("rust-web-src"),
    unless_file("libstd-rust-web-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none"),
    unless_program("g++", "g++"), // bpf-linker has a little C++
    package("llvm-22-dev"),
    package("libpolly-22-dev"),
    package("zlib1g-dev"),
    package("libzstd-dev"),
    package("libxml2-dev"),
];

/// The linter of the same compiler.
pub(crate) const LINT: &[Package] = &[unless_file("rust-web-clippy", "/usr/bin/clippy-driver")];

/// A C++ compiler for libFuzzer.
pub(crate) const FUZZ: &[Package] = &[unless_program("g++", "g++")];

/// systemd units that the packages bring and that must not occupy the default ports from now on.
const UNITS: &[&str] = &["nginx", "postgresql", "php8.2-fpm", "haproxy"];

/// Installs those of the packages that are missing.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_debian() {
        bail!(
            "this machine lacks what these packages of Debian 12 provide: {list}. Install the equivalents of your \
             distribution; for the eBPF part, rustup's nightly with rust-src, and bpf-linker on the PATH, are enough \
             (SYSPAN_EBPF_TOOLCHAIN=nightly)"
        );
    }
    if !is_root() {
        bail!("packages are missing and only root can install them: apt-get install --no-install-recommends {list}");
    }
    let _no_services = NoServices::new()?;
    steps::run_quietly("Reading the package lists (apt-get update)", "apt-update", apt().arg("update"))?;
    steps::run_quietly(
        &format!("Installing with apt: {list}"),
        "apt-install",
        apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing),
    )?;
    disable_new_units(&missing);
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn missing(packages: &[Package]) -> Result<Vec<&'static str>> {
    let wanted: Vec<&str> = packages
        .iter()
        .filter(|package| !package.instead.is_some_and(Instead::is_present))
        .map(|package| package.name)
        .collect();
    if wanted.is_empty() || !Path::new("/usr/bin/dpkg-query").exists() {
        return Ok(wanted);
    }
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(&wanted)
        .stderr(Stdio::null()) // unknown packages are what we look for
        .output()
        .context("dpkg-query could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted.into_iter().filter(|name| !installed.contains(name)).collect())
}

/// Debian 12 is where the package names and versions are known to fit.
fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian") && release.lines().any(|line| line == "VERSION_ID=\"12\"")
}

/// While it lives, packages that are being installed start no services (Debian policy 9.3.3: exit status 101).
struct NoServices {
    created: bool,
}

impl NoServices {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        let created = !Path::new(Self::POLICY).exists();
        if created {
            fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { created })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.created
            && let Err(error) = fs::remove_file(Self::POLICY)
        {
            eprintln!("    {} could not be removed again: {error}", Self::POLICY);
        }
    }
}

/// Where systemd runs, the servers would come up at the next boot; the tests start their own.
fn disable_new_units(installed: &[&str]) {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    for unit in UNITS.iter().filter(|unit| installed.iter().any(|name| name.starts_with(**unit))) {
        if let Err(error) = steps::run(Command::new("systemctl").args(["disable", "--now", "--quiet", unit])) {
            eprintln!("    {unit} stays enabled: {error:#}");
        }
    }
}
