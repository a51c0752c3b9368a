//! What a virtual machine has told (tests/vm/report.rs writes it).

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// What `syspan doctor` found.
    pub(crate) doctor: Doctor,
    /// The scenarios in their order.
    pub(crate) scenarios: Vec<Scenario>,
}

/// A line of the report.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Kernel(String),
    Doctor(Doctor),
    Scenario(Scenario),
    End(bool),
}

/// `syspan doctor --output json`, as far as the matrix shows it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Doctor {
    pub(crate) supported: bool,
    /// How long it took, which the machine adds.
    pub(crate) seconds: f64,
    pub(crate) checks: Vec<Check>,
    #[serde(default)]
    pub(crate) programs: Vec<Program>,
}

/// One thing that the doctor looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) status: String,
    pub(crate) found: String,
}

/// An eBPF program as the kernel took it.
#[derive(Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) loaded: bool,
    pub(crate) attached: bool,
    /// How many instructions the verifier walked through; the kernel tells since 5.16.
    pub(crate) verified_instructions: Option<u32>,
}

/// How a scenario ended.
#[derive(Debug, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    /// Why it failed, if it did.
    pub(crate) error: Option<String>,
}

impl Report {
    /// What was tested: its name, how long it took, why it failed if it did. The doctor is the first.
    pub(crate) fn tests(&self) -> Vec<(&str, f64, Option<&str>)> {
        let Doctor { supported, seconds, checks, programs: _ } = &self.doctor;
        let refusal = checks.iter().find(|check| check.status == "missing").map(|check| check.found.as_str());
        let refusal = (!supported).then(|| refusal.unwrap_or("the doctor gives no reason"));
        let mut tests = vec![("all programs load and attach (`syspan doctor`)", *seconds, refusal)];
        tests.extend(
            self.scenarios.iter().map(|Scenario { name, seconds, error }| (name.as_str(), *seconds, error.as_deref())),
        );
        tests
    }

    /// Reads it; an error if it is not whole.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut report = Self::default();
        let mut whole = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match serde_json::from_str(line).with_context(|| format!("not a line of a report: {line}"))? {
                Line::Kernel(release) => report.kernel = release,
                Line::Doctor(doctor) => report.doctor = doctor,
                Line::Scenario(scenario) => report.scenarios.push(scenario),
                Line::End(end) => whole = end,
            }
        }
        ensure!(whole, "{} scenarios, and no end", report.scenarios.len());
        Ok(report)
    }
}
