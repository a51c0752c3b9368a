use std::num::NonZeroU64;

use super::*;
use crate::traces::customs::Custom;

const PID: Pid = 1;

fn turn(tid: u32) -> Turn {
    Turn { strand: Strand::Thread(PID, tid), number: 0 }
}

fn task(tid: u32) -> Task {
    Task::thread(PID, tid, 0)
}

/// A worker makes a call and blocks for it.
fn call(handoffs: &mut Handoffs, worker: u32, node: NodeId, time: Time) {
    handoffs.call_made(turn(worker), node, time, Likeness::default());
    handoffs.call_read(turn(worker), node, time + 1);
}

fn handed(calls: &[NodeId], request: NodeId) -> Vec<Decision> {
    calls.iter().map(|&call| (call, request, Evidence::Handoff)).collect()
}

/// The threads 1 and 2 read a request each: when that begins, and the requests.
fn two_requests(handoffs: &mut Handoffs, round: u64) -> (Time, NodeId, NodeId) {
    let (time, first, second) = (1000 * round, 100 * round + 10, 100 * round + 20);
    handoffs.request_read(turn(1).strand, first, time, Likeness::default());
    handoffs.request_read(turn(2).strand, second, time + 1, Likeness::default());
    (time, first, second)
}

/// Two requests at a time, whose work two workers do: what is claimed for the second one.
fn rounds(handoffs: &mut Handoffs, number: u64, calls: u64) -> Vec<Evidence> {
    let mut claimed = Vec::new();
    for round in 0..number {
        let (time, first, second) = two_requests(handoffs, round);
        for (worker, reader, request) in [(8, 1, first), (9, 2, second)] {
            for number in 1..=calls {
                call(handoffs, worker, request + number, time + 10 * number);
            }
            let _ = handoffs.woke(task(worker), reader, None, time + 100);
        }
        let _ = handoffs.answered(turn(1), first, false, time + 110);
        let decisions = handoffs.answered(turn(2), second, false, time + 120);
        assert!(decisions.iter().all(|(call, request, _)| *request == second && call / 100 == round));
        claimed.extend(decisions.first().map(|(.., evidence)| *evidence));
    }
    claimed
}

#[test]
fn a_worker_that_wakes_the_reader_did_its_work_where_that_is_the_custom() {
    let mut handoffs = Handoffs::default();
    let claimed = rounds(&mut handoffs, 12, 3);
    assert_eq!(claimed.first(), Some(&Evidence::Inferred));
    assert_eq!(claimed.last(), Some(&Evidence::Handoff));
    assert_eq!(claimed.len(), 12);
    // Once in a while something else is done; that is not claimed.
    assert_eq!(rounds(&mut handoffs, 1, 2), [Evidence::Inferred]);
}

/// What was always done counts from its first time on, once that is known; what was done otherwise does not.
#[test]
fn what_is_the_custom_was_so_before_it_was_known() {
    let mut handoffs = Handoffs::default();
    let mut known = Vec::new();
    for round in 0..=u64::from(Custom::<()>::OFTEN) + 2 {
        let (request, time) = (100 * round, 1000 * round);
        // Never alone: another request is always open.
        handoffs.request_read(turn(2).strand, request + 50, time, Likeness::default());
        handoffs.request_read(turn(1).strand, request, time + 1, Likeness::default());
        let calls = if round == 1 { 3 } else { 2 };
        for number in 1..=calls {
            call(&mut handoffs, 8, request + number, time + 10 * number);
        }
        let _ = handoffs.woke(task(8), 1, None, time + 100);
        let decisions = handoffs.answered(turn(1), request, false, time + 110);
        assert!(decisions.iter().all(|(_, _, evidence)| *evidence != Evidence::Inferred) || known.is_empty());
        known.extend(decisions.into_iter().filter(|(.., evidence)| *evidence == Evidence::Handoff));
        assert_eq!(handoffs.awaits(request + 1), known.is_empty());
        handoffs.forget(request + 50);
    }
    let of: HashSet<NodeId> = known.iter().map(|(_, request, _)| *request).collect();
    let all = (0..=u64::from(Custom::<()>::OFTEN) + 2).map(|round| 100 * round);
    assert_eq!(of, all.filter(|&request| request != 100).collect());
    assert_eq!(known.len(), 2 * of.len());
}

