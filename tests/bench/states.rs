//! What an application is measured with.

use std::{fmt, thread, time::Duration};

use anyhow::{Context as _, Result};
use syspan_tests::{
    process,
    wrk::{self, Load},
};

use crate::{
    agent::{Agent, Cost, Idle},
    cases::{Running, Target},
};

/// What is there beside the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Alone,
    /// The agent, which observes another, idle process.
    Elsewhere,
    /// The agent, which traces the application and exports to a collector.
    Traced,
    /// OpenTelemetry's SDK in the application, which exports to the same collector.
    Sdk,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Alone => "no agent",
            State::Elsewhere => "agent attached elsewhere",
            State::Traced => "traced by the agent",
            State::Sdk => "OpenTelemetry SDK",
        })
    }
}

/// One measurement.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// What the client saw.
    pub load: Load,
    /// CPU time of the application for one request, µs.
    pub cpu_per_request: f64,
    /// What the agent needed, where there was one.
    pub agent: Option<Cost>,
}

impl State {
    /// Brings the state about, warms up, and measures. The collector listens on this OTLP/HTTP port.
    pub(crate) fn measure(
        self,
        running: &Running,
        collector: u16,
        warm_up: Duration,
        duration: Duration,
    ) -> Result<Measured> {
        match self {
            State::Alone => measure(&running.plain, None, warm_up, duration),
            State::Sdk => measure(running.with_sdk.as_ref().context("no SDK here")?, None, warm_up, duration),
            State::Elsewhere => {
                let idle = Idle::start()?;
                let agent = Agent::start(&[idle.pid()], &[])?;
                measure(&running.plain, Some(agent), warm_up, duration)
            }
            State::Traced => {
                let url = format!("http://127.0.0.1:{collector}");
                let agent = Agent::start(&[running.plain.pid], &["--otlp", &url, "--protocol", "http/protobuf"])?;
                measure(&running.plain, Some(agent), warm_up, duration)
            }
        }
    }
}

/// What is not over yet when wrk ends (answers under way, events in the order window) is over after this.
const SETTLE: Duration = Duration::from_millis(300);

fn measure(target: &Target, agent: Option<Agent>, warm_up: Duration, duration: Duration) -> Result<Measured> {
    let warm = wrk::run(&target.url, warm_up)?;
    let before = process::cpu(target.pid)?;
    let load = wrk::run(&target.url, duration)?;
    thread::sleep(SETTLE);
    let cpu = process::cpu(target.pid)?.saturating_sub(before);
    let agent = agent.map(|agent| agent.stop(warm.requests + load.requests)).transpose()?;
    Ok(Measured { load, cpu_per_request: cpu.as_secs_f64() * 1e6 / load.requests.max(1) as f64, agent })
}
