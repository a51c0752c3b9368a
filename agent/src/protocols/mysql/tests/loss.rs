//! Bytes that were not seen.

use super::*;

#[test]
fn a_result_whose_middle_is_missing_ends_at_its_terminator() {
    for end in [EOF, OK_EOF] {
        let mut play = Play::session();
        play.c(&query("SELECT a FROM t")).s(&packets(1, &[b"\x01", COLUMN, EOF, b"\x01x"]));
        play.gap(Role::Server)
            .s(b"st of a row\x01x\x03")
            .s(&[b"tail of a row\x02xx".to_vec(), packet(77, end)].concat());
        assert_eq!(play.story()[1..], ["open 0 @40", "close 0 @80 shop SELECT a FROM t error=- rows=-"]);
        // In step again.
        play.c(&query("SELECT b")).s(&okay(1, 2));
        assert_eq!(play.story()[3..], ["open 1 @90", "close 1 @100 shop SELECT b error=- rows=-"]);
    }
}

#[test]
fn a_result_whose_end_is_missing_is_incomplete() {
    let mut play = Play::session();
    play.c(&query("SELECT a FROM t")).s(&packets(1, &[b"\x01", COLUMN, EOF, b"\x01x"]));
    play.gap(Role::Server).s(b"rest").c(&query("SELECT b")).s(&error(1, 1054, "no column"));
    assert_eq!(
        play.story()[1..],
        [
            "open 0 @40",
            "Incomplete(0)",
            "close 0 @70 shop SELECT a FROM t error=- rows=-",
            "open 1 @80",
            "close 1 @90 shop SELECT b error=1054 rows=-",
        ]
    );
}

#[test]
fn more_results_are_not_the_end() {
    let mut play = Play::session();
    play.c(&query("CALL p()")).s(&packets(1, &[b"\x01", COLUMN, EOF, b"\x01x"]));
    play.gap(Role::Server).s(&[b"row".to_vec(), packet(77, EOF_MORE)].concat());
    assert_eq!(play.closed().len(), 0);
    play.s(&[b"row".to_vec(), okay(90, 2)].concat());
    assert_eq!(play.closed().len(), 1);
}

#[test]
fn a_binary_row_is_no_end() {
    let mut play = Play::session();
    play.c(&packet(0, b"\x16SELECT ?")).s(&packets(1, &[b"\0\x07\0\0\0\0\0\0\0\0\0\0"]));
    play.c(&packet(0, b"\x17\x07\0\0\0\0\x01\0\0\0")).s(&packets(1, &[b"\x01", COLUMN, EOF]));
    play.gap(Role::Server).s(&okay(9, 2));
    assert_eq!(play.closed().len(), 0);
    play.s(&packet(10, EOF));
    assert_eq!(play.closed().len(), 1);
}

#[test]
fn responses_of_one_turn_are_not_mixed_up() {
    let mut play = Play::session();
    play.c(&[query("SELECT a"), query("SELECT b"), query("SELECT c")].concat());
    play.s(&okay(1, 2)).gap(Role::Server).s(&okay(1, 2));
    play.c(&query("SELECT d")).s(&error(1, 1064, "syntax"));
    let seen: Vec<_> =
        play.closed().iter().map(|done| (text(done, "db.query.text"), text(done, "error.type"))).collect();
    let want = [("SELECT a", "-"), ("SELECT b", "-"), ("SELECT c", "-"), ("SELECT d", "1064")];
    assert_eq!(seen, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(play.signals.iter().filter(|signal| matches!(signal, Signal::Incomplete(_))).count(), 2);
}

#[test]
fn a_response_and_the_next_command_that_were_both_missed() {
    let mut play = Play::session();
    play.c(&query("SELECT a")).missing(Role::Server, Missing::Calls).s(&error(1, 1064, "of SELECT b"));
    play.missing(Role::Client, Missing::Calls).c(&query("SELECT c")).s(&error(1, 1065, "of SELECT c"));
    play.c(&query("SELECT d")).s(&error(1, 1066, "of SELECT d"));
    let seen: Vec<_> =
        play.closed().iter().map(|done| (text(done, "db.query.text"), text(done, "error.type"))).collect();
    assert_eq!(seen, [("SELECT a", "-"), ("SELECT d", "1066")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(play.signals.iter().filter(|signal| matches!(signal, Signal::Incomplete(_))).count(), 1);
}

#[test]
fn a_missed_end_does_not_make_a_client_one_that_does_not_wait() {
    let mut play = Play::session();
    let failure = error(1, 1064, "whose last byte is missed");
    play.c(&query("SELECT a")).s(&failure[..failure.len() - 1]).c(&query("SELECT b"));
    assert_eq!(std::mem::take(&mut play.server.skip), 1);
    play.parser.skipped(Role::Server, 60, &mut play.signals);
    play.s(&okay(1, 2)).missing(Role::Server, Missing::Calls).c(&query("SELECT c")).s(&okay(1, 2));
    let seen: Vec<_> = play.closed().iter().map(|done| text(done, "db.query.text")).collect();
    assert_eq!(seen, ["SELECT a", "SELECT b", "SELECT c"]);
}

#[test]
fn a_text_that_was_captured_in_part_is_still_answered() {
    let mut play = Play::session();
    play.c(&query(&"INSERT INTO t VALUES (1), ".repeat(200))[..100]).gap(Role::Client).c(b"(1), (1)").s(&okay(1, 2));
    assert_eq!(play.closed().len(), 1);
    assert!(text(play.closed()[0], "db.query.text").starts_with("INSERT INTO t VALUES"));
    play.c(&query("SELECT b")).s(&okay(1, 2));
    assert_eq!(text(play.closed()[1], "db.query.text"), "SELECT b");
}

#[test]
fn a_response_without_its_command_is_unmatched() {
    let mut play = Play::session();
    play.gap(Role::Client).c(b"rest").s(&okay(1, 2));
    play.c(&query("SELECT b")).s(&okay(1, 2));
    assert_eq!(
        play.story()[1..],
        ["Lost(Unmatched)", "open 0 @70", "close 0 @80 - SELECT b error=- rows=-".replace(" - S", " shop S").as_str()]
    );
}

#[test]
fn a_connection_older_than_its_observer() {
    for eof in [true, false] {
        let mut play = Play::new(false);
        play.s(b"\x01x\x02\0\0\x09\x01y").s(&packet(10, EOF));
        play.c(&packet(0, b"\x03\0\x01SELECT a FROM t"));
        play.s(&if eof {
            packets(1, &[b"\x01", COLUMN, EOF, b"\x01x", EOF])
        } else {
            packets(1, &[b"\x01", COLUMN, b"\x01x", OK_EOF])
        });
        play.c(&packet(0, b"\x17\x09\0\0\0\0\x01\0\0\0")).s(&packets(1, &[b"\x01", COLUMN, OK_EOF]));
        assert_eq!(
            play.story(),
            [
                "Lost(Unmatched)",
                "open 0 @30",
                "close 0 @40 - SELECT a FROM t error=- rows=1",
                "open 1 @50",
                "Lost(UnknownStatement)",
                "close 1 @60 - - error=- rows=0",
            ]
        );
    }
}

#[test]
fn a_lost_start_up_does_not_hide_the_session() {
    let mut play = Play::new(true);
    play.gap(Role::Server).c(&answer(PLAIN, "shop")).s(&okay(2, 2)).c(&query("SELECT a")).s(&okay(1, 2));
    assert_eq!(play.story(), ["Ready", "open 0 @40", "close 0 @50 - SELECT a error=- rows=-"]);
}
