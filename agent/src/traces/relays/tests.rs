use super::*;
use crate::event::Coroutine;

const PID: Pid = 1;

fn task(id: u32) -> Strand {
    Strand::Coroutine(PID, id)
}

/// A thread that polls a task.
fn polled(tid: u32, turn: u32, id: u32) -> Task {
    Task { coroutine: Some(Coroutine::Task(id)), ..Task::thread(PID, tid, turn) }
}

fn sort(path: &str) -> Likeness {
    Likeness::of_http(b"GET", path.as_bytes())
}

/// Two requests of a sort at a time, each of which asks for these calls; whether they are claimed for the second.
fn round(relays: &mut Relays, number: u64, calls: &[&str]) -> bool {
    let (first, second) = (100 * number, 100 * number + 10);
    for request in [first, second] {
        relays.request_read(task(1), request, sort("/checkout"));
    }
    let mut claimed = Vec::new();
    for request in [first, second] {
        for (call, path) in (request + 1..).zip(calls) {
            relays.asked(request, call, sort(path));
            relays.call_read(call);
        }
        claimed = relays.answered(request);
    }
    let all: Vec<Decision> = (second + 1..).zip(calls).map(|(call, _)| (call, second, Evidence::Handoff)).collect();
    assert!(claimed.is_empty() || claimed == all, "{claimed:?}");
    !claimed.is_empty()
}

#[test]
fn calls_are_claimed_where_all_requests_ask_for_the_same() {
    let mut relays = Relays::default();
    let claimed: Vec<bool> = (0..12).map(|number| round(&mut relays, number, &["/item", "/price"])).collect();
    // One begins it, and sixteen more do the same.
    assert_eq!(claimed, [&[false; 8][..], &[true; 4]].concat());
    assert!(round(&mut relays, 12, &["/price", "/item"]), "in any order");
    assert!(!round(&mut relays, 13, &["/item"]));
    assert!(round(&mut relays, 14, &["/item", "/price"]), "something is missing now and then");
    assert!(!round(&mut relays, 15, &["/item", "/price", "/item"]));
    assert!(!round(&mut relays, 16, &["/item", "/price"]), "it is no custom any more");
}

#[test]
fn requests_that_are_alone_show_nothing_of_others() {
    let mut relays = Relays::default();
    for number in 0..40 {
        relays.request_read(task(1), 10 * number, sort("/checkout"));
        relays.asked(10 * number, 10 * number + 1, sort("/item"));
        relays.call_read(10 * number + 1);
        assert_eq!(relays.answered(10 * number).len(), usize::from(number >= 16));
    }
    assert!(!round(&mut relays, 100, &["/item"]));
}

#[test]
fn what_was_not_answered_before_the_request_is_not_claimed() {
    let mut relays = Relays::default();
    for number in 0..12 {
        round(&mut relays, number, &["/item"]);
    }
    for request in [5000, 5010] {
        relays.request_read(task(1), request, sort("/checkout"));
    }
    relays.asked(5010, 5011, sort("/item"));
    assert!(relays.is_waiting(5011));
    assert_eq!(relays.answered(5010), []);
    assert!(!relays.is_waiting(5011));
}

#[test]
fn first_calls_on_connections_excuse_that_something_is_missing() {
    let mut relays = Relays::default();
    for number in 0..12 {
        round(&mut relays, number, &["/item"]);
    }
    for number in 12..20 {
        for request in [100 * number, 100 * number + 10] {
            relays.request_read(task(1), request, sort("/checkout"));
        }
        relays.first_call(PID);
        for request in [100 * number, 100 * number + 10] {
            assert_eq!(relays.answered(request), []);
        }
    }
    assert!(round(&mut relays, 20, &["/item"]));
}

#[test]
fn only_who_has_read_right_before_on_the_thread_asks() {
    let mut relays = Relays::default();
    relays.moved(polled(1, 5, 7), Direction::Read);
    assert_eq!(relays.reader_before(polled(1, 5, 8)), Some(task(7)));
    assert_eq!(relays.reader_before(polled(1, 5, 7)), None, "itself");
    assert_eq!(relays.reader_before(polled(1, 6, 8)), None, "another turn");
    assert_eq!(relays.reader_before(polled(2, 5, 8)), None, "another thread");
    relays.moved(polled(1, 5, 7), Direction::Write);
    assert_eq!(relays.reader_before(polled(1, 5, 8)), None, "it has written");
    relays.moved(polled(1, 5, 7), Direction::Read);
    relays.moved(Task::thread(PID, 1, 5), Direction::Write);
    assert_eq!(relays.reader_before(polled(1, 5, 8)), None, "something else has happened since");
}

#[test]
fn nothing_is_left_of_what_is_over() {
    let mut relays = Relays::default();
    for number in 0..4 {
        round(&mut relays, number, &["/item"]);
    }
    relays.request_read(task(1), 1000, sort("/checkout"));
    relays.request_read(task(2), 1001, sort("/checkout"));
    assert!(relays.is_crowded(PID));
    relays.asked(1000, 1002, sort("/item"));
    relays.asked(1001, 1003, sort("/item"));
    relays.forget(1000);
    assert!(!relays.is_crowded(PID));
    relays.forget(1003);
    assert!(!relays.is_waiting(1002) && !relays.is_waiting(1003));
    relays.exited(PID);
    assert!(relays.requests.is_empty() && relays.processes.is_empty() && relays.askers.is_empty());
}
