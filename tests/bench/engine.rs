//! The engine's benchmark, whose numbers criterion leaves in files.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// How fast recordings are replayed.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Which recording.
    pub name: String,
    /// Time for all of it, ns.
    pub time: f64,
    /// Its events.
    pub events: u64,
    /// Its spans.
    pub spans: u64,
}

/// criterion's `benchmark.json`.
#[derive(Deserialize)]
struct Benchmark {
    function_id: String,
    /// agent/benches/engine.rs puts the number of spans here.
    value_str: String,
    throughput: Throughput,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Throughput {
    elements: u64,
}

/// criterion's `estimates.json`.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Reads the results of the latest `cargo bench`; none if there was none.
pub(crate) fn read() -> Result<Vec<Replay>> {
    let mut replays = Vec::new();
    read_folder(&syspan_tests::target().join("criterion/replay"), &mut replays)?;
    replays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(replays)
}

fn read_folder(folder: &Path, replays: &mut Vec<Replay>) -> Result<()> {
    let latest = folder.join("new");
    if latest.join("benchmark.json").is_file() {
        let benchmark: Benchmark = parse(&latest.join("benchmark.json"))?;
        let estimates: Estimates = parse(&latest.join("estimates.json"))?;
        replays.push(Replay {
            name: benchmark.function_id,
            time: estimates.median.point_estimate,
            events: benchmark.throughput.elements,
            spans: benchmark.value_str.parse().context("spans")?,
        });
        return Ok(());
    }
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, replays)?;
        }
    }
    Ok(())
}

fn parse<T: for<'de> Deserialize<'de>>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}
