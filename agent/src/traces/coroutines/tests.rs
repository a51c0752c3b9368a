use super::*;
use crate::event::Coroutine;

/// A context by the last digits of its address.
fn context(address: u32) -> Strand {
    Strand::Coroutine(1, address)
}

/// The event loop's thread in a context.
fn within(address: u32) -> Task {
    Task { coroutine: Some(Coroutine::Context(address)), ..Task::thread(1, 1, 1) }
}

/// A connection's own context: what is read on it is read there.
const READER: Strand = Strand::Coroutine(1, 1000);

fn reader() -> Task {
    within(1000)
}

/// Who answers is known to make such calls.
fn practised() -> Coroutines {
    let mut coroutines = Coroutines::default();
    for number in 0..40 {
        let (request, time) = (1000 + number, 2 * number);
        coroutines.request_read(reader(), request, time, Likeness::default());
        call(&mut coroutines, 99, 2000 + number, time);
        for (call, request, _) in coroutines.answered(context(99), request, true, time + 1) {
            coroutines.decided(call, request);
        }
        coroutines.forget(request);
    }
    coroutines
}

/// A task makes a call, whose response is read in the context of its connection.
fn call(coroutines: &mut Coroutines, address: u32, node: NodeId, time: Time) {
    coroutines.call_made(context(address), node, time, Likeness::default(), None);
    coroutines.call_read(Some(READER), node, time);
}

fn handed(calls: &[NodeId], request: NodeId) -> Vec<Decision> {
    calls.iter().map(|&call| (call, request, Evidence::Handoff)).collect()
}

fn shared(coroutines: &Coroutines, address: u32, now: Time) -> bool {
    coroutines.contexts.peek(&context(address)).is_some_and(|context| context.is_shared(now))
}

fn likely(calls: &[NodeId], request: NodeId) -> Vec<Decision> {
    calls.iter().map(|&call| (call, request, Evidence::Inferred)).collect()
}

#[test]
fn who_writes_the_response_has_made_the_calls() {
    let mut coroutines = practised();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    coroutines.request_read(within(1001), 20, 101, Likeness::default());
    // The calls of two tasks alternate.
    for (address, node, time) in [(1, 11, 110), (2, 21, 111), (1, 12, 120), (2, 22, 121)] {
        call(&mut coroutines, address, node, time);
    }
    assert_eq!(coroutines.answered(context(2), 20, true, 130), handed(&[21, 22], 20));
    assert_eq!(coroutines.answered(context(1), 10, true, 131), handed(&[11, 12], 10));
    assert_eq!(coroutines.answered(context(1), 10, false, 132), []);
}

#[test]
fn one_that_reads_its_request_itself_has_worked_for_it() {
    let mut coroutines = practised();
    coroutines.request_read(within(1), 10, 100, Likeness::default());
    coroutines.call_made(context(1), 11, 110, Likeness::default(), None);
    coroutines.call_read(Some(context(1)), 11, 115);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), [(11, 10, Evidence::Task)]);
}

#[test]
fn what_came_before_the_request_is_not_its() {
    let mut coroutines = practised();
    call(&mut coroutines, 1, 5, 90);
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    call(&mut coroutines, 1, 11, 110);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), handed(&[11], 10));
}

#[test]
fn who_has_answered_another_meanwhile_began_late() {
    let mut coroutines = practised();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    coroutines.forget(10);
    coroutines.request_read(reader(), 20, 101, Likeness::default());
    call(&mut coroutines, 1, 11, 110);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), [], "it is over");
    call(&mut coroutines, 1, 12, 125);
    // The rest of a long response.
    assert_eq!(coroutines.answered(context(1), 10, false, 130), []);
    call(&mut coroutines, 1, 21, 140);
    assert_eq!(coroutines.answered(context(1), 20, true, 150), likely(&[21], 20));
    coroutines.request_read(reader(), 30, 160, Likeness::default());
    call(&mut coroutines, 1, 31, 170);
    assert_eq!(coroutines.answered(context(1), 30, true, 180), likely(&[31], 30), "another one may, too");
}

/// The address is a connection's for a time, or a greenlet's that reads another request.
#[test]
fn an_address_that_was_in_other_use_meanwhile_proves_nothing() {
    for reads_request in [false, true] {
        let mut coroutines = practised();
        coroutines.request_read(reader(), 10, 100, Likeness::default());
        coroutines.call_made(context(2), 31, 105, Likeness::default(), None);
        call(&mut coroutines, 1, 5, 106);
        if reads_request {
            coroutines.request_read(within(1), 20, 110, Likeness::default());
        } else {
            coroutines.call_read(Some(context(1)), 31, 110);
        }
        call(&mut coroutines, 1, 11, 120);
        assert_eq!(coroutines.answered(context(1), 10, true, 130), likely(&[11], 10));
    }
}

#[test]
fn calls_before_one_that_is_another_requests_are_not_claimed() {
    for known_at_once in [false, true] {
        let mut coroutines = practised();
        coroutines.request_read(reader(), 10, 100, Likeness::default());
        coroutines.request_read(within(1001), 20, 101, Likeness::default());
        call(&mut coroutines, 1, 5, 106);
        coroutines.call_made(context(1), 6, 107, Likeness::default(), known_at_once.then_some(20));
        coroutines.call_read(Some(READER), 6, 108);
        if !known_at_once {
            coroutines.decided(6, 20);
        }
        call(&mut coroutines, 1, 11, 120);
        assert_eq!(coroutines.answered(context(1), 10, true, 130), likely(&[11], 10));
    }
}

