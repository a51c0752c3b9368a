#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use super::*;
use crate::event::End;

/// Takes lines; `+n` passes over n bytes after it, `?` is not understood, `!` gives up, `>` switches. Writes down all calls.
#[derive(Default)]
struct Lines {
    said: Vec<String>,
}

impl Protocol for Lines {
    fn read(&mut self, _: Role, input: Input<'_>, signals: &mut Signals) -> Taken {
        let Some(end) = input.bytes.iter().position(|byte| *byte == b'\n') else { return Taken::More };
        let line = std::str::from_utf8(&input.bytes[..end]).unwrap();
        let turned = if input.turned { "*" } else { "" };
        self.said.push(format!("{line}@{}-{}{turned} {}", input.first, input.last, input.position));
        match line.as_bytes()[0] {
            b'?' => return Taken::Bytes(0),
            b'!' => signals.push(Signal::Abandon(Loss::Malformed)),
            b'>' => signals.push(Signal::Switched),
            b'+' => return Taken::Skip { bytes: end + 1, skip: line[1..].parse().unwrap() },
            _ => {}
        }
        Taken::Bytes(end + 1)
    }

    fn skipped(&mut self, _: Role, time: Time, _: &mut Signals) {
        self.said.push(format!("skipped@{time}"));
    }

    fn lost(&mut self, _: Role, _: Missing, time: Time, _: &mut Signals) {
        self.said.push(format!("lost@{time}"));
    }

    fn end(&mut self, _: Role, _: End, _: Time, _: &mut Signals) {}

    fn held(&self) -> usize {
        0
    }
}

#[derive(Default)]
struct Test {
    flow: Flow,
    protocol: Lines,
    signals: Signals,
}

impl Test {
    fn at(position: u32) -> Self {
        let mut test = Self::default();
        assert_eq!(test.flow.advance(position, 0), (0, 0));
        test.flow.next = Some(position);
        test
    }

    fn offer(&mut self, time: Time, bytes: &str) {
        let position = self.flow.next.unwrap();
        self.flow.advance(position, bytes.len() as u64);
        let piece = Piece { bytes: bytes.as_bytes(), position, time, turned: true };
        self.flow.offer(&mut self.protocol, Role::Client, piece, &mut self.signals);
    }

    fn miss(&mut self, time: Time, n: u64) -> bool {
        self.flow.miss(&mut self.protocol, Role::Client, (n, Missing::Calls), time, &mut self.signals)
    }

    #[track_caller]
    fn said(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.protocol.said), expected);
    }
}

#[test]
fn messages_know_when_and_where_they_begin() {
    let mut test = Test::at(u32::MAX - 2);
    test.offer(1, "a");
    test.offer(2, "b\nc");
    test.said(&["ab@1-2* 4294967293"]);
    test.offer(3, "d\ne\n");
    test.said(&["cd@2-3 0", "e@3-3 3"]);
    test.offer(4, "f\n");
    test.said(&["f@4-4* 5"]);
}

#[test]
fn what_is_skipped_may_come_or_be_missing() {
    let mut test = Test::at(0);
    test.offer(1, "+4\nab");
    test.said(&["+4@1-1* 0"]);
    test.offer(2, "cdx\n");
    test.said(&["skipped@2", "x@2-2 7"]);
    test.offer(3, "+4\n");
    assert!(!test.miss(4, 4));
    test.said(&["+4@3-3* 9", "skipped@4"]);
    // More is missing than was to be skipped: the message ended before that.
    test.offer(5, "+4\n");
    assert!(test.miss(6, 5));
    test.said(&["+4@5-5* 12", "skipped@6", "lost@6"]);
    test.offer(7, "+18446744073709551615\n");
    assert!(!test.miss(8, u64::MAX));
    test.offer(9, "x\n");
    test.said(&["+18446744073709551615@7-7* 15"]);
}

#[test]
fn a_missing_middle_takes_what_was_held_with_it() {
    let mut test = Test::at(0);
    test.offer(1, "beginning");
    assert!(test.miss(2, 10));
    assert_eq!(test.flow.held(), 0);
    test.offer(3, "end\n");
    test.said(&["lost@2", "end@3-3* 9"]);
}

#[test]
fn too_long_a_message_is_let_go_and_the_flow_goes_on() {
    let mut test = Test::at(0);
    test.offer(1, &"x".repeat(BUFFER_LIMIT));
    assert_eq!(test.flow.held(), BUFFER_LIMIT);
    test.said(&[]);
    test.offer(2, "x");
    assert_eq!(test.flow.held(), 0);
    assert_eq!(test.signals, [Signal::Lost(Loss::Budget)]);
    test.offer(3, "y\n");
    test.said(&["lost@2", &format!("y@3-3* {}", BUFFER_LIMIT + 1)]);
}

#[test]
fn a_parser_that_stops_is_not_asked_again() {
    for (bytes, signal) in [
        ("!\nx\n", Signal::Abandon(Loss::Malformed)),
        (">\nx\n", Signal::Switched),
        ("?\nx\n", Signal::Abandon(Loss::Malformed)),
    ] {
        let mut test = Test::at(0);
        test.offer(1, bytes);
        assert_eq!(test.signals, [signal]);
        assert_eq!(test.protocol.said.len(), 1);
    }
}

#[test]
fn positions_tell_what_is_missing_and_what_was_seen() {
    let mut flow = Flow::default();
    assert_eq!(flow.advance(u32::MAX - 9, 20), (0, 0), "the first position is as good as any");
    assert_eq!(flow.advance(10, 5), (0, 0));
    assert_eq!(flow.advance(10, 5), (0, 5), "again");
    assert_eq!(flow.advance(u32::MAX - 9, 20), (0, 20), "long ago");
    assert_eq!(flow.advance(13, 5), (0, 2), "overlapping");
    assert_eq!(flow.advance(20, 1), (2, 0), "ahead");
    assert_eq!(flow.advance(21, 0), (0, 0));
    assert_eq!(flow.advance(18, 0), (0, 0), "nothing moves nothing");
    assert_eq!(flow.advance(21, 1), (0, 0));
}
