//! A client whose selector, thread 5, reads all responses, and has threads 6 and 7 go on with them. Threads 1 and 2 read requests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroU64;

use super::*;
use crate::{
    event::{Pid, Task, Turn},
    traces::{customs::Custom, handoffs::Handoffs},
};

const PID: Pid = 1;
const SELECTOR: u32 = 5;

fn turn(tid: u32) -> Turn {
    Turn { strand: Strand::Thread(PID, tid), number: 0 }
}

/// A thread wakes another one by that one's own futex.
fn wakes(handoffs: &mut Handoffs, tid: u32, woken: u32, time: Time) -> Option<(NodeId, NodeId)> {
    let futex = Futex { address: NonZeroU64::new(u64::from(woken) << 8).unwrap(), lock: false };
    let seems = handoffs.woke(Task::thread(PID, tid, 0), woken, Some(futex), time);
    seems.map(|(call, request, _)| (call, request))
}

/// Threads 1 and 2 have read a request each, and worker 8 has sent their calls, each request's number and one more.
fn two_called(time: Time, first: NodeId, handoffs: &mut Handoffs) -> [(u32, NodeId); 2] {
    let both = [(1, first), (2, first + 10)];
    for (reader, request) in both {
        handoffs.request_read(turn(reader).strand, request, time, Likeness::default());
    }
    for (_, request) in both {
        handoffs.call_made(turn(8), request + 1, time + 10, Likeness::default());
    }
    both
}

/// The selector reads a response and gives it to a worker.
fn read(handoffs: &mut Handoffs, call: NodeId, worker: u32, time: Time) {
    handoffs.call_read(turn(SELECTOR), call, time);
    let _ = wakes(handoffs, SELECTOR, worker, time);
}

/// What is certain once the readers have answered.
fn answered(handoffs: &mut Handoffs, readers: [(u32, NodeId); 2], time: Time) -> Vec<(NodeId, NodeId)> {
    let decisions = readers.map(|(reader, request)| handoffs.answered(turn(reader), request, false, time));
    let certain = decisions.into_iter().flatten().filter(|(.., evidence)| *evidence == Evidence::Handoff);
    certain.map(|(call, request, _)| (call, request)).collect()
}

/// So many pairs of requests, each of which gets its own result; for some of them, instead, this is done with the workers, which hold the results.
fn rounds(number: u64, otherwise: impl Fn(u64, &mut Handoffs, Time) -> bool) -> Vec<(NodeId, NodeId)> {
    let mut handoffs = Handoffs::default();
    let mut known = Vec::new();
    for round in 0..number {
        let time = 1000 * round;
        let readers = two_called(time, 100 * round, &mut handoffs);
        read(&mut handoffs, 100 * round + 1, 6, time + 20);
        read(&mut handoffs, 100 * round + 11, 7, time + 21);
        if !otherwise(round, &mut handoffs, time + 30) {
            let _ = wakes(&mut handoffs, 7, 2, time + 30);
            let _ = wakes(&mut handoffs, 6, 1, time + 30);
        }
        known.extend(answered(&mut handoffs, readers, time + 40));
    }
    assert!(known.iter().all(|(call, request)| *call == request + 1), "{known:?}");
    known
}

/// All but these rounds are known, those before it was the custom as well.
fn assert_all_but(known: &[(NodeId, NodeId)], rounds: u64, but: impl Fn(NodeId) -> bool) {
    let mut calls: Vec<NodeId> = known.iter().map(|(call, _)| *call).collect();
    calls.sort_unstable();
    let all = (0..rounds).flat_map(|round| [100 * round + 1, 100 * round + 11]);
    assert_eq!(calls, all.filter(|call| !but(*call)).collect::<Vec<_>>());
}

#[test]
fn a_result_is_whose_thread_its_worker_wakes_where_that_is_the_custom() {
    let few = u64::from(Custom::<()>::OFTEN) / 2;
    assert_eq!(rounds(few, |_, _, _| false), []);
    assert_all_but(&rounds(2 * few, |_, _, _| false), 2 * few, |_| false);
}

#[test]
fn what_two_got_is_neithers() {
    let both = |round, handoffs: &mut Handoffs, time| {
        if round == 30 {
            let _ = wakes(handoffs, 6, 2, time); // it lets go of a lock
            let _ = wakes(handoffs, 6, 1, time + 1);
        }
        round == 30
    };
    assert_all_but(&rounds(40, both), 40, |call| call / 100 == 30);
}

