//! What signals do: stop a run, or go on to the command that was started.

use std::{
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::processes::proc::Proc;

/// Becomes true once.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    signalled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Stop {
    /// On SIGINT, SIGTERM or after `duration`. To be called within a tokio runtime.
    pub(super) fn new(duration: Option<Duration>) -> std::io::Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            note(kind, &signalled)?;
        }
        Ok(Self { signalled, deadline: duration.map(|duration| Instant::now() + duration) })
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        self.signalled.load(Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// SIGINT and SIGTERM that came, for the command that this process has started.
#[derive(Debug)]
pub(super) struct Relay {
    caught: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Relay {
    /// Catches them from now on, but for those that are ignored: the command inherits that. To be called within a tokio runtime.
    pub(super) fn new() -> std::io::Result<Self> {
        let ignored = Proc::default().ignored_signals().unwrap_or(0);
        let mut caught = Vec::new();
        for (signal, kind) in [(Signal::INT, SignalKind::interrupt()), (Signal::TERM, SignalKind::terminate())] {
            if ignored & 1 << (signal.as_raw() - 1) == 0 {
                let came = Arc::new(AtomicBool::new(false));
                note(kind, &came)?;
                caught.push((signal, came));
            }
        }
        Ok(Self { caught })
    }

    /// Sends a command what came since the last call. One that ended is sent nothing; it must not have been waited for.
    pub(super) fn pass_on_to(&self, command: &Child) {
        for (signal, came) in &self.caught {
            // A Ctrl-C was sent to both already.
            if came.swap(false, Relaxed) && !(*signal == Signal::INT && in_foreground()) {
                let _ = kill_process(Pid::from_child(command), *signal); // it may have ended
            }
        }
    }
}

/// Whether this process and what it started are what the terminal's keys go to.
fn in_foreground() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// Sets `came` each time the signal comes.
fn note(kind: SignalKind, came: &Arc<AtomicBool>) -> std::io::Result<()> {
    let mut signals = signal(kind)?;
    let came = Arc::clone(came);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            came.store(true, Relaxed);
        }
    });
    Ok(())
}
