//! Limits, losses, and what a run is.

use super::*;
use crate::streams::{BUFFER_LIMIT, order::WINDOW};

const T: Thread = (1, 1);

#[test]
fn what_the_kernel_lost_is_counted() {
    let mut world = World::new();
    for (cause, count) in [("ring_full", 3), ("map_full", 1), ("ring_full", 4), ("of a later version", 5)] {
        let time = world.tick();
        world.events.push(Event::Lost { time, cause: cause.to_owned(), count });
    }
    let run = world.run();
    let losses: Vec<_> = run.engine.losses().iter().collect();
    assert_eq!(losses, [(Loss::RingFull, 7), (Loss::MapFull, 1)]);
}

#[test]
fn the_least_recently_used_socket_goes_first() {
    let mut world = World::new();
    let used = world.accept(T);
    let idle = world.accept(T);
    world.request(T, idle, "/idle");
    world.request(T, used, "/used");
    let mut engine = Engine::new(Options::default(), Evidence::Task);
    engine.connections.resize(NonZeroUsize::new(2).unwrap());
    let mut output = Output::default();
    let (third, fourth) = (world.accept(T), world.accept(T));
    world.read(T, fourth, b"PART");
    for event in world.events {
        engine.step(event, &mut output);
    }
    engine.step(Event::Tick { time: world.time + WINDOW }, &mut output);
    assert_eq!(
        output.advice,
        [Advice::Forget(idle), Advice::Forget(used)],
        "they are told of again when they are used"
    );
    assert_eq!(engine.losses().get(Loss::Evicted), 2);
    assert_eq!(engine.losses().get(Loss::Unfinished), 2);
    assert!(engine.connections.contains(&third) && engine.connections.contains(&fourth));
    assert_eq!(engine.sockets[&1].len(), 2);
    assert_eq!(engine.open(), 0);
    assert_eq!(engine.held, engine.connections.peek(&fourth).unwrap().connection.held());
    assert!(engine.traces.tracker.ends().len() == 2);
}

#[test]
fn unfinished_messages_are_held_within_a_bound() {
    let mut world = World::new();
    let piece = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 15_000]].concat();
    let sockets = HELD_LIMIT / piece.len() / 2 + 10; // the stream has it, and so does the parser
    for _ in 0..sockets {
        let socket = world.accept(T);
        world.read(T, socket, &piece);
    }
    let run = world.run();
    // The oldest went, and with some of them enough room for a while was made.
    let followed = run.engine.connections.len();
    assert!((HELD_LIMIT - HELD_ROOM..=HELD_LIMIT).contains(&run.engine.held()), "{}", run.engine.held());
    assert_eq!(run.lost(Loss::Evicted), (sockets - followed) as u64);
    assert!(run.engine.connections.contains(&(sockets as u64)) && !run.engine.connections.contains(&1));
    const { assert!(BUFFER_LIMIT > 15_100) };
}

#[test]
fn what_is_open_at_the_end_is_unfinished() {
    let mut world = World::new();
    let front = world.accept(T);
    world.request(T, front, "/open");
    let run = world.run();
    assert_eq!(run.spans, []);
    assert_eq!(run.lost(Loss::Unfinished), 1);
    assert_eq!(run.engine.accounts().requests, Requests { opened: 1, ..Requests::default() });
}

#[test]
fn a_second_start_is_another_run() {
    let mut one = World::new();
    let front = one.accept(T);
    one.request(T, front, "/open");
    one.request(T, front, "/second");
    let mut two = World::new();
    two.time = 10; // a younger host
    let front = two.accept(T);
    two.request(T, front, "/done");
    two.answer(T, front);
    let alone = two.run();
    one.events.extend(two.events);
    let joined = one.run();
    assert_eq!(joined.spans, alone.spans);
    assert_eq!(joined.lost(Loss::Unfinished), 2);
}

#[test]
fn a_run_looks_at_as_much_as_its_start_says() {
    let mut world = World::new();
    let front = world.accept(T);
    world.read(T, front, [b"GET /long HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 300]].concat());
    world.read(T, front, b"\r\n\r\n");
    world.answer(T, front);
    world.run().assert_no_losses();
    let Event::Start { limits, .. } = &mut world.events[0] else { panic!() };
    limits.head = 256;
    assert_eq!(world.run().lost(Loss::Budget), 1);
}

#[test]
fn the_same_events_give_the_same_spans_and_other_seeds_other_ids() {
    let mut world = World::new();
    for n in 0..50 {
        let thread = (1 + n % 3, 1 + n);
        let (front, (near, far)) =
            (world.accept(thread), world.loopback(thread, (9, n), (Origin::Connected, Origin::Accepted)));
        world.request(thread, front, &format!("/r{n}"));
        world.call(thread, near, &format!("/c{n}"));
        world.request((9, n), far, &format!("/c{n}"));
        if n % 5 > 0 {
            world.answer((9, n), far);
            world.result(thread, near);
            world.answer(thread, front);
        }
    }
    world.exit(1);
    world.exit(2);
    let (one, two) = (world.run(), world.run());
    assert!(one.spans.len() > 120);
    assert_eq!(one.spans, two.spans);
    assert_eq!(one.engine.losses(), two.engine.losses());
    world.events[0] =
        Event::Start { version: 1, wall_offset: 1_000_000_000_000, seed: "08".repeat(32), limits: Limits::DEFAULT };
    let other = world.run();
    assert_eq!(other.spans.len(), one.spans.len());
    assert!(one.spans.iter().zip(&other.spans).all(|(one, other)| one.span_id != other.span_id));
}

#[test]
fn a_late_event_within_the_window_is_put_in_its_place() {
    let mut world = World::new();
    let front = world.accept(T);
    world.request(T, front, "/r0");
    world.answer(T, front);
    // Writes are told when they return.
    let answer = world.events.pop().unwrap();
    world.request(T, front, "/r1");
    world.events.push(answer);
    world.answer(T, front);
    let run = world.run();
    assert_eq!(run.spans.len(), 2);
    assert!(run.server("/r0").end < run.server("/r1").start);
    run.assert_no_losses();
}
