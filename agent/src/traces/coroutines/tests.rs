use super::*;

/// A context by the last digits of its address.
fn context(address: u32) -> Strand {
    Strand::Coroutine(1, address)
}

/// A connection's own context: what is read on it is read there.
const READER: Option<Strand> = Some(Strand::Coroutine(1, 1000));

/// A task makes a call, whose response is read in the context of its connection.
fn call(coroutines: &mut Coroutines, address: u32, node: NodeId, time: Time) {
    coroutines.call_made(context(address), node, time, None);
    coroutines.call_read(READER, node);
}

fn handed(calls: &[NodeId], request: NodeId) -> Vec<Decision> {
    calls.iter().map(|&call| (call, request, Evidence::Handoff)).collect()
}

#[test]
fn who_writes_the_response_has_made_the_calls() {
    let mut coroutines = Coroutines::default();
    coroutines.request_read(READER, 10, 100);
    coroutines.request_read(Some(context(1001)), 20, 101);
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
    let mut coroutines = Coroutines::default();
    coroutines.request_read(Some(context(1)), 10, 100);
    coroutines.call_made(context(1), 11, 110, None);
    coroutines.call_read(Some(context(1)), 11);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), [(11, 10, Evidence::Task)]);
}

#[test]
fn what_came_before_the_request_is_not_its() {
    let mut coroutines = Coroutines::default();
    call(&mut coroutines, 1, 5, 90);
    coroutines.request_read(READER, 10, 100);
    call(&mut coroutines, 1, 11, 110);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), handed(&[11], 10));
}

#[test]
fn what_came_before_another_response_is_that_ones() {
    let mut coroutines = Coroutines::default();
    coroutines.request_read(READER, 10, 100);
    coroutines.forget(10);
    coroutines.request_read(READER, 20, 101);
    call(&mut coroutines, 1, 11, 110);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), [], "it is over");
    call(&mut coroutines, 1, 12, 125);
    // The rest of a long response.
    assert_eq!(coroutines.answered(context(1), 10, false, 130), []);
    call(&mut coroutines, 1, 21, 140);
    assert_eq!(coroutines.answered(context(1), 20, true, 150), handed(&[21], 20));
}

/// The address is a connection's for a time, or a greenlet's that reads another request.
#[test]
fn an_address_that_was_anothers_meanwhile_proves_nothing_of_before() {
    for reads_request in [false, true] {
        let mut coroutines = Coroutines::default();
        coroutines.request_read(READER, 10, 100);
        coroutines.call_made(context(2), 31, 105, None);
        call(&mut coroutines, 1, 5, 106);
        if reads_request {
            coroutines.request_read(Some(context(1)), 20, 110);
        } else {
            coroutines.call_read(Some(context(1)), 31);
        }
        call(&mut coroutines, 1, 11, 120);
        assert_eq!(coroutines.answered(context(1), 10, true, 130), handed(&[11], 10));
    }
}

#[test]
fn calls_before_one_that_is_another_requests_are_not_claimed() {
    for known_at_once in [false, true] {
        let mut coroutines = Coroutines::default();
        coroutines.request_read(READER, 10, 100);
        coroutines.request_read(Some(context(1001)), 20, 101);
        call(&mut coroutines, 1, 5, 106);
        coroutines.call_made(context(1), 6, 107, known_at_once.then_some(20));
        coroutines.call_read(READER, 6);
        if !known_at_once {
            coroutines.decided(6, 20);
        }
        call(&mut coroutines, 1, 11, 120);
        assert_eq!(coroutines.answered(context(1), 10, true, 130), handed(&[11], 10));
    }
}

#[test]
fn a_context_that_everything_is_done_in_proves_nothing() {
    let mut coroutines = Coroutines::default();
    coroutines.request_read(READER, 10, 100);
    coroutines.request_read(Some(context(1001)), 20, 101);
    coroutines.call_made(context(1), 11, 110, None);
    coroutines.call_made(context(1), 21, 111, None);
    coroutines.call_read(READER, 11);
    coroutines.call_read(READER, 21);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), [], "two calls at once");
    coroutines.request_read(Some(context(2)), 30, 200);
    coroutines.request_read(Some(context(2)), 40, 201);
    call(&mut coroutines, 2, 31, 210);
    assert_eq!(coroutines.answered(context(2), 30, true, 220), [], "two requests at once");
    coroutines.request_read(READER, 50, 230 + LESSON);
    call(&mut coroutines, 2, 51, 240 + LESSON);
    assert_eq!(coroutines.answered(context(2), 50, true, 250 + LESSON), handed(&[51], 50), "it is forgotten in time");
}

#[test]
fn a_call_that_is_under_way_was_not_waited_for() {
    let mut coroutines = Coroutines::default();
    coroutines.request_read(READER, 10, 100);
    coroutines.call_made(context(1), 11, 110, None);
    assert_eq!(coroutines.answered(context(1), 10, true, 120), []);
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut coroutines = Coroutines::default();
    coroutines.request_read(READER, 10, 100);
    call(&mut coroutines, 1, 11, 110);
    call(&mut coroutines, 1, 12, 112);
    coroutines.decided(12, 10);
    coroutines.forget(11);
    coroutines.forget(10);
    assert!(coroutines.requests.is_empty() && coroutines.callers.is_empty());
}