/// The interpreter's lock.
const LOCK: Option<Futex> = Some(Futex { address: NonZeroU64::MIN, lock: false });

/// That by which only this thread waits.
fn own(thread: u32) -> Option<Futex> {
    Some(Futex { address: NonZeroU64::new(u64::from(thread) << 8)?, lock: false })
}

/// What is certain for the requests of two readers that are answered in this order.
fn certain(handoffs: &mut Handoffs, answers: [(u32, NodeId); 2], time: Time) -> Vec<(NodeId, NodeId)> {
    let answered = answers.map(|(reader, request)| handoffs.answered(turn(reader), request, false, time));
    let decisions = answered.into_iter().flatten();
    decisions
        .filter(|(.., evidence)| *evidence == Evidence::Handoff)
        .map(|(call, request, _)| (call, request))
        .collect()
}

#[test]
fn a_lock_that_wakes_everybody_in_turn_says_nothing() {
    let mut handoffs = Handoffs::default();
    let mut known = Vec::new();
    for round in 0..40 {
        let (time, first, second) = two_requests(&mut handoffs, round);
        // Each worker lets go of the lock at its calls, and whoever waited longest is woken.
        for number in 1..=2 {
            call(&mut handoffs, 8, first + number, time + 10 * number);
            let _ = handoffs.woke(task(8), 2, LOCK, time + 10 * number + 2);
            call(&mut handoffs, 9, second + number, time + 10 * number + 3);
            let _ = handoffs.woke(task(9), 1, LOCK, time + 10 * number + 5);
        }
        let _ = handoffs.woke(task(8), 1, own(1), time + 100);
        let _ = handoffs.woke(task(9), 2, own(2), time + 101);
        known.extend(certain(&mut handoffs, [(1, first), (2, second)], time + 110));
    }
    assert!(known.iter().all(|(call, request)| call - request <= 2), "{known:?}");
    let requests: HashSet<NodeId> = known.iter().map(|(_, request)| *request).collect();
    // Of the first, it is not known yet that the lock is one.
    assert!(known.len() >= 2 * 78 && requests.len() >= 78, "{} calls of {} requests", known.len(), requests.len());
}

#[test]
fn a_futex_is_a_threads_own_again_after_a_while() {
    let mut futexes = Futexes::default();
    let mut is_private = |lock, thread| {
        let address = if lock { NonZeroU64::MAX } else { NonZeroU64::MIN };
        let futex = Futex { address, lock };
        let is_private = futexes.is_private(futex, turn(thread).strand);
        assert_eq!(is_private, futexes.is_still_private(futex, turn(thread).strand));
        is_private
    };
    assert!(is_private(false, 1));
    assert!(!is_private(false, 2));
    assert_eq!((0..20).take_while(|_| !is_private(false, 2)).count(), 15);
    assert!(!is_private(false, 1));
    // As for a lock one waits for other things, too, but it has to show.
    assert_eq!((0..20).take_while(|_| !is_private(true, 1)).count(), 15);
}

/// Who was woken by his worker has to wait for a lock before he answers (`malloc` has one), and it does not show at once that it is one.
#[test]
fn a_lock_that_is_seen_for_the_first_time_says_nothing() {
    let mut handoffs = Handoffs::default();
    let mut known = Vec::new();
    for round in 0..40 {
        let (time, first, second) = two_requests(&mut handoffs, round);
        let lock = own(1000 + round as u32);
        for number in 1..=2 {
            call(&mut handoffs, 8, first + number, time + 10 * number);
            call(&mut handoffs, 9, second + number, time + 10 * number + 3);
        }
        let _ = handoffs.woke(task(8), 1, own(1), time + 100);
        if round > 30 {
            let _ = handoffs.woke(task(9), 1, lock, time + 101);
            let _ = handoffs.woke(task(1), 3, lock, time + 102);
        }
        let answered = handoffs.answered(turn(1), first, false, time + 110);
        let _ = handoffs.woke(task(9), 2, own(2), time + 115);
        let answered = [answered, handoffs.answered(turn(2), second, false, time + 120)].concat();
        known.extend(answered.into_iter().filter(|(.., evidence)| *evidence == Evidence::Handoff));
    }
    assert!(known.iter().all(|(call, request, _)| call - request <= 2), "{known:?}");
    let of_first = known.iter().filter(|(_, request, _)| request % 100 == 10).count();
    assert_eq!(of_first, 2 * 40, "what the reader's own worker has done");
}

