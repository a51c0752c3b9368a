//! A short form of `cargo xtask accuracy`: parents that claim evidence are right, and every span is there.

#![allow(clippy::panic, reason = "tests")]

use anyhow::{Context as _, Result};
use syspan_tests::accuracy::{
    backends::Backends,
    judge::{Level, Verdicts},
    measure::measure,
    rows,
};

const REQUESTS: usize = 300;
const CONCURRENCY: usize = 16;

/// Measures a row: no span is missing or there twice, nothing was lost, and no parent is wrong that was not inferred.
fn judge(name: &str) -> Result<(Verdicts, usize)> {
    let row = rows::named(name).with_context(|| format!("no row {name}"))?;
    let measured = measure(row, &Backends::start()?, REQUESTS, CONCURRENCY)?;
    let tally = measured.tally;
    assert_eq!((tally.absent, tally.surplus), (0, 0), "{name}: {:?}", measured.losses);
    assert!(measured.losses.is_empty(), "{name}: {:?}", measured.losses);
    let observed = tally.of(|level| !level.is_inferred());
    assert_eq!(observed.wrong, 0, "{name}: {:#?}", tally.wrong);
    assert_eq!(tally.of(|level| level == Level::Unlabelled), Verdicts::default(), "{name}");
    Ok((observed, tally.edges))
}

#[test]
fn node_behind_nginx_has_all_its_parents() -> Result<()> {
    let (observed, edges) = judge("nginx-node")?;
    assert_eq!((observed.right, edges), (5 * REQUESTS, 5 * REQUESTS));
    Ok(())
}

#[test]
fn node_whose_requests_queue_for_a_connection_has_no_wrong_ones() -> Result<()> {
    let (observed, edges) = judge("node-pool-4")?;
    eprintln!("{} of {edges} are known", observed.right);
    Ok(())
}

#[test]
fn threads_of_python_have_all_their_parents() -> Result<()> {
    let (observed, edges) = judge("gunicorn-threads")?;
    assert_eq!((observed.right, edges), (3 * REQUESTS, 3 * REQUESTS));
    Ok(())
}

/// Each call is made by a goroutine of its own; http.Client's is written by yet another one.
#[test]
fn goroutines_started_for_a_request_have_all_their_parents() -> Result<()> {
    let (observed, edges) = judge("go-fanout")?;
    assert_eq!((observed.right, edges), (3 * REQUESTS, 3 * REQUESTS));
    Ok(())
}
