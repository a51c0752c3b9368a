//! Whatever happens to the agent, the observed programs do not notice.

#![allow(clippy::panic, reason = "tests")]

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use syspan_tests::{mixed::Servers, ordeals::Ordeal};
use tempfile::TempDir;

#[test]
fn killed_under_load() -> Result<()> {
    Ordeal::Kill.endure(&Servers::start()?).map(drop)
}

#[test]
fn stopped_and_continued_under_load() -> Result<()> {
    Ordeal::Pause(Duration::from_secs(5)).endure(&Servers::start()?).map(drop)
}

#[test]
fn out_of_memory_under_load() -> Result<()> {
    Ordeal::OutOfMemory.endure(&Servers::start()?).map(drop)
}

#[test]
fn started_and_stopped_under_load() -> Result<()> {
    Ordeal::Cycles(20).endure(&Servers::start()?).map(drop)
}

/// The short form of `cargo xtask soak`: no failed request, no growing memory, nothing left behind.
#[test]
fn a_minute_of_steady_load() -> Result<()> {
    let folder = TempDir::with_prefix("soak-")?;
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--minutes", "1", "--steady-only", "--output"])
        .arg(folder.path().join("report.md"))
        .output()?;
    let (report, samples) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{report}\n{samples}");
    Ok(())
}
