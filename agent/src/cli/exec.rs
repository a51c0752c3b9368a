//! `syspan exec`: trace one command and what it starts.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitCode, ExitStatus},
};

use super::{CaptureArgs, Failure, Show, observer::Observer, pipeline, run::runtime, sink::Sink, stop::Stop};
use crate::engine::Engine;

/// A shell's status for a command that was ended by a signal.
const SIGNAL_STATUS: i32 = 128;

pub(super) fn exec(capture: &CaptureArgs, show: &Show, command: &[OsString]) -> Result<ExitCode, Failure> {
    let (program, arguments) = command.split_first().ok_or("no command was given")?;
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let mut sink = Sink::new(show)?;
    let mut observer = Observer::of_children(capture)?;
    // Ctrl-C reaches the command as well; syspan stays until it has ended.
    let _stop = Stop::new(None)?;
    eprintln!("syspan: ready (exec {})", program.to_string_lossy());
    let mut child = Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", program.to_string_lossy()))?;
    let mut engine = Engine::new(show.options(Some(capture)), show.evidence());
    let mut status = None;
    pipeline::run(&mut observer, &mut engine, &mut sink, &mut || {
        status = ended(&mut child);
        status.is_some()
    })?;
    let status = match status {
        Some(status) => status,
        None => child.wait()?, // nobody reads the output any more
    };
    runtime.block_on(sink.finish(engine.accounts()))?;
    let code = status.code().unwrap_or_else(|| SIGNAL_STATUS + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().ok().flatten()
}