/// Two workers do the parts of two requests, each as it is free; the parts that end them make a call or not.
fn parts(handoffs: &mut Handoffs, rounds: u64, has_last: bool) -> Vec<(NodeId, NodeId)> {
    let mut known = Vec::new();
    for round in 0..rounds {
        let (time, first, second) = two_requests(handoffs, round);
        let (busy, idle) = if round % 3 == 0 { (8, 9) } else { (9, 8) };
        call(handoffs, busy, first + 1, time + 10);
        call(handoffs, busy, second + 1, time + 20);
        if has_last {
            call(handoffs, idle, first + 2, time + 30);
            call(handoffs, busy, second + 2, time + 31);
            let _ = handoffs.woke(task(idle), 1, own(1), time + 40);
        } else {
            let _ = handoffs.woke(task(busy), 1, own(1), time + 40);
        }
        let _ = handoffs.woke(task(busy), 2, own(2), time + 41);
        known.extend(certain(handoffs, [(1, first), (2, second)], time + 50));
        for node in [first + 1, second + 1, first, second] {
            handoffs.forget(node);
        }
    }
    known
}

#[test]
fn who_does_the_last_part_has_made_the_call_right_before() {
    let known = parts(&mut Handoffs::default(), 20, true);
    assert_eq!(known.iter().copied().collect::<HashSet<_>>().len(), 40, "{known:?}");
    assert!(known.iter().all(|(call, request)| call - request == 2), "{known:?}");
}

#[test]
fn where_the_last_part_makes_no_call_nothing_is_claimed() {
    assert_eq!(parts(&mut Handoffs::default(), 100, false), []);
}

/// A worker that waits has another piece of work then, and one that makes a call whose request is known has one, too.
#[test]
fn a_worker_that_has_done_something_since_its_call_may_have_made_it_for_another() {
    for (woken, wrote) in [(false, false), (true, false), (false, true)] {
        let mut handoffs = Handoffs::default();
        let mut known = Vec::new();
        for round in 0..40 {
            let (time, first, second) = two_requests(&mut handoffs, round);
            // A second call now and then: no more than the last one is a custom.
            for number in 0..=(round % 2) {
                call(&mut handoffs, 8, first + number + 1, time + 10 * (number + 1));
            }
            if woken {
                let _ = handoffs.woke(task(7), 8, own(8), time + 90);
            }
            if wrote {
                handoffs.written(turn(8).strand, time + 95);
            }
            let _ = handoffs.woke(task(8), 1, own(1), time + 100);
            known.extend(certain(&mut handoffs, [(1, first), (2, second)], time + 110));
        }
        assert_eq!(known.len(), if woken || wrote { 0 } else { 40 }, "{known:?}");
    }
}

#[test]
fn a_worker_that_wakes_the_reader_of_the_only_request_did_its_work() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    call(&mut handoffs, 8, 12, 120);
    let _ = handoffs.woke(task(8), 1, None, 130);
    assert_eq!(handoffs.answered(turn(1), 10, false, 160), handed(&[11, 12], 10));
}

#[test]
fn calls_older_than_the_request_are_not_its() {
    let mut handoffs = Handoffs::default();
    call(&mut handoffs, 8, 5, 90);
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    let _ = handoffs.woke(task(8), 1, None, 130);
    assert_eq!(handoffs.answered(turn(1), 10, false, 160), handed(&[11], 10));
}

#[test]
fn a_worker_with_a_call_under_way_has_nothing_to_hand_back() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    handoffs.call_made(turn(8), 11, 110, Likeness::default());
    let _ = handoffs.woke(task(8), 1, None, 115);
    handoffs.call_read(turn(8), 11, 120);
    assert_eq!(handoffs.answered(turn(1), 10, false, 160), []);
}

