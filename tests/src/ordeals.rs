//! What can happen to an agent while it observes servers under load. None of it may fail a request, leave anything in the
//! kernel, or cost the servers a descriptor.

use std::{
    fmt,
    os::unix::process::ExitStatusExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::{
    bpf::Objects,
    cgroup::MemoryGroup,
    http,
    mixed::{Mixed, Pace, Servers, Summary},
    syspan::{Syspan, losses},
    wait,
};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordeal {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
    /// The kernel kills it because its control group may use no more memory; where there is no such group, memory is
    /// refused to it until it gives up.
    OutOfMemory,
    /// It is started and stopped so many times.
    Cycles(u32),
}

impl fmt::Display for Ordeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("killed (SIGKILL)"),
            Self::Pause(time) => write!(f, "stopped for {} s (SIGSTOP, SIGCONT)", time.as_secs()),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::Cycles(count) => write!(f, "{count} starts and stops"),
        }
    }
}

impl Ordeal {
    /// How hard the servers are loaded meanwhile. Loading and unloading programs waits for every CPU, each time: where
    /// all CPUs are busy that takes seconds, in which the servers have a quiet life.
    fn pace(self) -> Pace {
        match self {
            Self::Cycles(_) => Pace::Steady { short: 100.0 },
            Self::Kill | Self::Pause(_) | Self::OutOfMemory => Pace::Full,
        }
    }

    /// Lets it happen under load. An error if a request failed, if an object of the agent still exists in the
    /// kernel, or if a server has more or fewer descriptors than before.
    pub fn endure(self, servers: &Servers) -> Result<Summary> {
        let before = servers.descriptors()?;
        let load = Mixed::start(servers, self.pace());
        let happened = self.happen(servers);
        let summary = load.finish().with_context(|| self.to_string());
        happened.with_context(|| self.to_string())?;
        let summary = summary?;
        let after = servers.descriptors()?;
        ensure!(before == after, "{self}: descriptors before: {before:?}, after: {after:?}");
        Ok(summary)
    }

    fn happen(self, servers: &Servers) -> Result<()> {
        match self {
            Self::Kill => {
                let (agent, objects) = observing(servers, &[])?;
                agent.kill()?;
                objects.wait_until_gone()?;
                // Nothing is in the way of the next one.
                let (agent, objects) = observing(servers, &[])?;
                agent.stop_unread()?;
                objects.wait_until_gone()
            }
            Self::Pause(time) => pause(servers, time),
            Self::OutOfMemory => out_of_memory(servers),
            Self::Cycles(count) => (0..count).try_for_each(|_| {
                let agent = start(servers, &[])?;
                let objects = Objects::held_by(agent.pid())?;
                agent.stop_unread()?;
                objects.wait_until_gone()
            }),
        }
    }
}

fn start(servers: &Servers, launcher: &[String]) -> Result<Syspan> {
    // One line a span: little to write, and enough to see which requests it saw.
    Syspan::start_by(
        &crate::syspan::launched(launcher),
        &["--output", "text", "--ring-size", "4"],
        &servers.pids(),
        &[],
    )
}

/// An agent in the middle of its work, and what it holds.
fn observing(servers: &Servers, launcher: &[String]) -> Result<(Syspan, Objects)> {
    const SPANS: usize = 1000;
    let agent = start(servers, launcher)?;
    let objects = Objects::held_by(agent.pid())?;
    wait::until("the agent to see the load", wait::START, || {
        Ok((agent.printed()?.lines().count() >= SPANS).then_some(()))
    })?;
    Ok((agent, objects))
}

fn pause(servers: &Servers, time: Duration) -> Result<()> {
    let (agent, objects) = observing(servers, &[])?;
    agent.signal(Signal::STOP)?;
    thread::sleep(time);
    agent.signal(Signal::CONT)?;
    wait::until("the agent to go on", wait::START, || {
        http::get(servers.orders_port(), "/hello/after-the-pause")?;
        Ok(agent.printed()?.contains("/hello/after-the-pause").then_some(()))
    })?;
    let (_, messages) = agent.stop_unread()?;
    // The ring holds less than the servers did meanwhile, and what did not fit is accounted for.
    ensure!(losses(&messages)?.contains_key("ring_full"), "nothing lost in {} s: {messages}", time.as_secs());
    objects.wait_until_gone()
}

fn out_of_memory(servers: &Servers) -> Result<()> {
    let name = format!("syspan-test-{}-{:?}", std::process::id(), thread::current().id());
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let Some(group) = MemoryGroup::create(&name)? else {
        return without_memory_group(servers);
    };
    let processes = group.processes().display().to_string();
    let launcher = ["sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", &processes].map(str::to_owned);
    let (agent, objects) = observing(servers, &launcher)?;
    let begun = Instant::now();
    while group.killed()? == 0 {
        group.squeeze()?;
        ensure!(begun.elapsed() < wait::START, "the kernel did not kill the agent");
    }
    let status = agent.wait_for_end()?;
    ensure!(status.signal() == Some(Signal::KILL.as_raw()), "the agent ended with {status}");
    objects.wait_until_gone()
}

/// The next best thing: no more address space.
fn without_memory_group(servers: &Servers) -> Result<()> {
    eprintln!(
        "NO MEMORY CONTROLLER on this machine: the agent's address space is limited instead of its control group"
    );
    let (agent, objects) = observing(servers, &[])?;
    let output = std::process::Command::new("prlimit")
        .args(["--pid", &agent.pid().to_string(), "--as=1:1"])
        .output()
        .context("prlimit")?;
    ensure!(output.status.success(), "prlimit: {}", String::from_utf8_lossy(&output.stderr));
    let status = agent.wait_for_end()?;
    ensure!(!status.success(), "the agent ended with {status} although it got no memory");
    objects.wait_until_gone()
}
