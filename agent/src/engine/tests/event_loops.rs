//! Applications with an event loop: an edge is right or missing, never wrong.

use super::simulation::{MIXED, NOTHING, PARALLEL, Plan, Release, SEQUENTIAL, Score, Script, Style, THREE, TIMED};

const RELEASES: [Release; 3] = [Release::First, Release::Last, Release::Later];

const PLAN: Plan = Plan {
    seed: 0,
    style: Style::AtOnce,
    release: Release::First,
    pool: 20,
    opened_before: false,
    concurrency: 16,
    requests: 200,
    scripts: &[SEQUENTIAL],
    warm: false,
};

#[test]
fn a_large_pool_and_sequential_calls_are_all_right() {
    for seed in 0..5 {
        for release in RELEASES {
            for opened_before in [false, true] {
                // What is freed in a turn and released at its end is missing in the pool until then.
                let pool = if release == Release::Later { 40 } else { 20 };
                let plan = Plan { seed, release, pool, opened_before, scripts: &[SEQUENTIAL, THREE, NOTHING], ..PLAN };
                let score = plan.score();
                assert!(score.right > 200, "{plan:?}: {score:?}");
                assert_eq!((score.missing, score.wrong), (0, 0), "{plan:?}: {score:?}");
            }
        }
    }
}

#[test]
fn a_large_pool_and_parallel_calls_are_never_wrong_and_mostly_right() {
    let mut all = Score::default();
    for seed in 0..10 {
        for release in [Release::First, Release::Last] {
            let plan = Plan { seed, release, pool: 80, scripts: &[PARALLEL], ..PLAN };
            let score = plan.score();
            assert_eq!(score.wrong, 0, "{plan:?}: {score:?}");
            all.right += score.right;
            all.missing += score.missing;
        }
    }
    assert!(all.right > 2 * all.missing, "{all:?}");
}

#[test]
fn a_small_pool_hands_connections_over_and_no_edge_is_wrong() {
    for release in RELEASES {
        for opened_before in [false, true] {
            let plan = Plan { release, opened_before, pool: 4, concurrency: 32, ..PLAN };
            let score = plan.score();
            assert!(score.right > 0);
            assert_eq!(score.wrong, 0, "{plan:?}: {score:?}");
        }
    }
}

/// Everything that matters at random. Where requests overlap their own work, each kind of request runs once alone
/// before: what an application does with a single request teaches what it may do with many.
#[test]
fn no_edge_is_ever_wrong() {
    const SCRIPTS: [&[Script]; 6] = [
        &[SEQUENTIAL],
        &[THREE, NOTHING],
        &[SEQUENTIAL, TIMED],
        &[PARALLEL, SEQUENTIAL],
        &[MIXED, NOTHING],
        &[SEQUENTIAL, PARALLEL, TIMED, MIXED],
    ];
    for seed in 0..400u64 {
        let pick = |salt: u64, n: u64| (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(salt as u32) >> 32) % n;
        let plan = Plan {
            seed,
            style: if pick(1, 3) == 0 { Style::NextTurn } else { Style::AtOnce },
            release: RELEASES[pick(9, 3) as usize],
            pool: [1, 2, 3, 4, 8, 20][pick(17, 6) as usize],
            opened_before: pick(25, 2) == 0,
            concurrency: [1, 2, 3, 5, 9, 16, 32][pick(33, 7) as usize],
            requests: 60,
            scripts: SCRIPTS[pick(41, 6) as usize],
            warm: true,
        };
        let score = plan.score();
        assert_eq!(score.wrong, 0, "{plan:?}: {score:?}");
        if plan.concurrency == 1 && plan.style == Style::AtOnce && plan.scripts.len() == 1 && plan.pool > 3 {
            assert!(score.right > 0, "{plan:?}: {score:?}");
        }
    }
}

/// Without anything learnt before: sequential requests are never told apart wrongly, whatever is under way at the start.
#[test]
fn sequential_requests_need_no_lesson() {
    let mut all = Score::default();
    for seed in 0..200u64 {
        let plan = Plan {
            seed,
            style: if seed % 3 == 0 { Style::NextTurn } else { Style::AtOnce },
            release: RELEASES[seed as usize % 3],
            pool: [1, 2, 4, 8][seed as usize % 4],
            opened_before: seed % 5 < 3,
            concurrency: [2, 9, 32][seed as usize % 3],
            requests: 60,
            scripts: &[SEQUENTIAL, THREE, NOTHING],
            warm: false,
        };
        let score = plan.score();
        assert_eq!(score.wrong, 0, "{plan:?}: {score:?}");
        all.right += score.right;
        all.missing += score.missing;
    }
    assert!(all.right > 1000, "{all:?}");
}
