//! `syspan exec`: trace one command and what it starts.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode, ExitStatus},
    thread,
};

use rustix::thread::CapabilitySet;

use super::{CaptureArgs, Failure, Show, observer::Observer, pipeline, run::runtime, sink::Sink, stop::Relay};
use crate::engine::Engine;

/// A shell's status for a command that is not there.
const NOT_FOUND: u8 = 127;
/// A shell's status for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// A shell's status for a command that was ended by a signal, with the signal's number added.
const SIGNAL_STATUS: i32 = 128;

pub(super) fn exec(capture: &CaptureArgs, show: &Show, command: &[OsString]) -> Result<ExitCode, Failure> {
    let (program, arguments) = command.split_first().ok_or("no command was given")?;
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let mut sink = Sink::new(show)?;
    let mut observer = Observer::of_children(capture)?;
    let relay = Relay::new()?;
    eprintln!("syspan: ready (exec {})", program.to_string_lossy());
    let mut child = match Command::new(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("syspan: {}", not_started(&program.to_string_lossy(), &error));
            return Ok(ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
                NOT_FOUND
            } else {
                NOT_EXECUTABLE
            }));
        }
    };
    // Only now: the command has the privileges of whoever typed it. It may become another user's, and is still sent signals.
    observer.settle(CapabilitySet::KILL)?;
    let mut engine = Engine::new(show.options(), show.evidence());
    let mut status = None;
    let mut ended = || {
        if status.is_none() {
            relay.pass_on_to(&child);
            status = child.try_wait().ok().flatten();
        }
        status.is_some()
    };
    pipeline::run(&mut observer, &mut engine, &mut sink, &mut ended)?;
    // Nobody may be reading the output any more, but the command goes on.
    while !ended() {
        thread::sleep(pipeline::INTERVAL);
    }
    runtime.block_on(sink.finish(engine.accounts()))?;
    Ok(ExitCode::from(status.map_or(1, exit_status)))
}

/// The status of a shell that ran the command.
fn exit_status(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| SIGNAL_STATUS + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}

fn not_started(program: &str, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "there is no such command: check its spelling and PATH, or give its path",
        io::ErrorKind::PermissionDenied => "it may not be executed: `chmod +x` it, or start it with its interpreter",
        _ => return format!("{program} cannot be started: {error}"),
    };
    format!("{program} cannot be started, {remedy}")
}