#[test]
fn a_context_that_everything_is_done_in_proves_nothing() {
    let mut coroutines = practised();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    coroutines.request_read(within(1001), 20, 101, Likeness::default());
    coroutines.call_made(context(1), 11, 110, Likeness::default(), None);
    coroutines.call_made(context(1), 21, 111, Likeness::default(), None);
    coroutines.call_read(Some(READER), 11, 112);
    coroutines.call_read(Some(READER), 21, 113);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), [], "two calls at once");
    coroutines.request_read(within(2), 30, 200, Likeness::default());
    coroutines.request_read(within(2), 40, 201, Likeness::default());
    call(&mut coroutines, 2, 31, 210);
    assert_eq!(coroutines.answered(context(2), 30, true, 220), [], "two requests at once");
    assert!(shared(&coroutines, 2, 201 + LESSON));
    assert!(!shared(&coroutines, 2, 202 + LESSON), "it is forgotten in time");
}

#[test]
fn a_call_that_is_under_way_was_not_waited_for() {
    let mut coroutines = practised();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    coroutines.call_made(context(1), 11, 110, Likeness::default(), None);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), []);
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut coroutines = practised();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    call(&mut coroutines, 1, 11, 110);
    call(&mut coroutines, 1, 12, 112);
    coroutines.decided(12, 10);
    coroutines.forget(11);
    coroutines.forget(10);
    assert!(coroutines.requests.is_empty() && coroutines.callers.is_empty());
}

/// A coroutine that ended has made such a call, and the next one at its address answers: by chance.
#[test]
fn sorts_of_calls_that_nobody_answers_after_do_not_count() {
    let mut coroutines = practised();
    for number in 0..20 {
        let (request, time) = (3000 + number, 100 + 10 * number);
        coroutines.request_read(reader(), request, time, Likeness::default());
        call(&mut coroutines, 1, 5000 + 2 * number, time + 1);
        // Every second time.
        let address = if number % 2 == 0 { 1 } else { 2 };
        let decisions = coroutines.answered(context(address), request, true, time + 3);
        if number > 4 {
            assert!(decisions.iter().all(|(.., evidence)| *evidence == Evidence::Inferred), "{number}: {decisions:?}");
        }
        coroutines.forget(request);
    }
}

/// What was found before it was known that the sort counts is said then.
#[test]
fn what_is_found_before_waits() {
    let mut coroutines = Coroutines::default();
    let mut found = Vec::new();
    for number in 0..20 {
        let (request, time) = (number, 10 * number);
        coroutines.request_read(reader(), request, time, Likeness::default());
        call(&mut coroutines, 1, 100 + number, time + 1);
        found.extend(coroutines.answered(context(1), request, true, time + 3));
        coroutines.forget(request);
    }
    for number in 0..20 {
        assert!(found.contains(&(100 + number, number, Evidence::Handoff)), "{number}");
    }
}

/// A coroutine begins in these others, each with its own beginning.
fn begin(coroutines: &mut Coroutines, address: u32, time: Time, ancestors: &[(u32, Option<Time>)]) {
    let ancestors: Vec<_> = ancestors.iter().map(|&(context, began)| Ancestor { context, began }).collect();
    coroutines.began(within(address), time, &ancestors);
}

#[test]
fn what_was_begun_for_a_request_is_its_without_any_habit() {
    let mut coroutines = Coroutines::default();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    begin(&mut coroutines, 1, 101, &[(1000, None)]);
    call(&mut coroutines, 1, 11, 102);
    begin(&mut coroutines, 2, 103, &[(1, Some(101)), (1000, None)]);
    call(&mut coroutines, 2, 12, 104);
    begin(&mut coroutines, 3, 105, &[(2, Some(103)), (1, Some(101)), (1000, None)]);
    call(&mut coroutines, 3, 13, 106);
    // Under way, and another one's that was begun at the same address.
    coroutines.call_made(context(3), 14, 107, Likeness::default(), None);
    begin(&mut coroutines, 2, 108, &[(1, Some(50)), (1000, None)]);
    call(&mut coroutines, 2, 15, 109);
    assert_eq!(coroutines.answered(context(1), 10, true, 110), handed(&[11, 12, 13], 10));
}

#[test]
fn what_was_begun_before_the_request_is_not_its() {
    let mut coroutines = practised();
    begin(&mut coroutines, 1, 90, &[(1000, None)]);
    begin(&mut coroutines, 2, 95, &[(1, Some(90)), (1000, None)]);
    coroutines.request_read(within(1), 10, 100, Likeness::default());
    call(&mut coroutines, 2, 21, 102);
    begin(&mut coroutines, 3, 105, &[(1, Some(90)), (1000, None)]);
    call(&mut coroutines, 3, 31, 106);
    assert_eq!(coroutines.answered(context(1), 10, true, 110), handed(&[31], 10), "it has read the request itself");
}

/// It may answer many: a callback of a server that has a single context for all.
#[test]
fn one_that_is_older_than_the_request_and_has_not_read_it_has_begun_nothing_for_it() {
    let mut coroutines = practised();
    begin(&mut coroutines, 1, 90, &[(1000, None)]);
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    begin(&mut coroutines, 2, 101, &[(1, Some(90)), (1000, None)]);
    call(&mut coroutines, 2, 21, 102);
    assert_eq!(coroutines.answered(context(1), 10, true, 110), []);
}

#[test]
fn what_an_address_was_before_is_over() {
    let mut coroutines = practised();
    coroutines.request_read(reader(), 10, 100, Likeness::default());
    call(&mut coroutines, 1, 5, 101);
    begin(&mut coroutines, 1, 102, &[(1000, None)]);
    call(&mut coroutines, 1, 11, 103);
    assert_eq!(coroutines.answered(context(1), 10, true, 110), handed(&[11], 10));
}
