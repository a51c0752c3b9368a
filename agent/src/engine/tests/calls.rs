//! Evidence `task`: blocking threads, connection set-up, pipelined requests; other runtimes.

use super::*;

const T: Thread = (1, 10);
const OTHER: Thread = (1, 11);

fn world() -> World {
    let mut world = World::new();
    world.process(1, "app", Runtime::Threads);
    world
}

/// PostgreSQL's start-up: user `u`, nothing else.
const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
const ROWS: &[u8] = b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

fn query(text: &str) -> Vec<u8> {
    [b"Q".as_slice(), &(text.len() as u32 + 5).to_be_bytes(), text.as_bytes(), b"\0"].concat()
}

fn sql(run: &Run) -> Vec<&Span> {
    run.spans.iter().filter(|span| span.string("db.system.name").is_some()).collect()
}

#[test]
fn a_blocking_thread_works_for_the_request_it_has_read() {
    let mut world = world();
    let mut threads = Vec::new();
    for tid in 10..14 {
        let thread = (1, tid);
        threads.push((thread, world.accept(thread), world.connect(thread, 5000)));
    }
    // Four at once, each with three calls, twice; the set-ups were nobody's.
    for round in 0..2 {
        for (thread, front, _) in &threads {
            world.request(*thread, *front, &format!("/r{round}{}", thread.1));
        }
        for call in 0..3 {
            for (thread, _, back) in &threads {
                world.call(*thread, *back, &format!("/c{call}{round}{}", thread.1));
            }
            for (thread, _, back) in threads.iter().rev() {
                world.result(*thread, *back);
            }
        }
        for (thread, front, _) in &threads {
            world.answer(*thread, *front);
        }
        // Between two requests, for nobody.
        world.blocking_call(threads[0].0, threads[0].2, &format!("/idle{round}"));
    }
    let run = world.run();
    run.assert_no_losses();
    for round in 0..2 {
        for (thread, ..) in &threads {
            let request = run.server(&format!("/r{round}{}", thread.1));
            run.assert_root(request);
            for call in 0..3 {
                let span = run.client(&format!("/c{call}{round}{}", thread.1));
                run.assert_edge(span, request, Evidence::Task);
            }
        }
        run.assert_root(run.client(&format!("/idle{round}")));
    }
}

#[test]
fn a_thread_that_serves_many_requests_is_taken_at_its_word_only_within_a_turn() {
    let mut world = world();
    let (front, other_front) = (world.accept(T), world.accept(T));
    let back = world.connect(T, 5000);
    world.wait(T);
    world.request(T, front, "/r0");
    world.wait(T);
    world.call(T, back, "/late"); // by a handler that was put off, or by a timer
    world.wait(T);
    world.request(T, other_front, "/r1");
    world.answer(T, other_front);
    world.result(T, back);
    world.answer(T, front);
    let run = world.run();
    run.assert_root(run.client("/late"));
}

#[test]
fn two_requests_in_one_read_are_told_apart_by_their_answers() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    world.read(T, front, [get("/one"), get("/two")].concat());
    world.blocking_call(T, back, "/c0");
    world.answer(T, front);
    world.blocking_call(T, back, "/c1");
    world.answer(T, front);
    // Alone again.
    world.request(T, front, "/three");
    world.blocking_call(T, back, "/c2");
    world.answer(T, front);
    let run = world.run();
    // Each shows by what follows it.
    run.assert_edge(run.client("/c0"), run.server("/one"), Evidence::Task);
    run.assert_edge(run.client("/c1"), run.server("/two"), Evidence::Task);
    run.assert_edge(run.client("/c2"), run.server("/three"), Evidence::Task);
}

