//! The loop of a live run: kernel events into the engine, its spans to the sink, its advice back to the kernel.

use std::time::Duration;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    Failure,
    observer::{Observer, now},
    sink::Sink,
};
use crate::{
    engine::{Advice, Engine, Output},
    escape::harmless,
    event::{Pid, Time},
    protocols::otlp::Covered,
};

/// The kernel wakes the agent only when much is waiting; otherwise it comes by itself this often. Short enough for a live view, long
/// enough that an idle agent costs nothing that can be measured.
pub(super) const INTERVAL: Duration = Duration::from_millis(10);

/// How often the engine is told the time, and the kernel asked for its loss counters, ns.
const TICK: Time = 100_000_000;

/// Waits for kernel events, until there are many or [`INTERVAL`] has passed.
pub(super) fn wait(observer: &Observer) -> Result<(), Failure> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(INTERVAL.subsec_nanos()) };
    let mut descriptors = [PollFd::new(observer, PollFlags::IN)];
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs until `stop` says so; the engine is finished and the sink has everything then.
pub(super) fn run(
    observer: &mut Observer,
    engine: &mut Engine,
    sink: &mut Sink,
    stop: &mut dyn FnMut() -> bool,
) -> Result<(), Failure> {
    let mut output = Output::default();
    let mut last_tick = now();
    engine.step(observer.beginning()?, &mut output);
    loop {
        // Asked first, so that what happened before the end was asked for is still read.
        let last = stop();
        if !last {
            wait(observer)?;
        }
        let time = now();
        let all = if last {
            observer.drain_last(|event| engine.step(event, &mut output));
            true
        } else {
            observer.drain(|event| engine.step(event, &mut output))
        };
        if last || time.saturating_sub(last_tick) >= TICK {
            last_tick = time;
            observer.tick(all, |event| engine.step(event, &mut output));
            sink.account(engine.accounts(), time);
        }
        for advice in output.advice.drain(..) {
            match advice {
                Advice::Ignore(socket) => observer.ignore(socket),
                Advice::Forget(socket) => observer.forget(socket),
                Advice::Sql(socket) => observer.follow_sql(socket),
            }
        }
        for (pid, service, covered) in engine.instrumented() {
            eprintln!("syspan: {}", instrumented(pid, &service, covered));
        }
        if last {
            observer.finish(|event| engine.step(event, &mut output));
            engine.finish(&mut output);
        }
        let read = sink.take(std::mem::take(&mut output.spans), time)?;
        if !last && !read {
            engine.finish(&mut output);
        }
        if last || !read {
            return Ok(());
        }
    }
}

/// A process traces itself.
fn instrumented(pid: Pid, service: &str, covered: Covered) -> String {
    let (service, covered) = (harmless(service), covered.words());
    format!(
        "{service} (process {pid}) exports {covered} spans of its own, which are left to it (--sdk trace has syspan's as well)"
    )
}
