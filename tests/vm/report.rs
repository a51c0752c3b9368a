//! What the machine tells the host: JSON Lines on the second serial port, which carries nothing else.
//! `xtask/src/vm/report.rs` reads them.

use std::{
    fs::{self, File},
    io::Write as _,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The second serial port.
const PORT: &str = "/dev/ttyS1";

pub(crate) struct Report {
    port: File,
}

impl Report {
    /// Opens the port and tells which kernel runs.
    pub(crate) fn open() -> Result<Self> {
        let mut report = Self { port: File::options().write(true).open(PORT).context(PORT)? };
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        report.line(&json!({ "kernel": release.trim() }))?;
        Ok(report)
    }

    /// What `syspan doctor --output json` says, and how long it took.
    pub(crate) fn doctor(&mut self, mut findings: Value, seconds: f64) -> Result<()> {
        if let Some(fields) = findings.as_object_mut() {
            fields.insert("seconds".to_owned(), seconds.into());
        }
        self.line(&json!({ "doctor": findings }))
    }

    /// How a scenario ended, how long it took, and how often it was run.
    pub(crate) fn scenario(&mut self, name: &str, seconds: f64, runs: u32, outcome: &Result<()>) -> Result<()> {
        let error = outcome.as_ref().err().map(sentence);
        self.line(&json!({ "scenario": { "name": name, "seconds": seconds, "runs": runs, "error": error } }))
    }

    /// Nothing was left out: what came before is all.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.line(&json!({ "end": true }))
    }

    fn line(&mut self, line: &Value) -> Result<()> {
        writeln!(self.port, "{line}")?;
        Ok(self.port.flush()?)
    }
}

/// The first line of each thing that was attempted, and all of what went wrong.
fn sentence(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let root = causes.pop().unwrap_or_default();
    let attempts = causes.iter().map(|attempt| attempt.lines().next().unwrap_or_default());
    attempts.chain([root.as_str()]).collect::<Vec<_>>().join(": ")
}
