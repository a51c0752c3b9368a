//! `syspan replay`: the traces of a recording, or of a packet capture.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read},
    path::Path,
    process::ExitCode,
};

use rustix::thread::CapabilitySet;

use super::{
    Failure, Show,
    recording::{self, RecordingError},
    run::runtime,
    sink::Sink,
};
use crate::{
    captures,
    engine::{Engine, Output},
    event::Event,
    privileges,
};

pub(super) fn replay(file: &Path, show: &Show) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let mut source = Source::open(file)?;
    let mut sink = Sink::new(show)?;
    // A file may be a stranger's, and whoever replays it root.
    privileges::give_up_all_but(CapabilitySet::empty())?;
    let mut engine = Engine::new(show.options(), show.evidence());
    let mut output = Output::default();
    let mut now = 0;
    while let Some(event) = source.next()? {
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

/// Where events come from; the file's first bytes say what it is.
enum Source {
    Recording(recording::Reader),
    Capture(Box<captures::Reader>),
}

impl Source {
    /// A file, or `-` for standard input.
    fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let failed = |source| RecordingError::File { path: name.clone(), what: "read", source };
        let mut input: Box<dyn Read + Send> = match path.to_str() {
            Some("-") => Box::new(io::stdin()),
            _ => Box::new(File::open(path).map_err(failed)?),
        };
        let mut beginning = Vec::new();
        input.by_ref().take(captures::BEGINNING).read_to_end(&mut beginning).map_err(failed)?;
        if captures::Reader::is_capture(&beginning) {
            return Ok(Self::Capture(Box::new(captures::Reader::new(name, beginning, input)?)));
        }
        let input = BufReader::new(Cursor::new(beginning).chain(input));
        Ok(Self::Recording(recording::Reader::new(name, Box::new(input))))
    }

    fn next(&mut self) -> Result<Option<Event>, Failure> {
        Ok(match self {
            Self::Recording(reader) => reader.next()?,
            Self::Capture(reader) => reader.next_event()?,
        })
    }
}
