//! `syspan run`: trace running processes.

use std::{process::ExitCode, time::Duration};

use super::{CaptureArgs, Failure, Show, observer::Observer, pipeline, sink::Sink, stop::Stop};
use crate::{engine::Engine, processes::selector::Selectors};

/// Threads for the collector's connection. Capturing and tracing have the main thread.
const EXPORT_THREADS: usize = 1;

/// A runtime for signals and export.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(EXPORT_THREADS).enable_all().build()
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
    ready(&observer);
    let mut engine = Engine::new(show.options(Some(capture)), show.evidence());
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
