use super::*;

const PID: Pid = 1;

fn turn(tid: u32) -> Turn {
    Turn { strand: Strand::Thread(PID, tid), number: 0 }
}

fn read(tasks: &mut Tasks, tid: u32, request: NodeId) {
    tasks.request_read(turn(tid), request, true);
    tasks.request_received(request);
}

fn answer(tasks: &mut Tasks, tid: u32, request: NodeId) {
    assert!(tasks.answering(turn(tid), request));
    tasks.request_done(request);
}

/// A virtual thread was put aside after its call, the next one was served for a while, and the first goes on: all that is seen is one thread
/// which never waits for several files.
#[test]
fn a_thread_that_reads_the_response_to_another_requests_call_goes_on_with_that() {
    let mut tasks = Tasks::default();
    read(&mut tasks, 1, 10);
    assert_eq!(tasks.working_for(turn(1), false), Some(10));
    tasks.call_made(10);
    read(&mut tasks, 1, 20);
    assert_eq!(tasks.working_for(turn(1), false), Some(20));
    tasks.response_read(turn(1), turn(1), Some(10));
    assert_ne!(tasks.working_for(turn(1), false), Some(20));
}

/// A client library with threads of its own reads the responses; the thread that has read the request waits, and goes on with it.
#[test]
fn threads_that_always_answer_what_they_have_read_keep_it_while_others_work_for_them() {
    let mut tasks = Tasks::default();
    for request in 0..u64::from(STAYED) {
        read(&mut tasks, 1, request);
        assert_eq!(tasks.working_for(turn(1), false), Some(request));
        tasks.moved(PID);
        answer(&mut tasks, 1, request);
    }
    read(&mut tasks, 1, 100);
    read(&mut tasks, 2, 200);
    tasks.response_read(turn(9), turn(1), Some(100));
    assert_eq!((tasks.working_for(turn(1), false), tasks.working_for(turn(2), false)), (Some(100), Some(200)));
    assert_eq!(tasks.working_for(turn(9), false), None, "it may be about to do another request's work");
}

/// One that is answered by another thread shows that requests move, and then nothing is certain that a thread does.
#[test]
fn a_request_that_another_thread_answers_ends_that() {
    let mut tasks = Tasks::default();
    for request in 0..u64::from(STAYED) {
        read(&mut tasks, 1, request);
        answer(&mut tasks, 1, request);
    }
    tasks.moved(PID);
    read(&mut tasks, 1, 100);
    answer(&mut tasks, 2, 100);
    read(&mut tasks, 1, 101);
    read(&mut tasks, 2, 102);
    assert_eq!((tasks.working_for(turn(1), false), tasks.working_for(turn(2), false)), (None, None));
}

/// A proxy that lets no more than some calls be under way: a queued one is written in the turn after the one in which another has returned, where
/// the proxy reads a request that has to wait.
#[test]
fn what_a_proxy_writes_while_others_are_queued_may_be_theirs() {
    let at = |number| Turn { strand: Strand::Thread(PID, 1), number };
    let mut tasks = Tasks::default();
    let read = |tasks: &mut Tasks, turn, request| {
        tasks.request_read(at(turn), request, true);
        tasks.request_received(request);
    };
    // A single request is passed on at once; two are answered in a turn in which both responses were read.
    for (turn, request) in [(1, 10), (2, 20)] {
        read(&mut tasks, turn, request);
        assert_eq!(tasks.working_for(at(turn), false), Some(request));
        tasks.call_made(request);
    }
    for request in [10, 20] {
        tasks.response_read(at(3), at(2), Some(request));
        tasks.call_done(request);
    }
    for request in [10, 20] {
        tasks.answering(at(3), request);
        tasks.request_done(request);
    }
    read(&mut tasks, 4, 30);
    tasks.call_made(30);
    read(&mut tasks, 5, 40); // it is queued
    tasks.response_read(at(6), at(4), Some(30));
    tasks.call_done(30);
    tasks.answering(at(6), 30);
    tasks.request_done(30);
    read(&mut tasks, 7, 50);
    assert_eq!(tasks.working_for(at(7), false), None, "it may be the queued one's");
}
