//! The machine's first process: mounts what a distribution would have mounted, runs the scenarios, and switches the
//! machine off.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, reboot},
};

/// What is mounted where. No tracefs: the agent does without.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("securityfs", "/sys/kernel/security"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// Does not return: the machine goes off, whatever happened.
pub(crate) fn run() -> Result<()> {
    ensure!(std::process::id() == 1, "without a subcommand this is a virtual machine's first process");
    if let Err(error) = scenarios() {
        eprintln!("init: {error:#}");
    }
    // QEMU runs with -no-reboot, so that this ends it; switching off would need drivers.
    reboot(RebootCommand::Restart)?;
    bail!("the machine does not restart")
}

fn scenarios() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place)?;
        mount(kind, place, kind, MountFlags::empty(), None).with_context(|| format!("mounting {place}"))?;
    }
    run_to_end(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    run_to_end(Command::new("/proc/self/exe").arg("scenarios"))
}

fn run_to_end(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} could not be started"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
