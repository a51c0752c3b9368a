//! One measurement: a row at one load.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    backends::Backends,
    judge::{Asked, Tally, judge},
    rows::Row,
    stack::Stack,
};
use crate::{
    http::Load,
    recording::Recorder,
    syspan::{self, Outcome, Syspan},
};

/// Everything is a parent that syspan thinks is one, and statements keep the ids in their text.
const ARGUMENTS: &[&str] = &["--evidence", "inferred", "--sql-text", "raw"];

/// The ids of the warm-up begin here: far above those that are judged.
const WARM_UP_IDS: usize = 1_000_000;

/// Requests of the warm-up: enough that every worker has had one and that pools are as full as the load makes them.
const WARM_UP: usize = 300;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Right, missing, wrong.
    pub tally: Tally,
    /// The agent's loss counters that are not zero.
    pub losses: BTreeMap<String, u64>,
}

impl Measured {
    fn new(asked: &Asked, outcome: Outcome) -> Self {
        Self { tally: judge(asked, &outcome.spans), losses: outcome.losses }
    }
}

/// Starts a row's servers, traces them while they serve `requests` requests, `concurrency` at once, and judges the spans.
pub fn measure(row: &Row, backends: &Backends, requests: usize, concurrency: usize) -> Result<Measured> {
    let (asked, outcome) = load(row, backends, requests, concurrency, |stack| {
        let syspan = Syspan::run(&stack.pids(), &[ARGUMENTS, stack.options()].concat())?;
        Ok(move || syspan.stop())
    })?;
    Ok(Measured::new(&asked, outcome))
}

/// The same, but keeps a recording in `file`, from which [`replay`] makes the same spans again and again.
pub fn record(row: &Row, backends: &Backends, requests: usize, concurrency: usize, file: &Path) -> Result<Measured> {
    let (asked, ()) = load(row, backends, requests, concurrency, |stack| {
        let selectors = stack.pids().into_iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]);
        let options = stack.options().iter().map(|option| (*option).to_owned());
        let arguments: Vec<String> = options.chain(selectors).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let recorder = Recorder::start(&arguments)?;
        Ok(move || recorder.keep(file))
    })?;
    fs::write(beside(file), serde_json::to_string(&asked)?)?;
    replay(file)
}

/// Judges a recording that [`record`] has kept, by the agent as it is now.
pub fn replay(file: &Path) -> Result<Measured> {
    let asked = beside(file);
    let asked = fs::read_to_string(&asked).with_context(|| asked.display().to_string())?;
    Ok(Measured::new(&serde_json::from_str(&asked)?, syspan::replay(file, ARGUMENTS)?))
}

/// The file that tells what was asked while a recording was made.
fn beside(recording: &Path) -> PathBuf {
    let mut name = recording.as_os_str().to_owned();
    name.push(".asked.json");
    name.into()
}

/// Loads a row between `start`, which is given what is traced, and the function that `start` returns.
fn load<T, Stop: FnOnce() -> Result<T>>(
    row: &Row,
    backends: &Backends,
    requests: usize,
    concurrency: usize,
    start: impl FnOnce(&Stack) -> Result<Stop>,
) -> Result<(Asked, T)> {
    ensure!((1..=WARM_UP_IDS).contains(&requests) && concurrency > 0, "{requests} requests, {concurrency} at once?");
    let path = |id: usize| format!("/{}?id={id}", row.path);
    let stack = (row.start)(backends)?;
    let mut load = Load::connect(stack.port(), concurrency)?;
    load.run(WARM_UP, |number| path(WARM_UP_IDS + number)).context("warm-up")?;
    let stop = start(&stack)?;
    load.run(requests, path)?;
    let asked = Asked { path: row.path.to_owned(), ids: 0..requests, hops: stack.processes()? };
    Ok((asked, stop()?))
}
