//! Nothing is lost without being counted, and nothing is counted twice.

use super::*;
use crate::traces::tracker::INCOMPLETE;

const T: Thread = (1, 1);

/// Every request that was opened has one end, and what the engine says of spans is true.
#[track_caller]
fn assert_balanced(run: &Run) {
    let accounts = run.engine.accounts();
    assert_eq!(accounts.unaccounted_requests(), 0, "{accounts:?}");
    assert_eq!(accounts.requests.spans, run.spans.len() as u64);
    let marked = run.spans.iter().filter(|span| span.attribute(INCOMPLETE).is_some()).count();
    assert_eq!(accounts.losses.get(Loss::Incomplete), marked as u64, "each incomplete span says so, and no other does");
}

#[test]
fn every_event_is_counted_by_its_kind() {
    let mut world = World::new();
    world.process(1, "shop", Runtime::Threads);
    let front = world.accept(T);
    world.request(T, front, "/a");
    world.answer(T, front);
    world.end(T, front, End::Closed);
    world.exit(1);
    let counted = world.run().engine.accounts().events;
    assert_eq!(counted, Events { process: 1, exit: 1, socket: 1, data: 2, end: 1, ..Events::default() });
}

#[test]
fn a_response_that_nobody_saw_before_the_end_is_no_failure_of_the_server() {
    for (origin, kind, direction) in
        [(Origin::Accepted, Kind::Server, Direction::Write), (Origin::Connected, Kind::Client, Direction::Read)]
    {
        let mut world = World::new();
        let socket = world.tcp(T, origin, 80, 4000);
        let ask = |world: &mut World, path| match kind {
            Kind::Server => world.request(T, socket, path),
            Kind::Client => world.call(T, socket, path),
        };
        ask(&mut world, "/seen");
        world.moved(T, socket, direction, OK);
        ask(&mut world, "/unseen");
        world.unseen(socket, direction, OK.len() as u32);
        world.end_at(T, socket, End::Closed);
        let run = world.run();
        let span = run.span(kind, "/unseen");
        assert_eq!(span.attribute(INCOMPLETE), Some(&true.into()));
        assert_eq!(span.string("error.type"), None, "nothing is known of its end");
        assert_eq!((run.lost(Loss::Gap), run.lost(Loss::Incomplete)), (1, 1));
        assert_balanced(&run);
    }
}

#[test]
fn the_first_response_of_a_connection_that_nobody_saw() {
    let mut world = World::new();
    let front = world.accept(T);
    let first = [Direction::Read, Direction::Write].map(|direction| world.positions[&(front, direction)]);
    if let Some(Event::Socket(socket)) = world.events.last_mut() {
        socket.positions = Some(first);
    }
    world.request(T, front, "/unseen");
    world.unseen(front, Direction::Write, OK.len() as u32);
    world.end_at(T, front, End::Closed);
    let run = world.run();
    assert_eq!(run.server("/unseen").attribute(INCOMPLETE), Some(&true.into()));
    assert_balanced(&run);
}

#[test]
fn a_fin_is_no_gap_and_a_connection_that_was_cut_is_a_failure() {
    let mut world = World::new();
    let front = world.accept(T);
    world.request(T, front, "/cut");
    world.unseen(front, Direction::Read, 1); // the client's FIN
    world.end_at(T, front, End::Closed);
    let run = world.run();
    assert_eq!(run.server("/cut").string("error.type"), Some("connection_closed"));
    run.assert_no_losses();
    assert_balanced(&run);
}

#[test]
fn a_unix_socket_that_the_kernel_forgot_goes_on() {
    let mut world = World::new();
    let (near, _) = world.unix(T, (2, 2));
    world.blocking_call(T, near, "/before");
    let known = world.events.iter().find_map(|event| match event {
        Event::Socket(socket) if socket.id == near => Some(socket.clone()),
        _ => None,
    });
    let again = Socket { origin: Origin::Unknown, time: world.tick(), ..known.unwrap() };
    world.events.push(Event::Socket(again));
    for direction in [Direction::Read, Direction::Write] {
        world.positions.insert((near, direction), 0);
    }
    world.blocking_call(T, near, "/after");
    let run = world.run();
    assert!(run.client("/after").start > run.client("/before").end);
    run.assert_no_losses();
    assert_balanced(&run);
}

#[test]
fn a_request_in_the_very_call_that_ends_the_connection_s_parsing() {
    let mut world = World::new();
    let front = world.accept(T);
    let rubbish = b"\x00\x01 no request\r\n\r\n";
    world.read(T, front, [&get("/whole")[..], &rubbish.repeat(200)].concat());
    for _ in 0..200 {
        world.read(T, front, rubbish);
    }
    let run = world.run();
    assert_eq!(run.engine.accounts().requests.opened, 1);
    assert_balanced(&run);
}

#[test]
fn a_process_that_ends_while_events_are_lost_proves_no_failure() {
    for (lost, expected) in [(None, Some("connection_closed")), (Some("ring_full"), None), (Some("notice_lost"), None)]
    {
        let mut world = World::new();
        let (front, kept) = (world.accept(T), world.accept(T));
        world.request(T, front, "/open");
        world.request(T, kept, "/answered");
        world.answer(T, kept);
        world.write(T, front, b"HTTP/1.1 200"); // held until the rest comes
        if let Some(cause) = lost {
            let time = world.tick();
            world.events.push(Event::Lost { time, cause: cause.to_owned(), count: 2 });
        }
        world.exit(1);
        let run = world.run();
        let span = run.server("/open");
        assert_eq!(span.string("error.type"), expected, "{lost:?}");
        assert_eq!(span.attribute(INCOMPLETE).is_some(), lost.is_some());
        assert_eq!(run.server("/answered").attribute(INCOMPLETE), None);
        assert_eq!(run.engine.held, 0);
        assert_balanced(&run);
    }
}

#[test]
fn more_open_requests_on_a_connection_than_are_kept() {
    let mut world = World::new();
    let front = world.accept(T);
    world.read(T, front, get("/ahead").repeat(300));
    for _ in 0..300 {
        world.answer(T, front);
    }
    let run = world.run();
    assert_eq!(run.lost(Loss::Evicted), 1);
    assert_eq!(run.spans.len() as u64, run.lost(Loss::Incomplete));
    assert_balanced(&run);
}

#[test]
fn more_held_bytes_than_are_kept() {
    let mut world = World::new();
    let connections = HELD_LIMIT / 15_000 + 10;
    for n in 0..connections {
        let front = world.accept(T);
        world.request(T, front, &format!("/open{n}"));
        world.write(T, front, [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 15_000]].concat());
    }
    let run = world.run();
    assert!(run.lost(Loss::Evicted) > 0 && run.lost(Loss::Unfinished) > 0);
    assert_eq!(run.engine.accounts().requests.opened, connections as u64);
    assert_balanced(&run);
}

#[test]
fn more_events_at_once_than_the_order_holds() {
    let mut world = World::new();
    let front = world.accept(T);
    let exchanges = 51_000;
    for n in 0..exchanges {
        world.request(T, front, &format!("/n{n}"));
        world.answer(T, front);
    }
    for (n, event) in world.events.iter_mut().enumerate() {
        if let Event::Data(data) = event {
            data.time = 2_000_000 + n as Time; // all within the window
        }
    }
    let run = world.run();
    assert_eq!(run.spans.len(), exchanges);
    run.assert_no_losses();
    assert_balanced(&run);
}
