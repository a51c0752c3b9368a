//! `syspan replay`: the traces of a recording.

use std::{path::Path, process::ExitCode};

use rustix::thread::CapabilitySet;

use super::{Failure, Show, recording::Reader, run::runtime, sink::Sink};
use crate::{
    engine::{Engine, Output},
    privileges,
};

pub(super) fn replay(file: &Path, show: &Show) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let mut reader = Reader::open(file)?;
    let mut sink = Sink::new(show)?;
    // A recording may be a stranger's, and whoever replays it root.
    privileges::give_up_all_but(CapabilitySet::empty())?;
    let mut engine = Engine::new(show.options(None), show.evidence());
    let mut output = Output::default();
    let mut now = 0;
    while let Some(event) = reader.next()? {
        now = event.time().unwrap_or(now);
        engine.step(event, &mut output);
        output.advice.clear();
        if !output.spans.is_empty() && !sink.take(std::mem::take(&mut output.spans), now)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    engine.finish(&mut output);
    sink.take(output.spans, now)?;
    runtime.block_on(sink.finish(engine.accounts()))?;
    Ok(ExitCode::SUCCESS)
}
