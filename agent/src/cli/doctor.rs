//! `syspan doctor`: what this kernel allows, whether it takes the programs, and whether the collector answers.

use std::process::ExitCode;

use super::{CaptureArgs, DoctorOutput, Failure, run::runtime};
use crate::{
    escape::harmless_lines,
    export::{self, OtlpConfig},
    kernel::{
        capture::{Capture, Settings},
        propagation::{self, Propagation},
        sockhash,
        support::{self, Check, Host, Status},
    },
};

pub(super) fn doctor(output: DoctorOutput) -> Result<ExitCode, Failure> {
    let mut report = support::doctor(&Host::at("/"));
    if report.supported {
        // What is missing would only be said once more, and less clearly.
        let attempt = Capture::start(&nothing());
        report.add_programs(attempt.as_ref().map(Capture::programs));
    }
    report.checks.push(sockets());
    report.checks.extend(collector()?);
    match output {
        DoctorOutput::Text => print!("{}", harmless_lines(&report.text())),
        DoctorOutput::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(if report.supported { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The settings of `run`, but no process is observed.
fn nothing() -> Settings {
    let args = CaptureArgs::default();
    Settings {
        all: false,
        watch_exec: false,
        watch_listen: false,
        head_limit: args.head_limit,
        sql_limit: args.sql_limit,
        ring_size: args.ring_bytes(),
        propagation: Propagation::Off,
        address_key: 0,
    }
}

/// What sockets would answer to the programs that use them, with `--propagate headers`.
fn sockets() -> Check {
    let check = |status, found: &str, remedy| Check { name: "FIONREAD", status, found: found.to_owned(), remedy };
    if propagation::may_attach().is_err() {
        return check(Status::Ok, "not tried; `--propagate` takes CAP_NET_ADMIN", None);
    }
    match sockhash::tells_what_waits() {
        Ok(true) => check(Status::Ok, "sockets answer as they should with `--propagate headers`", None),
        Ok(false) => check(Status::Warning, sockhash::BROKEN, Some(sockhash::REMEDY)),
        Err(error) => check(Status::Warning, &error.to_string(), Some(sockhash::REMEDY)),
    }
}

/// Asks the collector that the environment names, if it names one, with an export that holds no spans.
fn collector() -> Result<Option<Check>, Failure> {
    const NAME: &str = "collector";
    let (config, warnings) = OtlpConfig::read(None, None, |name| std::env::var(name).ok())?;
    for warning in warnings {
        eprintln!("syspan: {warning}");
    }
    let Some(config) = config.traces.map(|traces| traces.collector) else { return Ok(None) };
    Ok(Some(match runtime()?.block_on(export::probe(&config)) {
        Ok(()) => {
            Check { name: NAME, status: Status::Ok, found: format!("{} takes spans", config.endpoint), remedy: None }
        }
        Err(unreachable) => Check {
            name: NAME,
            status: Status::Warning,
            found: unreachable.to_string(),
            remedy: Some("start the collector, or correct the OTEL_EXPORTER_OTLP_* variables"),
        },
    }))
}
