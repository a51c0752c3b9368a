//! The report: tables, and whether each demand was met.

use std::fmt::{self, Write as _};

use anyhow::Result;
use syspan_tests::{mixed::Summary, ordeals::Ordeal};

use crate::{
    samples::Sample,
    steady::{Plan, Steady},
};

/// Rows of the table of samples, at most: an hour has 360 samples.
const ROWS: usize = 13;

const MIB: f64 = 1024.0 * 1024.0;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Report {
    latencies: String,
    verdicts: Vec<(String, Result<String, String>)>,
    steady: String,
}

impl Report {
    /// Latencies of the servers without an agent.
    pub(crate) fn alone(&mut self, when: &str, summary: &Summary) {
        self.latency(when, summary);
    }

    /// What came of an ordeal.
    pub(crate) fn ordeal(&mut self, ordeal: Ordeal, outcome: Result<Summary>) {
        if let Ok(summary) = &outcome {
            self.latency(&ordeal.to_string(), summary);
        }
        let outcome = outcome.map(|summary| format!("{} requests, none failed", summary.requests()));
        self.verdict(ordeal.to_string(), outcome.map_err(|error| format!("{error:#}")));
    }

    /// What came of the steady load.
    pub(crate) fn steady(&mut self, plan: &Plan, steady: &Steady) {
        if let Ok(summary) = &steady.load {
            self.latency("steady load, traced", summary);
        }
        let load = steady.load.as_ref().map(|summary| format!("{} requests, none failed", summary.requests()));
        self.verdict(plan.to_string(), load.map_err(|error| format!("{error:#}")));
        let made = format!("{} made", steady.connections);
        let enough = steady.connections >= plan.connections;
        self.verdict("short connections".to_owned(), if enough { Ok(made) } else { Err(made) });
        let memory = steady.memory().map_or("too short to tell".to_owned(), |(settled, end)| {
            let growth = (end as f64 / settled as f64 - 1.0) * 100.0;
            let minutes = steady.settled.as_secs_f64() / 60.0;
            format!(
                "{:.1} MiB after {minutes} min, {:.1} MiB at the end ({growth:+.1} %)",
                settled as f64 / MIB,
                end as f64 / MIB
            )
        });
        let name = format!("memory grows by less than {:.0} %", steady.growth * 100.0);
        self.verdict(name, if steady.memory_is_steady() { Ok(memory) } else { Err(memory) });
        let clean = steady.clean.as_ref().map(|()| "nothing left in the kernel, descriptors as before".to_owned());
        self.verdict("after the end".to_owned(), clean.map_err(|error| format!("{error:#}")));

        let lost: Vec<String> = steady.losses.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
        let lost = if lost.is_empty() { "nothing lost".to_owned() } else { format!("lost: {}", lost.join(", ")) };
        let text = &mut self.steady;
        text.push_str("| after | resident | CPU | descriptors | entries of kernel maps | lost in the kernel |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        let step = steady.samples.len().div_ceil(ROWS).max(1);
        let last = steady.samples.len().saturating_sub(1);
        for (number, sample) in steady.samples.iter().enumerate() {
            if number.is_multiple_of(step) || number == last {
                row(text, sample);
            }
        }
        let _ = writeln!(text, "\n{} spans reached the collector; {lost}.", steady.spans);
    }

    /// Whether every demand was met.
    pub(crate) fn passed(&self) -> bool {
        self.verdicts.iter().all(|(_, outcome)| outcome.is_ok())
    }

    fn verdict(&mut self, what: String, outcome: Result<String, String>) {
        self.verdicts.push((what, outcome));
    }

    fn latency(&mut self, when: &str, summary: &Summary) {
        let _ = write!(self.latencies, "| {when} |");
        for (_, round) in summary.loads() {
            let _ = write!(self.latencies, " {} / {} |", milliseconds(round.p50), milliseconds(round.p99));
        }
        self.latencies.push('\n');
    }
}

fn milliseconds(microseconds: f64) -> String {
    format!("{:.2}", microseconds / 1000.0)
}

fn row(text: &mut String, sample: &Sample) {
    let Sample { at, resident, cpu, descriptors, lost, .. } = sample;
    let (seconds, memory, cpu) = (at.as_secs(), *resident as f64 / MIB, cpu * 100.0);
    let entries = entries(sample);
    let _ = writeln!(
        text,
        "| {}:{:02} | {memory:.1} MiB | {cpu:.1} % | {descriptors} | {entries} | {lost} |",
        seconds / 60,
        seconds % 60
    );
}

fn entries(sample: &Sample) -> String {
    sample.entries.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// A line for whoever looks on.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, resident, cpu, descriptors, lost, .. } = self;
        let (at, resident, cpu) = (at.as_secs(), *resident as f64 / MIB, cpu * 100.0);
        write!(
            f,
            "{at:>5} s: {resident:.1} MiB, CPU {cpu:.1} %, {descriptors} descriptors, lost {lost}, {}",
            entries(self)
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| demand | outcome | |\n|---|---|---|\n")?;
        for (what, outcome) in &self.verdicts {
            let (verdict, text) = match outcome {
                Ok(text) => ("met", text),
                Err(text) => ("**MISSED**", text),
            };
            writeln!(f, "| {what} | {} | {verdict} |", text.replace(['\n', '|'], " "))?;
        }
        writeln!(f, "\nThe agent during the steady load:\n\n{}", self.steady)?;
        f.write_str("Latency of the servers, p50 / p99 in ms:\n\n")?;
        f.write_str("| | nginx, wrk | Node, two queries | pgbench, TCP | pgbench, Unix | short connections |\n")?;
        writeln!(f, "|---|---|---|---|---|---|\n{}", self.latencies)
    }
}
