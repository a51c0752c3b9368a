//! The steady load and the agent beside it.

use std::{
    collections::BTreeMap,
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    mixed::{Mixed, Pace, Servers, Summary},
    rotel::{Endpoints, Rotel},
    syspan::{Syspan, losses},
};

use crate::samples::{Sample, Sampler};

/// Connections in an hour, unless told otherwise.
const CONNECTIONS_AN_HOUR: u64 = 1_000_000;

/// From one sample to the next.
const INTERVAL: Duration = Duration::from_secs(10);

/// When the agent's memory has the size that it must keep: its tables are as full as they get, its code is read.
const SETTLED: Duration = Duration::from_secs(5 * 60);

/// How much its memory may have grown since then: a share.
const GROWTH: f64 = 0.10;

/// The same in a run so short that its memory cannot have settled: still less than what a leak for each request makes.
const GROWTH_OF_SHORT: f64 = 0.25;

/// A busy machine may need longer for the connections than was planned: by this factor.
const PATIENCE: u32 = 2;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub length: Duration,
    pub connections: u64,
}

impl Plan {
    pub(crate) fn new(minutes: u64, connections: Option<u64>) -> Self {
        let connections = connections.unwrap_or(CONNECTIONS_AN_HOUR * minutes / 60);
        Self { length: Duration::from_secs(minutes * 60), connections }
    }

    /// When memory begins to count: short runs have to do with half of their time.
    fn settled(&self) -> Duration {
        SETTLED.min(self.length / 2)
    }

    fn growth(&self) -> f64 {
        if self.settled() < SETTLED { GROWTH_OF_SHORT } else { GROWTH }
    }

    /// The pace that makes the connections in time, with a little to spare.
    fn pace(&self) -> Pace {
        Pace::Steady { short: self.connections as f64 / self.length.as_secs_f64() * 1.05 }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} minutes of mixed load, {} short connections", self.length.as_secs() / 60, self.connections)
    }
}

/// What a steady load gave.
pub(crate) struct Steady {
    pub samples: Vec<Sample>,
    /// What the clients did; an error where a request failed.
    pub load: Result<Summary>,
    pub connections: u64,
    /// Spans that the collector took.
    pub spans: u64,
    pub losses: BTreeMap<String, u64>,
    /// Whether the kernel has freed the agent's objects and the servers have the descriptors of before.
    pub clean: Result<()>,
    /// When memory began to count.
    pub settled: Duration,
    /// How much it may have grown since then.
    pub growth: f64,
}

impl Steady {
    /// Resident memory once it should grow no more, and at the end.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let settled = self.samples.iter().find(|sample| sample.at >= self.settled)?;
        Some((settled.resident, self.samples.last()?.resident))
    }

    /// Whether the memory at the end is within what it may have grown.
    pub(crate) fn memory_is_steady(&self) -> bool {
        self.memory().is_some_and(|(settled, end)| end as f64 <= settled as f64 * (1.0 + self.growth))
    }
}

/// Runs it: the agent observes the servers and sends its spans to a collector.
pub(crate) fn run(plan: &Plan, servers: &Servers) -> Result<Steady> {
    let endpoints = Endpoints::free()?;
    let _collector = Rotel::quiet(endpoints)?;
    let before = servers.descriptors()?;
    let url = format!("http://127.0.0.1:{}", endpoints.http);
    let arguments = ["--output", "none", "--otlp", &url, "--protocol", "http/protobuf"];
    let agent = Syspan::start(&arguments, &servers.pids(), &[])?;
    let mut sampler = Sampler::start(agent.pid())?;
    let load = Mixed::start(servers, plan.pace());
    let (begun, mut samples) = (Instant::now(), Vec::new());
    let due = |now: Duration| now >= plan.length && load.short_connections() >= plan.connections;
    while !due(begun.elapsed()) && begun.elapsed() < plan.length * PATIENCE && !load.failed() {
        thread::sleep(INTERVAL);
        let sample = sampler.take().context("the agent did not live to the end")?;
        eprintln!("    {sample}, {} connections", load.short_connections());
        samples.push(sample);
    }
    let connections = load.short_connections();
    let load = load.finish();
    let (_, messages) = agent.stop_unread()?;
    let clean = sampler.objects().wait_until_gone().and_then(|()| {
        let after = servers.descriptors()?;
        ensure!(before == after, "descriptors before: {before:?}, after: {after:?}");
        Ok(())
    });
    Ok(Steady {
        samples,
        load,
        connections,
        spans: syspan_tests::syspan::spans(&messages)?,
        losses: losses(&messages)?,
        clean,
        settled: plan.settled(),
        growth: plan.growth(),
    })
}
