//! `syspan run`: trace running processes.

use std::{process::ExitCode, time::Duration};

use rustix::thread::CapabilitySet;

use super::{CaptureArgs, Failure, Show, observer::Observer, pipeline, sink::Sink, stop::Stop};
use crate::{engine::Engine, privileges, processes::selector::Selectors};

/// Threads for the collector's connection. Capturing and tracing have the main thread.
const EXPORT_THREADS: usize = 1;

/// A runtime for signals and export, whose threads talk to the network and may do nothing else.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let unprivileged = || {
        if let Err(error) = privileges::give_up_all_but(CapabilitySet::empty()) {
            tracing::warn!(%error, "a thread that exports keeps its privileges");
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(EXPORT_THREADS).on_thread_start(unprivileged).enable_all().build()
}

pub(super) fn run(
    selectors: Selectors,
    capture: &CaptureArgs,
    show: &Show,
    duration: Option<Duration>,
) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let mut sink = Sink::new(show)?;
    let mut observer = Observer::start(selectors, capture)?;
    let stop = Stop::new(duration)?;
    observer.settle(CapabilitySet::empty())?;
    ready(&observer);
    let mut engine = Engine::new(show.options(), show.evidence());
    pipeline::run(&mut observer, &mut engine, &mut sink, &mut || stop.is_due())?;
    runtime.block_on(sink.finish(engine.accounts()))?;
    Ok(ExitCode::SUCCESS)
}

/// Says that everything is attached: what happens from now on is seen.
pub(super) fn ready(observer: &Observer) {
    match observer.chosen() {
        None => eprintln!("syspan: ready (every process)"),
        Some(1) => eprintln!("syspan: ready (1 process)"),
        Some(0) => eprintln!("syspan: ready (no process yet; waiting for one to appear)"),
        Some(n) => eprintln!("syspan: ready ({n} processes)"),
    }
}
