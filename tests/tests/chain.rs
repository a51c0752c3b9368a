//! One trace for each request, through five services on five runtimes: nginx, Node, Java, Go, Python.

#![allow(clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use anyhow::Result;
use syspan_tests::{
    chain::{self, Verdict},
    http::Load,
    network::{Network, SERVER},
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

/// The first half on one host and the second on another, with an agent on each.
fn on_two_hosts(propagation: &str) -> Result<()> {
    let arguments = [&chain::ARGUMENTS[..], &["--propagate", propagation]].concat();
    let network = Network::new()?;
    // What a namespace's thread has started ends with it, so the one is within the other.
    let (spans, processes) = network.on_server(|| {
        let postgres = Postgres::start_on(&format!("127.0.0.1,{SERVER}"))?;
        let second = chain::second_half(&postgres.environment())?;
        let database = [postgres.environment(), vec![("PGHOST".to_owned(), SERVER.to_owned())]].concat();
        let address = format!("{SERVER}:{}", second.port());
        let syspan = Syspan::run(&second.pids(), &arguments)?;
        let (of_first, processes) = network.on_client(|| {
            let first = chain::first_half(&database, &address)?;
            let mut load = Load::connect(first.port(), CONNECTIONS)?;
            let syspan = Syspan::run(&first.pids(), &arguments)?;
            // The agents see how the programs work before they can tell whose call a request is.
            chain::warm_up(&mut load, 300)?;
            chain::ask(&mut load, REQUESTS)?;
            let processes = first.processes()?;
            Ok((syspan.stop()?, processes))
        })?;
        let processes = [processes, second.processes()?].concat();
        let of_second = syspan.stop()?;
        of_first.assert_nothing_lost();
        of_second.assert_nothing_lost();
        Ok(([of_first.spans, of_second.spans].concat(), processes))
    })?;
    assert_whole(&chain::judge(&spans, &processes, REQUESTS));
    Ok(())
}

#[test]
fn on_two_hosts_by_a_tcp_option() -> Result<()> {
    on_two_hosts("tcp")
}

#[test]
fn on_two_hosts_by_headers() -> Result<()> {
    on_two_hosts("headers=force")
}
