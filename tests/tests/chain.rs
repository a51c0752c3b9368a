//! One trace for each request, through five services on five runtimes: nginx, Node, Java, Go, Python.

#![allow(clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use anyhow::Result;
use syspan_tests::{
    chain::{self, Verdict},
    http::Load,
    postgres::Postgres,
    syspan::Syspan,
};

const REQUESTS: usize = 200;
const CONNECTIONS: usize = 16;

/// Every request is one whole trace.
fn assert_whole(verdict: &Verdict) {
    assert!(verdict.wrong.is_empty(), "{verdict:#?}");
    assert_eq!((&verdict.absent, &verdict.parentless), (&BTreeMap::new(), &BTreeMap::new()), "{verdict:#?}");
    assert_eq!((verdict.traces, verdict.whole), (REQUESTS, REQUESTS), "{verdict:#?}");
}

#[test]
fn on_one_host() -> Result<()> {
    let postgres = Postgres::start()?;
    let second = chain::second_half(&postgres.environment())?;
    let first = chain::first_half(&postgres.environment(), &format!("127.0.0.1:{}", second.port()))?;
    let mut load = Load::connect(first.port(), CONNECTIONS)?;
    chain::warm_up(&mut load, 300)?;
    let syspan = Syspan::run(&[first.pids(), second.pids()].concat(), &chain::ARGUMENTS)?;
    chain::ask(&mut load, REQUESTS)?;
    let processes = [first.processes()?, second.processes()?].concat();
    let outcome = syspan.stop()?;
    outcome.assert_nothing_lost();
    assert_whole(&chain::judge(&outcome.spans, &processes, REQUESTS));
    Ok(())
}
