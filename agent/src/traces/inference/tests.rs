#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::event::Strand;

const PID: Pid = 1;

fn turn(number: u32) -> Turn {
    Turn { strand: Strand::Thread(PID, 1), number }
}

fn made(call: NodeId, turn: Turn, freed: Option<Freed>) -> Made {
    Made { call, turn, time: 1000, socket: call, server: Address::Unix(1, None), sort: Likeness::default(), freed }
}

#[test]
fn a_single_open_request_is_the_likely_one() {
    let mut inference = Inference::default();
    inference.request_read(turn(1), 10, 1, Likeness::default());
    inference.call_made(&made(11, turn(3), None), None);
    let (request, confidence) = inference.parent(PID, 11).unwrap();
    assert_eq!(request, 10);
    assert!(confidence >= Confidence::new(0.95), "{confidence:?}");
    assert_eq!(inference.calls_without(PID, 10), [11]);
}

#[test]
fn of_two_that_look_alike_none_is_clearly_likelier() {
    let mut inference = Inference::default();
    inference.request_read(turn(1), 10, 1, Likeness::default());
    inference.request_read(turn(1), 20, 1, Likeness::default());
    for _ in 0..50 {
        inference.answered(turn(9), 999); // nobody that is known
    }
    let strange = Turn { strand: Strand::Thread(PID, 7), number: 4 };
    inference.call_made(&made(11, strange, None), None);
    let confidence = inference.parent(PID, 11).map(|(_, confidence)| confidence);
    assert!(confidence.is_none_or(|confidence| confidence < Confidence::new(0.9)), "{confidence:?}");
}

/// Both could have made it; then one of them is answered while the call is under way.
#[test]
fn what_is_seen_later_decides() {
    let mut inference = Inference::default();
    inference.request_read(turn(1), 10, 1, Likeness::default());
    inference.request_read(turn(1), 20, 1, Likeness::default());
    inference.call_made(&made(11, turn(2), None), None);
    inference.answered(turn(2), 10);
    let (request, _) = inference.parent(PID, 11).unwrap();
    assert_eq!(request, 20);
}

#[test]
fn what_turns_out_decides_the_others() {
    let mut inference = Inference::default();
    inference.request_read(turn(1), 10, 1, Likeness::default());
    inference.request_read(turn(1), 20, 1, Likeness::default());
    inference.call_made(&made(11, turn(2), None), None);
    inference.call_made(&made(21, turn(2), None), None);
    inference.decided(PID, 11, 20);
    assert_eq!(inference.parent(PID, 11), None, "nobody asks any more");
    assert_eq!(inference.parent(PID, 21).unwrap().0, 10);
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut inference = Inference::default();
    for round in 0..100 {
        let (request, call) = (2 * round, 2 * round + 1);
        inference.request_read(turn(1), request, 1, Likeness::default());
        inference.call_made(&made(call, turn(2), None), None);
        inference.call_returned(turn(3), call);
        inference.answered(turn(3), request);
        inference.forget_call(PID, call);
        inference.request_done(PID, request);
    }
    assert!(inference.processes.peek(&PID).unwrap().iter().all(Solver::is_at_rest));
}

/// One request has waited for a connection for long, another one has just got what it waited for: who makes the call that is sent then.
fn who_calls(freed: Freed) -> NodeId {
    let mut inference = Inference::default();
    inference.request_read(turn(1), 10, 1, Likeness::default());
    inference.request_read(turn(5), 20, 1, Likeness::default());
    inference.call_made(&made(11, turn(5), Some(freed)), None);
    inference.parent(PID, 11).unwrap().0
}

#[test]
fn a_connection_goes_to_who_has_waited_for_it_unless_it_was_idle_meanwhile() {
    assert_eq!(who_calls(Freed::JustNow), 10);
    assert_eq!(who_calls(Freed::ThisTurn), 20);
}

/// What is shown before: calls of requests that were alone.
const ALONE: u64 = 40;

/// A process whose requests make two calls each, `at_once` or one after the other.
fn process(at_once: bool) -> Inference {
    let mut inference = Inference::default();
    for request in (0..ALONE).map(|number| 1000 + 10 * number) {
        let (first, second) = (request + 1, request + 2);
        inference.request_read(turn(1), request, 1, page());
        inference.call_made(&statement(first, turn(1), None), Some(request));
        if at_once {
            inference.call_made(&statement(second, turn(1), None), Some(request));
            inference.call_returned(turn(2), first);
        } else {
            inference.call_returned(turn(2), first);
            inference.call_made(&statement(second, turn(2), None), Some(request));
        }
        inference.call_returned(turn(3), second);
        inference.answered(turn(3), request);
        inference.request_done(PID, request);
    }
    inference
}

fn page() -> Likeness {
    Likeness::of_http(b"GET", b"/page")
}

fn statement(call: NodeId, turn: Turn, freed: Option<Freed>) -> Made {
    Made { sort: Likeness::of_sql(b"SELECT"), ..made(call, turn, freed) }
}

/// Two requests have made a call each; that of the second one returned first. Then a connection becomes free: who has the next call sent.
fn who_is_served(inference: &mut Inference) -> NodeId {
    for (request, call) in [(10, 11), (20, 21)] {
        inference.request_read(turn(1), request, 1, page());
        inference.call_made(&statement(call, turn(1), None), Some(request));
    }
    inference.call_returned(turn(5), 21);
    inference.call_returned(turn(6), 11);
    inference.call_made(&statement(31, turn(9), Some(Freed::JustNow)), None);
    inference.parent(PID, 31).unwrap().0
}

#[test]
fn who_has_asked_first_is_served_first() {
    assert_eq!(who_is_served(&mut process(false)), 20, "they ask when their first call is over");
    assert_eq!(who_is_served(&mut process(true)), 10, "they ask when they are read");
}

#[test]
fn what_waits_for_connections_does_not_tell_when_it_was_asked_for() {
    let mut inference = process(true);
    for request in (0..8 * ALONE).map(|number| 2000 + 10 * number) {
        let (first, second) = (request + 1, request + 2);
        inference.request_read(turn(1), request, 1, page());
        inference.call_made(&statement(first, turn(1), None), Some(request));
        inference.call_returned(turn(2), first);
        inference.call_made(&statement(second, turn(3), Some(Freed::JustNow)), Some(request));
        inference.call_returned(turn(4), second);
        inference.answered(turn(4), request);
        inference.request_done(PID, request);
    }
    assert_eq!(who_is_served(&mut inference), 10);
}

#[test]
fn who_never_does_that_next_is_not_compared() {
    let mut inference = process(false);
    let idle = Likeness::of_http(b"GET", b"/idle");
    for request in (0..ALONE).map(|number| 2000 + 10 * number) {
        inference.request_read(turn(1), request, 1, idle);
        inference.answered(turn(2), request);
        inference.request_done(PID, request);
    }
    // It has waited longest.
    inference.request_read(turn(1), 5, 1, idle);
    assert_eq!(who_is_served(&mut inference), 20);
    let (_, confidence) = inference.parent(PID, 31).unwrap();
    assert!(confidence >= Confidence::new(0.8), "{confidence:?}");
}
