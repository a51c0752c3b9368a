//! The numbers, kept as JSON beside the page that is made of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use syspan_tests::{
    accuracy::{measure::Measured, rows::Row},
    machine,
};

use crate::page;

/// All lines, in the order in which they were first measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub lines: Vec<Line>,
}

/// A row at one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The row's name.
    pub row: String,
    /// Requests at once.
    pub concurrency: usize,
    /// Requests in all.
    pub requests: usize,
    /// When and where.
    pub circumstances: Circumstances,
    /// What was found.
    pub outcome: Outcome,
}

/// When and where it was measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Circumstances {
    /// Day, UTC.
    pub date: String,
    /// The revision of syspan.
    pub revision: String,
    /// Kernel and release.
    pub kernel: String,
    /// What the application runs on.
    pub version: String,
}

impl Circumstances {
    /// Those of this moment.
    pub(crate) fn now(row: &Row) -> Result<Self> {
        Ok(Self {
            date: machine::date()?,
            revision: machine::revision()?,
            kernel: machine::kernel()?,
            version: (row.version)().unwrap_or_else(|_| "not installed".to_owned()),
        })
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Numbers.
    Measured(Measured),
    /// Why there are none.
    Failed(String),
}

impl Results {
    /// Those beside a page; none if it was never written.
    pub(crate) fn read(page: &Path) -> Result<Self> {
        let file = beside(page);
        match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).with_context(|| file.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    /// Puts a line in the place of the older one of the same row and load.
    pub(crate) fn put(&mut self, line: Line) {
        match self.lines.iter_mut().find(|old| old.row == line.row && old.concurrency == line.concurrency) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
    }

    /// Writes the numbers and the page.
    pub(crate) fn write(&self, page: &Path) -> Result<()> {
        let file = beside(page);
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&file, json).with_context(|| file.display().to_string())?;
        fs::write(page, page::text(self)?).with_context(|| page.display().to_string())
    }
}

fn beside(page: &Path) -> PathBuf {
    page.with_extension("json")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Circumstances, Line, Outcome, Results};

    fn line(row: &str, concurrency: usize, reason: &str) -> Line {
        let none = String::new;
        let circumstances = Circumstances { date: none(), revision: none(), kernel: none(), version: none() };
        Line {
            row: row.to_owned(),
            concurrency,
            requests: 1,
            circumstances,
            outcome: Outcome::Failed(reason.to_owned()),
        }
    }

    #[test]
    fn only_the_line_that_was_measured_again_is_replaced() {
        let mut results = Results::default();
        for line in [line("a", 1, "old"), line("a", 16, "old"), line("b", 1, "old"), line("a", 1, "new")] {
            results.put(line);
        }
        let found: Vec<_> = results
            .lines
            .iter()
            .map(|line| match &line.outcome {
                Outcome::Failed(reason) => (line.row.as_str(), line.concurrency, reason.as_str()),
                Outcome::Measured(_) => ("", 0, ""),
            })
            .collect();
        assert_eq!(found, [("a", 1, "new"), ("a", 16, "old"), ("b", 1, "old")]);
    }
}
