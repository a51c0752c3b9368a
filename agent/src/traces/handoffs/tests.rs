use super::*;

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

/// Two requests at a time, whose work two workers do: what is claimed for the second one.
fn rounds(handoffs: &mut Handoffs, number: u64, calls: u64) -> Vec<Evidence> {
    let mut claimed = Vec::new();
    for round in 0..number {
        let (time, first, second) = (1000 * round, 100 * round + 10, 100 * round + 20);
        handoffs.request_read(turn(1).strand, first, time, Likeness::default());
        handoffs.request_read(turn(2).strand, second, time + 1, Likeness::default());
        for (worker, reader, request) in [(8, 1, first), (9, 2, second)] {
            for number in 1..=calls {
                call(handoffs, worker, request + number, time + 10 * number);
            }
            handoffs.woke(task(worker), reader, time + 100);
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
    for round in 0..=u64::from(Custom::OFTEN) + 2 {
        let (request, time) = (100 * round, 1000 * round);
        // Never alone: another request is always open.
        handoffs.request_read(turn(2).strand, request + 50, time, Likeness::default());
        handoffs.request_read(turn(1).strand, request, time + 1, Likeness::default());
        let calls = if round == 1 { 1 } else { 2 };
        for number in 1..=calls {
            call(&mut handoffs, 8, request + number, time + 10 * number);
        }
        handoffs.woke(task(8), 1, time + 100);
        let decisions = handoffs.answered(turn(1), request, false, time + 110);
        assert!(decisions.iter().all(|(_, _, evidence)| *evidence != Evidence::Inferred) || known.is_empty());
        known.extend(decisions.into_iter().filter(|(.., evidence)| *evidence == Evidence::Handoff));
        assert_eq!(handoffs.awaits(request + 1), known.is_empty());
        handoffs.forget(request + 50);
    }
    let of: HashSet<NodeId> = known.iter().map(|(_, request, _)| *request).collect();
    let all = (0..=u64::from(Custom::OFTEN) + 2).map(|round| 100 * round);
    assert_eq!(of, all.filter(|&request| request != 100).collect());
    assert_eq!(known.len(), 2 * of.len());
}

#[test]
fn a_worker_that_wakes_the_reader_of_the_only_request_did_its_work() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    call(&mut handoffs, 8, 12, 120);
    handoffs.woke(task(8), 1, 130);
    assert_eq!(handoffs.answered(turn(1), 10, false, 160), handed(&[11, 12], 10));
}

#[test]
fn calls_older_than_the_request_are_not_its() {
    let mut handoffs = Handoffs::default();
    call(&mut handoffs, 8, 5, 90);
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    call(&mut handoffs, 8, 11, 110);
    handoffs.woke(task(8), 1, 130);
    assert_eq!(handoffs.answered(turn(1), 10, false, 160), handed(&[11], 10));
}

#[test]
fn a_worker_with_a_call_under_way_has_nothing_to_hand_back() {
    let mut handoffs = Handoffs::default();
    handoffs.request_read(turn(1).strand, 10, 100, Likeness::default());
    handoffs.call_made(turn(8), 11, 110, Likeness::default());
    handoffs.woke(task(8), 1, 115);
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
    handoffs.woke(task(9), 1, 115);
    handoffs.woke(task(8), 1, 120);
    assert_eq!(handoffs.answered(turn(1), 10, false, 130), []);
    handoffs.woke(task(9), 2, 140);
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
    handoffs.woke(task(8), 1, 120);
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
