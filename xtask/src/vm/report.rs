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
    /// How often it was run until the kernel had left out nothing that mattered (tests/vm/scenarios.rs).
    pub(crate) runs: u32,
    /// Why it failed, if it did.
    pub(crate) error: Option<String>,
}

/// What was tested.
pub(crate) struct Test<'a> {
    pub(crate) name: &'a str,
    /// How long it took.
    pub(crate) seconds: f64,
    /// How often it was run.
    pub(crate) runs: u32,
    /// Why it failed, if it did.
    pub(crate) error: Option<&'a str>,
}

impl Report {
    /// What was tested. The doctor is the first.
    pub(crate) fn tests(&self) -> Vec<Test<'_>> {
        let Doctor { supported, seconds, checks, programs: _ } = &self.doctor;
        let refusal = checks.iter().find(|check| check.status == "missing").map(|check| check.found.as_str());
        let refusal = (!supported).then(|| refusal.unwrap_or("the doctor gives no reason"));
        let doctor =
            Test { name: "all programs load and attach (`syspan doctor`)", seconds: *seconds, runs: 1, error: refusal };
        let scenarios = self.scenarios.iter().map(|Scenario { name, seconds, runs, error }| Test {
            name,
            seconds: *seconds,
            runs: *runs,
            error: error.as_deref(),
        });
        std::iter::once(doctor).chain(scenarios).collect()
    }

    /// Reads it; an error if it is not whole.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path).with_context(|| path.display().to_string())?)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Report;

    /// As a serial port gives it.
    const WHOLE: &str = "{\"kernel\":\"5.10.0-46-cloud-amd64\"}\r\n{\"doctor\":{\"supported\":true,\"seconds\":2.5,\"checks\":[\
        {\"name\":\"kernel\",\"status\":\"ok\",\"found\":\"Linux\"}],\"programs\":[]}}\r\n{\"scenario\":{\"name\":\"HTTP\",\
        \"seconds\":1.0,\"runs\":1,\"error\":\"two spans\"}}\r\n{\"end\":true}\r\n";

    #[test]
    fn a_whole_report_has_the_doctor_and_the_scenarios() {
        let report = Report::parse(WHOLE).unwrap();
        let tests: Vec<_> = report.tests().into_iter().map(|test| (test.name, test.error)).collect();
        assert_eq!(tests, [("all programs load and attach (`syspan doctor`)", None), ("HTTP", Some("two spans"))]);
    }

    #[test]
    fn a_machine_that_stopped_half_way_has_no_report() {
        assert!(Report::parse(WHOLE.trim_end().strip_suffix("{\"end\":true}").unwrap()).is_err());
        assert!(Report::parse("").is_err());
    }

    #[test]
    fn a_doctor_that_refuses_is_a_failure_with_its_reason() {
        let refusal = WHOLE.replace("\"supported\":true", "\"supported\":false").replace("\"ok\"", "\"missing\"");
        assert_eq!(Report::parse(&refusal).unwrap().tests().first().unwrap().error, Some("Linux"));
    }
}
