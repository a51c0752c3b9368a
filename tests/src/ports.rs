//! Free TCP ports on the loopback address.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, bail};

/// Below Linux's ephemeral ports (32768 and up), so that no outgoing connection takes a port between its choice here and
/// its use by a server.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A port that is free now and that this process will not hand out again.
pub fn free() -> Result<u16> {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run at the same time start at different places.
    let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let step = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no TCP port from {FIRST} to {} is free", FIRST + COUNT)
}
