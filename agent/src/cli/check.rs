//! `syspan check`: which processes would be traced, under which name, and why. Touches nothing.

use std::process::ExitCode;

use super::Failure;
use crate::{
    escape::harmless,
    processes::{
        exporting,
        identity::Identifier,
        proc::Proc,
        reader::{self, Answer, Reader},
        selector::{Selectors, Survey},
    },
};

pub(super) fn check(selectors: &Selectors) -> Result<ExitCode, Failure> {
    let proc = Proc::at("/proc");
    let candidates = Survey::candidates(&proc, selectors)?;
    let selected = selectors.select(&candidates, std::process::id())?;
    let mut reader = Reader::new(Identifier::new(proc.clone()));
    let answers: Vec<Answer> = selected.iter().map(|(pid, _)| reader.read(*pid)).collect();
    reader.wait(&answers, reader::LIMIT);
    let mut rows = vec![["PID".into(), "SERVICE".into(), "NAMED BY".into(), "SELECTED BY".into(), "EXECUTABLE".into()]];
    let mut instrumented = Vec::new();
    for ((pid, by), answer) in selected.iter().zip(&answers) {
        let Some(identity) = answer.best() else { continue };
        if let Some(sign) = exporting::sign(&proc, *pid) {
            let service = harmless(identity.process.service_name()).into_owned();
            instrumented.push(format!(
                "{service} (process {pid}) seems to export spans of its own ({sign}): once it is seen to, what they cover is left to it, \
                 unless --sdk trace says otherwise"
            ));
        }
        let exe = identity.exe.as_ref().map(|exe| exe.display().to_string()).unwrap_or_default();
        let cells = [
            pid.to_string(),
            identity.process.service_name().to_owned(),
            identity.source.to_string(),
            by.to_string(),
            exe,
        ];
        rows.push(cells.map(|cell| harmless(&cell).into_owned()));
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
    for sentence in instrumented {
        println!("{sentence}");
    }
    Ok(ExitCode::SUCCESS)
}