/// One of two workers that woke the reader only let a lock go: which, shows once the other's calls are explained.
#[test]
fn two_workers_that_wake_a_reader_are_told_apart_by_what_else_is_known() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    handoffs.request_read(turn(2).strand, 20, 101, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    call(&mut handoffs, 9, 21, 111);
    let _ = handoffs.woke(task(9), 1, None, 115);
    let _ = handoffs.woke(task(8), 1, None, 120);
    assert_eq!(handoffs.answered(turn(1), 10, false, 130), []);
    let _ = handoffs.woke(task(9), 2, None, 140);
    let mut decisions = handoffs.answered(turn(2), 20, false, 150);
    decisions.sort_unstable_by_key(|(call, ..)| *call);
    assert_eq!(decisions, [(11, 10, Evidence::Inferred), (21, 20, Evidence::Inferred)]);
}

#[test]
fn who_writes_the_response_made_the_calls() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    call(&mut handoffs, 8, 12, 120);
    assert_eq!(handoffs.answered(turn(8), 10, true, 130), handed(&[11, 12], 10));
}

#[test]
fn threads_that_share_their_work_prove_nothing() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    handoffs.call_made(turn(8), 11, 110, Likeness::default());
    handoffs.call_read(turn(9), 11, 112);
    call(&mut handoffs, 8, 12, 120);
    assert_eq!(handoffs.answered(turn(8), 10, true, 130), []);
    handoffs.forget(11);
    handoffs.request_read(turn(1).strand, 20, 200, Likeness::default());
    call(&mut handoffs, 8, 21, 210);
    assert_eq!(handoffs.answered(turn(8), 20, true, 230 + LESSON), handed(&[21], 20), "it is forgotten in time");
}

#[test]
fn what_is_read_last_in_a_turn_is_what_is_answered() {
    let next = |number| Turn { strand: Strand::Thread(PID, 1), number };
    let mut handoffs = Handoffs::default();
    handoffs.request_read(next(0).strand, 10, 100, Likeness::default());
    handoffs.request_read(next(0).strand, 20, 101, Likeness::default());
    handoffs.call_made(next(0), 11, 110, Likeness::default());
    handoffs.call_made(next(0), 21, 111, Likeness::default());
    handoffs.call_read(next(1), 21, 120);
    assert_eq!(handoffs.answered(next(1), 20, false, 121), [(21, 20, Evidence::Task)]);
    handoffs.call_read(next(2), 11, 130);
    assert_eq!(handoffs.answered(next(3), 10, false, 131), [], "a wait in between");
}

#[test]
fn two_reads_before_a_response_prove_nothing() {
    let next = |number| Turn { strand: Strand::Thread(PID, 1), number };
    let mut handoffs = Handoffs::default();
    handoffs.request_read(next(0).strand, 10, 100, Likeness::default());
    handoffs.call_made(next(0), 11, 110, Likeness::default());
    handoffs.call_made(next(0), 12, 111, Likeness::default());
    handoffs.call_read(next(1), 11, 120);
    handoffs.call_read(next(1), 12, 121);
    assert_eq!(handoffs.answered(next(1), 10, false, 122), []);
}

#[test]
fn the_first_work_of_a_started_strand_is_its_starters() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    handoffs.started(turn(8).strand, 10);
    assert_eq!(handoffs.started_for(turn(8).strand), Some(10));
    call(&mut handoffs, 8, 99, 110);
    let _ = handoffs.woke(task(8), 1, None, 120);
    assert_eq!(handoffs.started_for(turn(8).strand), None, "it has handed its work back");
    handoffs.started(turn(9).strand, 10);
    let _ = handoffs.answered(turn(1), 10, false, 130);
    assert_eq!(handoffs.started_for(turn(9).strand), None, "the request is answered");
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    handoffs.forget(11);
    handoffs.forget(10);
    assert!(handoffs.requests.is_empty() && handoffs.reading.is_empty() && handoffs.callers.is_empty());
}
