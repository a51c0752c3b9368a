//! Tasks of Tokio: they move between threads, and have others make calls for them.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::*;

const PID: Pid = 1;
const ONE: Thread = (PID, 1);
const TWO: Thread = (PID, 2);

/// The thread polls this task from now on.
fn polls(world: &mut World, thread: Thread, task: u32) -> Thread {
    world.runs(thread, Coroutine::Task(task));
    thread
}

fn world() -> World {
    let mut world = World::new();
    world.process(PID, "web", Runtime::Threads);
    world
}

#[test]
fn a_task_works_for_what_it_has_read_on_whatever_thread() {
    let mut world = world();
    let (first, second) = (world.accept(ONE), world.accept(ONE));
    let (one, two) = (world.connect(ONE, 5000), world.connect(ONE, 5000));
    world.request(ONE, first, "/before");
    world.answer(ONE, first);
    for (task, request, path) in [(7, first, "/first"), (8, second, "/second")] {
        let thread = polls(&mut world, ONE, task);
        world.request(thread, request, path);
    }
    // The other way round, on another thread, and with a wait in between.
    for (task, connection, path) in [(8, two, "/of-second"), (7, one, "/of-first")] {
        world.wait(TWO);
        let thread = polls(&mut world, TWO, task);
        world.call(thread, connection, path);
    }
    for (task, connection, request) in [(7, one, first), (8, two, second)] {
        let thread = polls(&mut world, ONE, task);
        world.result(thread, connection);
        world.answer(thread, request);
    }
    let run = world.run();
    for (call, request) in [("/of-first", "/first"), ("/of-second", "/second")] {
        run.assert_edge(run.client(call), run.server(request), Evidence::Task);
    }
}

#[test]
fn a_task_that_serves_several_connections_works_for_none() {
    let mut world = world();
    polls(&mut world, ONE, 7);
    let (first, second, connection) = (world.accept(ONE), world.accept(ONE), world.connect(ONE, 5000));
    world.request(ONE, first, "/first");
    world.request(ONE, second, "/second");
    world.blocking_call(ONE, connection, "/call");
    world.answer(ONE, first);
    world.answer(ONE, second);
    let run = world.run();
    run.assert_root(run.client("/call"));
}

/// hyper's clients open a connection for a request, and then make it on another one that has become free.
#[test]
fn a_connection_that_a_task_of_its_own_has_was_opened_for_anybody() {
    let mut world = world();
    let (first, second) = (world.accept(ONE), world.accept(ONE));
    for (task, request, path) in [(7, first, "/first"), (8, second, "/second")] {
        let thread = polls(&mut world, ONE, task);
        world.request(thread, request, path);
    }
    let thread = polls(&mut world, ONE, 7);
    let connection = world.connect(thread, 5000);
    let thread = polls(&mut world, ONE, 9);
    world.blocking_call(thread, connection, "/of-second");
    for (task, request) in [(8, second), (7, first)] {
        let thread = polls(&mut world, ONE, task);
        world.answer(thread, request);
    }
    let run = world.run();
    run.assert_root(run.client("/of-second"));
}

/// What a task waits for before it has a call made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Nothing,
    /// Something that is not seen.
    Unseen,
}

/// Requests of which each makes a call of its own, and then has the task of a connection make another one: right, missing and wrong edges of
/// these.
fn relayed(pause: Pause, at_once: usize, seed: u64) -> (usize, usize, usize) {
    const REQUESTS: usize = 400;
    let mut world = world();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |number: usize| random.next_u32() as usize % number;
    // By place: the request's number and how far it is. Each place has the same connections and tasks all the time.
    let mut places: Vec<(usize, u32)> = vec![(0, 0); at_once];
    let sockets: Vec<[SocketId; 3]> = (0..at_once)
        .map(|_| {
            [
                world.accept(ONE),
                world.tcp(ONE, Origin::Unknown, 21_000, 5432),
                world.tcp(ONE, Origin::Unknown, 22_000, 5000),
            ]
        })
        .collect();
    let mut started = 0;
    while started < REQUESTS {
        if below(8) == 0 {
            world.wait(ONE);
        }
        let place = below(at_once);
        let [request, own, relay] = sockets[place];
        let (mut number, step) = places[place];
        let (task, its) = (place as u32 + 1, place as u32 + 1001);
        let mut step = step;
        let thread = polls(&mut world, ONE, task);
        match step {
            0 => {
                (number, started) = (started, started + 1);
                world.request(thread, request, &format!("/r{number}"));
                world.call(thread, own, &format!("/r{number}/own"));
            }
            1 => world.result(thread, own),
            2 => {
                let thread = polls(&mut world, ONE, its);
                world.call(thread, relay, &format!("/r{number}/item"));
            }
            3 => {
                let thread = polls(&mut world, ONE, its);
                world.result(thread, relay);
            }
            _ => world.answer(thread, request),
        }
        if step == 1 && pause == Pause::Nothing {
            let thread = polls(&mut world, ONE, its);
            world.call(thread, relay, &format!("/r{number}/item"));
            step += 1;
        }
        places[place] = (number, (step + 1) % 5);
    }
    let run = world.run();
    let names: HashMap<_, _> =
        run.spans.iter().map(|span| (span.span_id, span.string("url.path").unwrap_or_default())).collect();
    let mut score = (0, 0, 0);
    for span in run.spans.iter().filter(|span| span.kind == Kind::Client) {
        let url = span.string("url.full").unwrap();
        let Some(truth) = url[url.find("/r").unwrap()..].strip_suffix("/item") else { continue };
        match &span.parent {
            None => score.1 += 1,
            Some(parent) if names.get(&parent.span_id) == Some(&truth) => score.0 += 1,
            Some(_) => score.2 += 1,
        }
    }
    score
}

#[test]
fn a_task_that_has_another_one_make_a_call_is_found() {
    for at_once in [2, 8, 32] {
        for seed in 0..2 {
            let (right, missing, wrong) = relayed(Pause::Nothing, at_once, seed);
            assert_eq!(wrong, 0, "{at_once} at once, seed {seed}");
            assert!(right > 9 * missing, "{at_once} at once, seed {seed}: {right} right, {missing} missing");
        }
    }
}

#[test]
fn nobody_is_taken_for_it_where_tasks_wait_for_what_is_not_seen() {
    for at_once in [2, 3, 8, 32] {
        for seed in 0..8 {
            let (.., wrong) = relayed(Pause::Unseen, at_once, seed);
            assert_eq!(wrong, 0, "{at_once} at once, seed {seed}");
        }
    }
}
