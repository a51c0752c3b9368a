//! Whatever happens to the agent, the observed programs do not notice.

#![allow(clippy::panic, reason = "tests")]

use std::time::Duration;

use anyhow::Result;
use syspan_tests::{mixed::Servers, ordeals::Ordeal};

#[test]
fn killed_under_load() -> Result<()> {
    Ordeal::Kill.endure(&Servers::start()?).map(drop)
}

#[test]
fn stopped_and_continued_under_load() -> Result<()> {
    Ordeal::Pause(Duration::from_secs(5)).endure(&Servers::start()?).map(drop)
}

#[test]
fn out_of_memory_under_load() -> Result<()> {
    Ordeal::OutOfMemory.endure(&Servers::start()?).map(drop)
}

#[test]
fn started_and_stopped_under_load() -> Result<()> {
    Ordeal::Cycles(20).endure(&Servers::start()?).map(drop)
}
