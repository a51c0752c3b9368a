//! Waiting for a condition: polled and bounded.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Long enough for a slow shared machine to start any one server.
pub const START: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every [`until`], running or to come, end with an error.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether [`interrupt`] was called.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Polls until `probe` gives a value; an error of the probe, the timeout or an interrupt ends it.
pub fn until<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_ended(what, timeout, || {
        if interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        probe()
    })
}

/// The same for what is done on the way out, which an interrupt must not cut short.
pub fn until_ended<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if started.elapsed() > timeout {
            bail!("waited {} s for {what}, in vain", timeout.as_secs());
        }
        thread::sleep(INTERVAL);
    }
}
