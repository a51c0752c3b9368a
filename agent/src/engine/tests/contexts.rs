//! Contexts that came beside requests: what was sent is what is exported.

use super::*;
use crate::event::Context;

const T: Thread = (1, 1);
const TRACE: [u8; 16] = [0xaa; 16];
const SPAN: [u8; 8] = [0xbb; 8];

impl World {
    /// The kernel's side tells the context of the request that is sent or received next.
    fn told(&mut self, socket: SocketId, direction: Direction, trace_id: [u8; 16], span_id: Option<[u8; 8]>) {
        let (task, time) = (self.task(T), self.tick());
        let position = self.positions[&(socket, direction)];
        let context = Context { socket, task, direction, time, position, trace_id, span_id };
        self.events.push(Event::Context(context));
    }
}

fn world() -> World {
    let mut world = World::new();
    world.process(1, "app", Runtime::Threads);
    world
}

#[test]
fn a_request_that_came_with_a_context_continues_it() {
    let mut world = world();
    let front = world.accept(T);
    world.told(front, Direction::Read, TRACE, Some(SPAN));
    world.request(T, front, "/in");
    world.answer(T, front);
    let run = world.run();
    let span = run.server("/in");
    let parent = span.parent.unwrap();
    assert_eq!((span.trace_id.0, parent.span_id.0, parent.evidence), (TRACE, SPAN, Evidence::Header));
    assert!(parent.remote);
}

#[test]
fn what_was_sent_is_what_is_exported() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    // Its trace was begun in the kernel, and passed on in time.
    world.told(front, Direction::Read, TRACE, None);
    world.request(T, front, "/in");
    world.told(back, Direction::Write, TRACE, Some(SPAN));
    world.blocking_call(T, back, "/on");
    world.answer(T, front);
    let run = world.run();
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
    assert_eq!((run.client("/on").trace_id.0, run.client("/on").span_id.0), (TRACE, SPAN));
}

/// The kernel's side did not know for which request it was sent: it has gone out in a trace of its own.
#[test]
fn a_call_in_a_trace_of_its_own_is_linked() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    world.request(T, front, "/in");
    world.told(back, Direction::Write, TRACE, Some(SPAN));
    world.blocking_call(T, back, "/on");
    world.answer(T, front);
    let run = world.run();
    let call = run.client("/on");
    run.assert_root(call);
    assert_eq!((call.trace_id.0, call.span_id.0), (TRACE, SPAN));
    assert_eq!(call.links[0].span_id, run.server("/in").span_id);
}

/// Within a host the ends of the connection join, whatever was sent: a call keeps the parent that was found for it.
#[test]
fn what_was_sent_within_the_host_binds_nobody() {
    const BACK: Thread = (2, 2);
    let mut world = world();
    world.process(2, "back", Runtime::Threads);
    let front = world.accept(T);
    let (near, far) = world.loopback(T, BACK, (Origin::Connected, Origin::Accepted));
    world.request(T, front, "/in");
    world.told(near, Direction::Write, TRACE, Some(SPAN));
    world.write(T, near, get("/on"));
    world.told(far, Direction::Read, TRACE, Some(SPAN));
    world.request(BACK, far, "/on");
    world.answer(BACK, far);
    world.result(T, near);
    world.answer(T, front);
    let run = world.run();
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
    run.assert_edge(run.server("/on"), run.client("/on"), Evidence::Socket);
}

/// A header that the sender's program passed on names its caller. What came beside it names the sender's own span, which is between.
#[test]
fn beside_a_header_of_the_same_trace_the_senders_span_counts() {
    for (trace, expected) in [(TRACE, SPAN), ([0xcc; 16], [0x11; 8])] {
        let mut world = world();
        let front = world.accept(T);
        world.told(front, Direction::Read, trace, Some(SPAN));
        let header = format!("traceparent: 00-{}-{}-00\r\ntracestate: a=1\r\n", "aa".repeat(16), "11".repeat(8));
        world.read(T, front, with_headers("/in", &header));
        world.answer(T, front);
        let run = world.run();
        let span = run.server("/in");
        assert_eq!((span.trace_id.0, span.parent.unwrap().span_id.0), (TRACE, expected));
        assert_eq!((span.trace_flags, span.trace_state.as_str()), (0, "a=1"));
    }
}

/// The header that the kernel's side inserted is in the bytes: it is the request's own context, and not its parent's.
#[test]
fn a_header_that_was_inserted_is_no_parent() {
    let mut world = world();
    let (front, back) = (world.accept(T), world.connect(T, 5000));
    world.told(front, Direction::Read, TRACE, None);
    world.request(T, front, "/in");
    world.told(back, Direction::Write, TRACE, Some(SPAN));
    let header = format!("traceparent: 00-{}-{}-01\r\n", "aa".repeat(16), "bb".repeat(8));
    world.write(T, back, with_headers("/on", &header));
    world.result(T, back);
    world.answer(T, front);
    let run = world.run();
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
    assert_eq!((run.client("/on").trace_id.0, run.client("/on").span_id.0), (TRACE, SPAN));
}

#[test]
fn ids_of_zeros_are_none() {
    for (trace, span) in [([0; 16], SPAN), (TRACE, [0; 8])] {
        let mut world = world();
        let front = world.accept(T);
        world.told(front, Direction::Read, trace, Some(span));
        world.request(T, front, "/in");
        world.answer(T, front);
        let run = world.run();
        run.assert_root(run.server("/in"));
        assert_ne!(run.server("/in").trace_id.0, trace);
    }
}
