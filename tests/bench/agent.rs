//! The agent, and what it needs.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;
use syspan_tests::{
    process::{self, Memory},
    server::Server,
    syspan::Syspan,
};
use tempfile::TempDir;

/// An agent that is ready.
pub(crate) struct Agent {
    syspan: Syspan,
    ready_after: Duration,
    ready_at: Instant,
    cpu: Duration,
}

/// What an agent needed from the moment it was ready.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    /// From its start to `syspan: ready`.
    pub ready_after: Duration,
    /// CPU time, user and system, all threads.
    pub cpu: Duration,
    /// In this time.
    pub wall: Duration,
    /// Spans that the collector took.
    pub spans: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Memory at the end.
    pub memory: Memory,
    /// Loss counters that are not zero.
    pub losses: BTreeMap<String, u64>,
}

impl Cost {
    /// CPU time for one span, µs.
    pub(crate) fn cpu_per_span(&self) -> Option<f64> {
        (self.spans > 0).then(|| self.cpu.as_secs_f64() * 1e6 / self.spans as f64)
    }
}

impl Agent {
    /// Attaches it to processes.
    pub(crate) fn start(pids: &[u32], arguments: &[&str]) -> Result<Self> {
        let began = Instant::now();
        let syspan = Syspan::start(&[&["--output", "none"], arguments].concat(), pids, &[])?;
        let cpu = process::cpu(syspan.pid())?;
        Ok(Self { syspan, ready_after: began.elapsed(), ready_at: Instant::now(), cpu })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.syspan.signal(signal)
    }

    /// Reads its costs and stops it, `requests` having been made while it looked. The spans include those that it sends
    /// while it stops, less than a batch of 512.
    pub(crate) fn stop(self, requests: u64) -> Result<Cost> {
        let pid = self.syspan.pid();
        let cpu = process::cpu(pid)?.saturating_sub(self.cpu);
        let memory = process::memory(pid)?;
        let wall = self.ready_at.elapsed();
        let (_, messages) = self.syspan.stop_unread()?;
        Ok(Cost {
            ready_after: self.ready_after,
            cpu,
            wall,
            spans: syspan_tests::syspan::spans(&messages)?,
            requests,
            memory,
            losses: syspan_tests::syspan::losses(&messages)?,
        })
    }
}

/// A process that does nothing.
pub(crate) struct Idle {
    server: Server,
    _folder: TempDir,
}

impl Idle {
    pub(crate) fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("idle-")?;
        let mut command = Command::new("sleep");
        command.arg("infinity");
        Ok(Self { server: Server::start("idle", folder.path(), &command)?, _folder: folder })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }
}
