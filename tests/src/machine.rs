//! What a report says of the machine and of the programs that were measured.

use std::process::Command;

use anyhow::{Context as _, Result};

/// The first line that a program prints, on whichever stream.
pub fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}

/// The day in UTC, as 2026-11-21.
pub fn date() -> Result<String> {
    said("date", &["-u", "+%F"])
}

/// The kernel's name and release.
pub fn kernel() -> Result<String> {
    said("uname", &["-sr"])
}

/// The commit that is checked out, and whether what is measured (the agent and its programs) differs from it.
pub fn revision() -> Result<String> {
    let commit = said("git", &["rev-parse", "--short", "HEAD"])?;
    let changed = Command::new("git").args(["diff", "--quiet", "HEAD", "--", "agent", "ebpf"]).status()?;
    Ok(if changed.success() { commit } else { format!("{commit} with changes") })
}
