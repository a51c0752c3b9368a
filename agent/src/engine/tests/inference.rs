//! What is inferred where nothing is certain: mostly right, and as likely as it says.

use super::simulation::{AT_ONCE, NOTHING, Plan, Release, SEQUENTIAL, Score, Style, THREE};

const QUEUEING: Plan = Plan {
    seed: 0,
    style: Style::AtOnce,
    release: Release::First,
    pool: 4,
    opened_before: false,
    concurrency: 32,
    requests: 300,
    scripts: &[SEQUENTIAL],
    warm: false,
};

fn add(all: &mut Score, score: Score) {
    all.right += score.right;
    all.missing += score.missing;
    all.wrong += score.wrong;
}

fn share(score: Score) -> f64 {
    score.right as f64 / (score.right + score.missing + score.wrong) as f64
}

#[test]
fn a_pool_that_serves_first_in_first_out() {
    let mut all = Score::default();
    for seed in 0..6 {
        for release in [Release::First, Release::Last] {
            add(&mut all, Plan { seed, release, ..QUEUEING }.score_of_all());
        }
    }
    assert!(share(all) >= 0.95, "{all:?}");
}

/// Each request asks for three connections when it is read, and gets them as they become free: when others have come meanwhile, and when
/// its first calls are over or not.
#[test]
fn calls_begun_at_once_that_wait_for_a_small_pool() {
    let (mut all, mut likely) = (Score::default(), Score::default());
    for seed in 0..4 {
        for pool in [4, 12] {
            let plan = Plan { seed, pool, scripts: &[AT_ONCE], concurrency: 16, ..QUEUEING };
            let (with, without) = plan.inferred(0.9);
            add(&mut likely, with);
            add(&mut all, with);
            add(&mut all, without);
        }
    }
    assert!(share(all) >= 0.95, "{all:?}");
    assert!(likely.right * 2 > all.right, "{likely:?} of {all:?}");
    assert!(share(likely) >= 0.99, "{likely:?}");
}

#[test]
fn handlers_that_run_in_the_next_turn() {
    let mut all = Score::default();
    for seed in 0..6 {
        for pool in [4, 40] {
            let plan = Plan { seed, pool, style: Style::NextTurn, scripts: &[SEQUENTIAL, THREE, NOTHING], ..QUEUEING };
            add(&mut all, plan.score_of_all());
        }
    }
    // Where too little was foreseen, nothing is said.
    assert!(share(all) >= 0.75, "{all:?}");
    assert!(all.wrong * 100 <= all.right, "{all:?}");
}

#[test]
fn what_is_likely_is_right_as_often_as_it_says() {
    let (mut likely, mut others) = (Score::default(), Score::default());
    for seed in 0..6 {
        for style in [Style::AtOnce, Style::NextTurn] {
            for pool in [2, 8] {
                let plan = Plan { seed, style, pool, scripts: &[SEQUENTIAL, THREE, NOTHING], ..QUEUEING };
                let (with, without) = plan.inferred(0.9);
                add(&mut likely, with);
                add(&mut others, without);
            }
        }
    }
    assert!(likely.right > 2000, "{likely:?}");
    assert!(share(likely) >= 0.99, "{likely:?}");
    assert!(share(others) >= 0.5, "{others:?}");
}
