//! What is inferred where nothing is certain: mostly right, and as likely as it says.

use std::{collections::VecDeque, num::NonZeroU64};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::{
    simulation::{AT_ONCE, NOTHING, Plan, Release, SEQUENTIAL, Score, Style, THREE, judge},
    *,
};

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

/// Requests whose calls are made one after the other by workers of a pool, mostly in the order in which they can be; only of the last one is
/// known whose it was, as its worker wakes the request's thread. Who learns of that right before the answer has not foreseen who would answer.
#[test]
fn what_is_known_just_before_is_not_foreseen() {
    const PID: Pid = 1;
    let mut all = Score::default();
    for seed in 0..2 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |limit: usize| random.next_u32() as usize % limit.max(1);
        let mut world = World::new();
        world.process(PID, "stages", Runtime::Threads);
        let mut clients: Vec<_> = (100..164).map(|tid| ((PID, tid), world.accept((PID, tid)))).collect();
        let mut workers: Vec<_> = (1..9).map(|tid| ((PID, tid), world.connect((PID, tid), 5000))).collect();
        let (mut waiting, mut running, mut requests) = (VecDeque::new(), Vec::new(), 0);
        while requests < 1000 || !waiting.is_empty() || !running.is_empty() {
            match below(3) {
                0 if requests < 1000 && !clients.is_empty() && below(2) == 0 => {
                    let (thread, client) = clients.swap_remove(below(clients.len()));
                    world.request(thread, client, &format!("/r{requests}"));
                    waiting.push_back((thread, client, requests, 0));
                    requests += 1;
                }
                1 if !waiting.is_empty() && !workers.is_empty() => {
                    let (thread, client, number, made) = waiting.remove(below(waiting.len().min(2))).unwrap();
                    let (worker, server) = workers.swap_remove(below(workers.len()));
                    world.call(worker, server, &format!("/r{number}/{}", ["first", "second", "last"][made]));
                    running.push((thread, client, number, made, worker, server));
                }
                2 if !running.is_empty() => {
                    let (thread, client, number, made, worker, server) = running.swap_remove(below(running.len()));
                    world.result(worker, server);
                    workers.push((worker, server));
                    if made < 2 {
                        waiting.push_back((thread, client, number, made + 1));
                        continue;
                    }
                    let (time, task) = (world.tick(), world.task(worker));
                    let futex = NonZeroU64::new(0x1000 + 0x40 * u64::from(thread.1));
                    world.events.push(Event::Wake { time, task, woken: thread.1, futex, lock: false });
                    world.answer(thread, client);
                    clients.push((thread, client));
                }
                _ => {}
            }
        }
        add(&mut all, judge(&world.run_with(Evidence::Inferred), 0, |_| true));
    }
    assert!(all.right > 1900, "the last ones are known: {all:?}");
    assert!(all.wrong * 100 < all.right, "{all:?}");
}
