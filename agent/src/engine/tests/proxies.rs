//! Proxies whose threads read all that there is before they act on any of it, as HAProxy's do.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::{
    simulation::{Score, judge},
    *,
};

/// Connections of clients, and to the server.
const LINES: usize = 32;

/// What becomes of so many turns of a proxy that passes on what it reads in that order, on connections that it opens if it has none.
fn passes_on(seed: u64, turns: usize) -> Score {
    let thread = (1, 1);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::new();
    world.process(1, "proxy", Runtime::Threads);
    let mut free: Vec<SocketId> = (0..LINES).map(|_| world.accept(thread)).collect();
    let (mut idle, mut calls, mut requests) = (Vec::new(), Vec::new(), 0);
    for turn in 0.. {
        if turn >= turns && calls.is_empty() {
            break;
        }
        world.wait(thread);
        let (mut read, mut returned) = (Vec::new(), Vec::new());
        for client in std::mem::take(&mut free) {
            if turn < turns && random.next_u32() % 4 == 0 {
                world.request(thread, client, &format!("/r{requests}"));
                read.push((client, requests));
                requests += 1;
            } else {
                free.push(client);
            }
        }
        for (server, client) in std::mem::take(&mut calls) {
            if random.next_u32() % 4 == 0 {
                world.result(thread, server);
                returned.push((server, client));
            } else {
                calls.push((server, client));
            }
        }
        for (client, number) in read {
            let server = idle.pop().unwrap_or_else(|| world.connect(thread, 5000));
            world.call(thread, server, &format!("/r{number}/c0"));
            calls.push((server, client));
        }
        for (server, client) in returned {
            world.answer(thread, client);
            idle.push(server);
            free.push(client);
        }
    }
    let run = world.run();
    run.assert_no_losses();
    judge(&run, 0, |_| true)
}

#[test]
fn calls_of_requests_that_were_read_in_one_turn_are_in_their_order() {
    for seed in 0..5 {
        let score = passes_on(seed, 200);
        assert!(score.right > 500, "{score:?}");
        assert_eq!((score.missing, score.wrong), (0, 0), "{score:?}");
    }
}

#[test]
fn too_little_was_seen_to_know_an_order() {
    let score = passes_on(0, 2);
    assert_eq!(score.wrong, 0, "{score:?}");
    assert!(score.missing > 0, "{score:?}");
}
