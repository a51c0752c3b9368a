//! `syspan check`: which processes would be traced, under which name, and why. Touches nothing.

use std::process::ExitCode;

use super::Failure;
use crate::processes::{
    identity::Identifier,
    proc::Proc,
    selector::{Selectors, Survey},
};

pub(super) fn check(selectors: &Selectors) -> Result<ExitCode, Failure> {
    let proc = Proc::at("/proc");
    let candidates = Survey::candidates(&proc, selectors)?;
    let selected = selectors.select(&candidates, std::process::id())?;
    let mut identifier = Identifier::new(proc);
    let mut rows = vec![["PID".into(), "SERVICE".into(), "NAMED BY".into(), "SELECTED BY".into(), "EXECUTABLE".into()]];
    for (pid, by) in selected {
        let Some(identity) = identifier.identify(pid) else { continue };
        rows.push([
            pid.to_string(),
            identity.process.service_name().to_owned(),
            identity.source.to_string(),
            by.to_string(),
            identity.exe.map(|exe| exe.display().to_string()).unwrap_or_default(),
        ]);
    }
    if rows.len() == 1 {
        eprintln!("syspan: no process is selected now; one that appears later would be");
        return Ok(ExitCode::SUCCESS);
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
