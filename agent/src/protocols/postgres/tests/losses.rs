//! Missing bytes: what is known is reported, what is doubtful is not, and the connection is understood again afterwards.

use super::*;

fn next_is_understood(wire: &mut Wire) {
    wire.signals.clear();
    wire.client(&query("SELECT 1 FROM next"));
    wire.server(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(wire.names(), ["SELECT next"]);
}

fn rows(count: usize) -> Vec<u8> {
    (0..count).flat_map(|_| row(100)).collect()
}

#[test]
fn many_rows_are_not_captured() {
    let mut wire = Wire::started();
    wire.client(&query("SELECT a FROM t"));
    wire.cut(Direction::Read, &rows(200), 8192);
    wire.cut(Direction::Read, &[rows(200), complete("SELECT 400"), ready()].concat(), 0);
    assert_eq!(wire.said(), ["opened 0 at 30", "requested 0", "closed 0 30..50 SELECT t, 400"]);
    next_is_understood(&mut wire);
}

#[test]
fn an_error_ends_what_was_missed() {
    let mut wire = Wire::started();
    wire.client(&query("SELECT a FROM t"));
    wire.cut(Direction::Read, &[rows(200), message(b'E', b"SERROR\0VERROR\0C22012\0\0"), ready()].concat(), 8192);
    assert_eq!(wire.names(), ["SELECT t 22012"]);
    next_is_understood(&mut wire);
}

#[test]
fn a_long_error_ends_what_was_missed_without_its_code() {
    let mut wire = Wire::started();
    wire.client(&query("SELECT a FROM t"));
    let long = format!("SERROR\0C22012\0M{}\0\0", "x".repeat(200));
    wire.cut(Direction::Read, &[rows(200), message(b'E', long.as_bytes()), ready()].concat(), 8192);
    assert!(wire.signals.iter().any(|signal| matches!(signal, Signal::Incomplete(_))));
    assert_eq!(wire.names(), ["SELECT t"]);
    next_is_understood(&mut wire);
}

#[test]
fn an_end_that_two_calls_share_is_an_end() {
    let mut wire = Wire::started();
    let end = [complete("SELECT 200"), ready()].concat();
    for cut in end.len() - 5..end.len() {
        wire.client(&query("SELECT a FROM t"));
        wire.cut(Direction::Read, &rows(200), 8192);
        wire.server(&end[..cut]);
        wire.server(&end[cut..]);
        assert_eq!(wire.names(), ["SELECT t"]);
        // A request that nobody sees is not answered for the one before it.
        unseen(&mut wire, Direction::Write, &query("SELECT a FROM unseen"));
        wire.server(&[complete("SELECT 1"), ready()].concat());
        assert_eq!(wire.said(), ["Lost(Unmatched)"]);
        wire.client(&query("SELECT a FROM passed"));
        wire.server(&[complete("SELECT 1"), ready()].concat());
        next_is_understood(&mut wire);
    }
}

#[test]
fn of_several_statements_the_last_is_known() {
    let mut wire = Wire::started();
    wire.client(&[whole("SELECT 1 FROM a"), whole("SELECT 1 FROM b"), sync()].concat());
    let answer = [
        message(b'1', &[]),
        message(b'2', &[]),
        rows(200),
        complete("SELECT 200"),
        rows(9),
        complete("SELECT 9"),
        ready(),
    ];
    wire.cut(Direction::Read, &answer.concat(), 8192);
    let said = wire.said();
    assert!(said.ends_with(&[
        "Incomplete(0)".to_owned(),
        "closed 0 30..40 SELECT a".to_owned(),
        "closed 1 30..40 SELECT b, 9".to_owned()
    ]));
    next_is_understood(&mut wire);
}

#[test]
fn with_several_groups_under_way_nothing_is_claimed() {
    let mut wire = Wire::started();
    wire.client(&[whole("SELECT 1 FROM a"), sync(), whole("SELECT 1 FROM b"), sync()].concat());
    wire.cut(
        Direction::Read,
        &[message(b'1', &[]), message(b'2', &[]), rows(200), complete("SELECT 200"), ready()].concat(),
        8192,
    );
    let incomplete = wire.signals.iter().filter(|signal| matches!(signal, Signal::Incomplete(_))).count();
    assert_eq!(incomplete, 2);
    wire.server(&[whole_answer("SELECT 1"), ready()].concat());
    assert_eq!(wire.names(), ["SELECT a", "SELECT b"]);
    next_is_understood(&mut wire);
}

#[test]
fn an_answer_s_end_that_was_missed() {
    let mut wire = Wire::started();
    wire.client(&query("SELECT a FROM t"));
    let answer = [rows(200), complete("SELECT 200"), ready()].concat();
    wire.time += 10;
    wire.moved(Direction::Read, &answer, 8192, 0);
    wire.client(&query("SELECT a FROM u"));
    wire.server(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(
        wire.said(),
        [
            "opened 0 at 30",
            "requested 0",
            "Incomplete(0)",
            "closed 0 30..50 SELECT t",
            "opened 1 at 50",
            "requested 1",
            "closed 1 50..60 SELECT u, 1"
        ]
    );
}

#[test]
fn requests_that_were_missed() {
    let mut wire = Wire::started();
    let batch: Vec<u8> = (0..300).flat_map(|n| whole(&format!("INSERT INTO t{n} VALUES (1)"))).collect();
    wire.cut(Direction::Write, &[batch, sync()].concat(), 100);
    wire.server(&[(0..300).flat_map(|_| whole_answer("INSERT 0 1")).collect(), ready()].concat());
    assert_eq!(wire.names().first().map(String::as_str), Some("INSERT t0"));
    next_is_understood(&mut wire);
}

#[test]
fn a_text_of_which_the_end_was_missed_counts() {
    let mut wire = Wire::started();
    wire.cut(Direction::Write, &query(&format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(1000))), 200);
    wire.server(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(wire.names(), ["SELECT t"]);
    next_is_understood(&mut wire);
}

/// Bytes that nobody sees.
fn unseen(wire: &mut Wire, direction: Direction, bytes: &[u8]) {
    let position = &mut wire.positions[usize::from(direction == Direction::Write)];
    *position = position.wrapping_add(bytes.len() as u32);
}

#[test]
fn an_answer_and_the_next_request_that_were_both_missed() {
    for piece in [usize::MAX, 5] {
        let mut wire = Wire::started();
        wire.piece = piece;
        wire.client(&query("SELECT 1 FROM a"));
        unseen(&mut wire, Direction::Read, &[complete("SELECT 1"), ready()].concat());
        unseen(&mut wire, Direction::Write, &query("SELECT 1 FROM b"));
        wire.server(&[complete("SELECT 2"), ready()].concat());
        let said = ["opened 0 at 30", "requested 0", "Incomplete(0)", "closed 0 30..40 SELECT a", "Lost(Gap)"];
        assert_eq!(wire.said(), said);
        // Here it shows that a request was missed; the one after it begins a turn.
        wire.client(&query("SELECT 1 FROM c"));
        wire.server(&[complete("SELECT 3"), ready()].concat());
        assert_eq!(wire.said(), ["Lost(Gap)"]);
        next_is_understood(&mut wire);
    }
}

#[test]
fn a_text_whose_answer_came_is_not_answered_again() {
    for seen in [true, false] {
        let mut wire = Wire::started();
        wire.piece = 20;
        let (text, answer) = (query("SELECT 1 FROM a WHERE b = 'long'"), [complete("SELECT 1"), ready()].concat());
        wire.client(&text[..20]);
        unseen(&mut wire, Direction::Write, &text[20..]);
        if seen {
            wire.server(&answer);
        } else {
            unseen(&mut wire, Direction::Read, &answer);
        }
        wire.client(&query("SELECT 1 FROM b"));
        wire.server(&[complete("SELECT 2"), ready()].concat());
        assert_eq!(wire.names(), ["SELECT a"], "incomplete");
        next_is_understood(&mut wire);
    }
}

#[test]
fn a_missed_answer_does_not_make_a_client_one_that_does_not_wait() {
    let mut wire = Wire::started();
    for _ in 0..3 {
        wire.client(&query("SELECT 1 FROM a"));
        wire.server(&row(9));
        unseen(&mut wire, Direction::Read, &[complete("SELECT 1"), ready()].concat());
        wire.client(&query("SELECT 1 FROM b"));
        wire.server(&[complete("SELECT 2"), ready()].concat());
        assert_eq!(wire.names(), ["SELECT a", "SELECT b"]);
        next_is_understood(&mut wire);
    }
}

#[test]
fn a_client_that_does_not_wait_is_given_up_where_calls_are_missing() {
    let mut wire = Wire::started();
    let answer = [complete("SELECT 1"), ready()].concat();
    wire.client(&query("SELECT 1 FROM a"));
    wire.client(&query("SELECT 1 FROM b"));
    wire.server(&answer);
    wire.client(&query("SELECT 1 FROM c"));
    wire.server(&answer);
    unseen(&mut wire, Direction::Read, &answer);
    wire.signals.clear();
    wire.client(&query("SELECT 1 FROM d"));
    wire.server(&answer);
    assert!(wire.signals.contains(&Signal::Abandon(Loss::Gap)), "{:?}", wire.said());
    assert_eq!(wire.names(), ["SELECT c", "SELECT d"]);
}

#[test]
fn an_answer_that_does_not_fit_is_not_used() {
    let mut wire = Wire::started();
    wire.client(&[whole("SELECT 1 FROM t"), sync()].concat());
    wire.server(&[complete("SELECT 1"), ready()].concat());
    let said = wire.said();
    assert!(said.contains(&"Lost(Unmatched)".to_owned()), "{said:?}");
    assert!(said.contains(&"closed 0 30..40 SELECT t".to_owned()), "{said:?}");
    next_is_understood(&mut wire);
}
