//! When to stop: a signal, or the end of a duration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

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
            let mut signals = signal(kind)?;
            let signalled = Arc::clone(&signalled);
            tokio::spawn(async move {
                signals.recv().await;
                signalled.store(true, Relaxed);
            });
        }
        Ok(Self { signalled, deadline: duration.map(|duration| Instant::now() + duration) })
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        self.signalled.load(Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