#[test]
fn who_was_woken_last_with_nothing_got_nothing() {
    let lock = |round, handoffs: &mut Handoffs, time| {
        if round == 30 {
            let _ = wakes(handoffs, 7, 1, time); // at a lock; another one has the response that 1 waits for
            let _ = wakes(handoffs, SELECTOR, 9, time + 1);
            let _ = wakes(handoffs, 9, 1, time + 2);
        }
        round == 30
    };
    assert_all_but(&rounds(40, lock), 40, |call| call / 100 == 30);
}

#[test]
fn what_was_asked_before_the_reader_moved_something_is_not_its_own() {
    let moved = |round, handoffs: &mut Handoffs, time| {
        if round == 30 {
            handoffs.written(turn(1).strand, time);
            let _ = wakes(handoffs, 6, 1, time + 1);
        }
        round == 30
    };
    assert_all_but(&rounds(40, moved), 40, |call| call / 100 == 30);
}

#[test]
fn at_locks_nothing_is_passed_on() {
    let lock = |round, handoffs: &mut Handoffs, time| {
        let _ = wakes(handoffs, 6, 7, time);
        // The rest of a response.
        handoffs.call_read(turn(SELECTOR), 100 * round + 1, time);
        let _ = wakes(handoffs, SELECTOR, 1, time);
        let _ = wakes(handoffs, SELECTOR, 6, time);
        false
    };
    assert_all_but(&rounds(40, lock), 40, |_| false);
}

#[test]
fn where_much_is_missing_nothing_is_claimed() {
    let seldom = |round, handoffs: &mut Handoffs, time| {
        if round % 2 == 0 {
            let _ = wakes(handoffs, 6, 1, time);
        }
        round % 2 == 0
    };
    // Before it shows, some are.
    let known = rounds(100, seldom);
    assert!(known.iter().all(|(call, _)| *call < 4000), "{known:?}");
}

#[test]
fn what_is_missing_is_excused_where_the_reader_has_made_the_call_itself() {
    let mut handoffs = Handoffs::default();
    let mut known = Vec::new();
    for round in 0..40 {
        let time = 1000 * round;
        let readers = two_called(time, 100 * round, &mut handoffs);
        handoffs.call_known(readers[0].1, Likeness::default());
        read(&mut handoffs, 100 * round + 11, 7, time + 21);
        let _ = wakes(&mut handoffs, 7, 2, time + 30);
        known.extend(answered(&mut handoffs, readers, time + 40));
    }
    assert_all_but(&known, 40, |call| call % 100 == 1);
}

#[test]
fn the_only_open_request_got_it() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    for (call, time) in [(11, 110), (12, 130)] {
        handoffs.call_made(turn(8), call, time, Likeness::default());
        read(&mut handoffs, call, 6, time + 10);
        assert_eq!(wakes(&mut handoffs, 6, 1, time + 11), Some((call, 10)), "one after the other");
    }
    let decisions = handoffs.answered(turn(1), 10, false, 150);
    assert_eq!(decisions, [(11, 10, Evidence::Handoff), (12, 10, Evidence::Handoff)]);
}

#[test]
fn either_of_two_responses_is_passed_on() {
    let mut handoffs = Handoffs::default();
    let _ = two_called(100, 0, &mut handoffs);
    handoffs.call_read(turn(SELECTOR), 1, 120);
    handoffs.call_read(turn(SELECTOR), 11, 121);
    let _ = wakes(&mut handoffs, SELECTOR, 6, 122);
    assert_eq!(wakes(&mut handoffs, 6, 1, 123), None);
}

#[test]
fn a_worker_that_has_moved_something_wakes_for_that() {
    let mut handoffs = Handoffs::default();
    let _ = two_called(100, 0, &mut handoffs);
    read(&mut handoffs, 1, 6, 120);
    handoffs.call_made(turn(6), 99, 121, Likeness::default());
    assert_eq!(wakes(&mut handoffs, 6, 1, 123), None);
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut handoffs = Handoffs::default();
    for (reader, request) in two_called(100, 0, &mut handoffs) {
        read(&mut handoffs, request + 1, 6, 120);
        let _ = wakes(&mut handoffs, 6, reader, 121);
        handoffs.forget(request);
        handoffs.forget(request + 1);
    }
    assert!(handoffs.results.waiting.is_empty() && handoffs.results.takers.is_empty());
}
