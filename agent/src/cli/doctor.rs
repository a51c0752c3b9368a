//! `syspan doctor`: what this kernel allows.

use std::process::ExitCode;

use super::{DoctorOutput, Failure};
use crate::kernel::support::{self, Host};

pub(super) fn doctor(output: DoctorOutput) -> Result<ExitCode, Failure> {
    let report = support::doctor(&Host::at("/"));
    match output {
        DoctorOutput::Text => print!("{}", report.text()),
        DoctorOutput::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(if report.supported { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
