//! `syspan doctor`: what this kernel allows, and whether the collector answers.

use std::process::ExitCode;

use super::{DoctorOutput, Failure, run::runtime};
use crate::{
    export::{self, OtlpConfig},
    kernel::support::{self, Check, Host, Status},
};

pub(super) fn doctor(output: DoctorOutput) -> Result<ExitCode, Failure> {
    let mut report = support::doctor(&Host::at("/"));
    report.checks.extend(collector()?);
    match output {
        DoctorOutput::Text => print!("{}", report.text()),
        DoctorOutput::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(if report.supported { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
