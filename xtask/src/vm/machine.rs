//! One boot of a kernel in QEMU, by software emulation: nothing of the host's kernel is needed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{initramfs, report::Report};
use crate::workspace;

/// A machine that has not gone off by then hangs. Emulated on a busy two-core machine, a run takes minutes.
const LIMIT: Duration = Duration::from_secs(600);
/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many of the console's last lines a run that did not end well is reported with.
const SHOWN_LINES: usize = 40;

/// The console is the first serial port; a panic ends the machine at once; `lockdown=integrity` is the strictest mode
/// that syspan promises to work under. What the kernel does not know becomes the first process's environment.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=4 panic=-1 lockdown=integrity mitigations=off";

/// Boots the kernel and returns what the machine has told.
pub(crate) fn boot(name: &str, image: &Path, initramfs: &Path) -> Result<Report> {
    let folder = workspace::target().join("vm/runs").join(name);
    fs::create_dir_all(&folder)?;
    let console = folder.join("console.log");
    let results = folder.join("results.jsonl");
    for old in [&console, &results] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    let mut command = Command::new("qemu-system-x86_64");
    // Emulating the HPET takes a good part of the time, of which a busy machine has too little to keep up with the ticks.
    // Two CPUs that take turns in one thread: in threads of their own, a CPU may go on executing what the kernel has replaced meanwhile
    // (docs/kernels.md), so that the machine hangs when a tracepoint is switched on or off, whoever does it.
    command.args(["-accel", "tcg,thread=single", "-machine", "q35,hpet=off", "-m", "1G", "-smp", "2"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    command.arg("-append").arg(format!("{KERNEL_ARGUMENTS} PATH=/usr/sbin:/usr/bin SYSPAN_BIN={}", initramfs::AGENT));
    for port in [&console, &results] {
        command.arg("-serial").arg(format!("file:{}", port.display()));
    }
    let qemu = folder.join("qemu.log");
    let output = File::create(&qemu)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut running = Running(command.spawn().context("qemu-system-x86_64 could not be started")?);

    let started = Instant::now();
    let status = loop {
        if let Some(status) = running.0.try_wait()? {
            break status;
        }
        if started.elapsed() > LIMIT {
            bail!("the machine did not go off within {} s{}", LIMIT.as_secs(), last_words(&[&console, &qemu]));
        }
        thread::sleep(INTERVAL);
    };
    if !status.success() {
        bail!("QEMU ended with {status}{}", last_words(&[&console, &qemu]));
    }
    Report::read(&results)
        .with_context(|| format!("the machine went off before its report was whole{}", last_words(&[&console])))
}

/// A machine that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // an error means that it has ended
        let _ = self.0.wait();
    }
}

fn last_words(logs: &[&PathBuf]) -> String {
    let mut text = String::new();
    for log in logs {
        let bytes = fs::read(log).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = content.lines().collect();
        text += &format!("\n{}, its last lines:\n", log.display());
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            text += &format!("    {}\n", line.trim_end());
        }
    }
    text
}