#[test]
fn the_beginning_of_the_next_request_is_not_more_of_this_one() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    world.wait(T);
    world.request(T, front, "/one");
    world.call(T, back, "/c0");
    world.wait(T);
    let next = get("/two");
    world.read(T, front, &next[..10]);
    // Whose this is nobody knows: a timer's, or a part of the first one's work.
    let another = world.connect(T, 5001);
    world.call(T, another, "/unknown");
    world.wait(T);
    world.result(T, back);
    world.answer(T, front);
    world.wait(T);
    world.result(T, another);
    world.wait(T);
    world.read(T, front, &next[10..]);
    world.answer(T, front);
    let run = world.run();
    run.assert_edge(run.client("/c0"), run.server("/one"), Evidence::Task);
    run.assert_root(run.client("/unknown"));
}

#[test]
fn a_connection_opened_for_a_request_carries_its_call() {
    let mut world = world();
    let (front, other) = (world.accept(T), world.accept(T));
    world.wait(T);
    world.request(T, front, "/r0");
    let back = world.connect(T, 5000); // connecting
    world.wait(T);
    world.request(T, other, "/r1");
    world.answer(T, other);
    world.wait(T);
    world.call(T, back, "/c0"); // connected
    world.wait(T);
    world.result(T, back);
    world.answer(T, front);
    let run = world.run();
    run.assert_edge(run.client("/c0"), run.server("/r0"), Evidence::Task);
    assert_eq!(run.server("/r1").parent, None);
}

#[test]
fn a_connection_with_a_start_up_belongs_to_its_opener_as_well() {
    let mut world = world();
    let (front, other) = (world.accept(T), world.accept(T));
    world.wait(T);
    world.request(T, front, "/r0");
    let back = world.connect(T, 5432);
    world.wait(T);
    world.write(T, back, STARTUP);
    world.wait(T);
    // Its set-up is under way, so it is not the one that writes: this one's own connection is.
    world.request(T, other, "/r1");
    let second = world.connect(T, 5432);
    world.wait(T);
    world.read(T, back, WELCOME);
    world.write(T, back, query("SELECT 10"));
    world.wait(T);
    world.write(T, second, STARTUP);
    world.wait(T);
    world.read(T, second, WELCOME);
    world.write(T, second, query("SELECT 11"));
    for (back, front) in [(back, front), (second, other)] {
        world.wait(T);
        world.read(T, back, ROWS);
        world.answer(T, front);
    }
    let run = world.run();
    run.assert_no_losses();
    let statements = sql(&run);
    assert_eq!(statements.len(), 2);
    run.assert_edge(statements[0], run.server("/r0"), Evidence::Task);
    run.assert_edge(statements[1], run.server("/r1"), Evidence::Task);
    assert_eq!(statements[0].process.service_name(), "app");
}

#[test]
fn a_worker_that_answers_made_the_calls() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(OTHER, 5000));
    world.wait(T);
    world.request(T, front, "/r0");
    world.blocking_call(OTHER, back, "/c0");
    world.answer(OTHER, front);
    let run = world.run();
    run.assert_edge(run.client("/c0"), run.server("/r0"), Evidence::Handoff);
    assert_eq!(run.server("/r0").parent, None);
}

#[test]
fn threads_prove_nothing_in_go() {
    let mut world = World::new();
    world.process(1, "app", Runtime::Go);
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    world.request(T, front, "/r0");
    let opened = world.connect(T, 5001);
    world.blocking_call(T, back, "/c0");
    world.blocking_call(T, opened, "/c1");
    world.answer(T, front);
    let run = world.run();
    run.assert_no_losses();
    run.assert_root(run.client("/c0"));
    run.assert_root(run.client("/c1"));
}

#[test]
fn weaker_evidence_than_asked_for_makes_no_parent() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    world.request(T, front, "/r0");
    world.blocking_call(T, back, "/c0");
    world.answer(T, front);
    let run = world.run_with(Evidence::Socket);
    run.assert_root(run.client("/c0"));
    assert_ne!(run.client("/c0").trace_id, run.server("/r0").trace_id);
}
