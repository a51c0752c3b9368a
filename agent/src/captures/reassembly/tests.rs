#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Near the end of all sequence numbers, so that they wrap.
const FIRST: u32 = u32::MAX - 20;

fn piece(at: usize, bytes: &[u8]) -> Piece {
    let sequence = FIRST.wrapping_add(u32::try_from(at).unwrap());
    Piece { sequence, bytes: Bytes::copy_from_slice(bytes), length: bytes.len() as u64 }
}

fn begun() -> Stream {
    let mut stream = Stream::default();
    assert!(stream.begin(FIRST));
    stream
}

/// What has become deliverable: bytes, `.` for each that is missing; what was delivered before is cut off, as the streams do.
fn delivered(stream: &mut Stream, so_far: &mut String) {
    while let Some(piece) = stream.pop() {
        let at = piece.sequence.wrapping_sub(FIRST) as usize;
        assert!(at <= so_far.len(), "a jump from {} to {at}", so_far.len());
        let mut text = String::from_utf8(piece.bytes.to_vec()).unwrap();
        text += &".".repeat(usize::try_from(piece.length).unwrap() - text.len());
        so_far.push_str(&text[so_far.len() - at..]);
    }
    assert_eq!(stream.held() == 0, stream.waiting.is_empty());
}

#[test]
fn a_segment_waits_for_the_ones_before_it() {
    let (mut stream, mut text) = (begun(), String::new());
    stream.push(piece(6, b"three"));
    stream.push(piece(3, b"two"));
    delivered(&mut stream, &mut text);
    assert_eq!((text.as_str(), stream.held()), ("", 8 + 2 * SEGMENT_COST));
    stream.push(piece(0, b"one"));
    delivered(&mut stream, &mut text);
    assert_eq!((text.as_str(), stream.held()), ("onetwothree", 0));
}

#[test]
fn what_was_acknowledged_is_not_waited_for() {
    let (mut stream, mut text) = (begun(), String::new());
    stream.push(piece(3, b"two"));
    assert!(!stream.lacks_acknowledged(), "it may still come");
    stream.acknowledge(FIRST.wrapping_add(2));
    assert!(stream.lacks_acknowledged() && stream.skip_hole());
    delivered(&mut stream, &mut text);
    assert_eq!((text.as_str(), stream.lacks_acknowledged()), ("..", false));
    stream.acknowledge(FIRST.wrapping_add(6));
    assert!(stream.lacks_acknowledged() && stream.skip_hole());
    delivered(&mut stream, &mut text);
    assert_eq!(text, "...two");
    assert!(!stream.skip_hole() && !stream.lacks_acknowledged());
    stream.push(piece(0, b"one"));
    delivered(&mut stream, &mut text);
    assert_eq!(text, "...two", "too late");
}

#[test]
fn what_was_acknowledged_before_the_first_segment_is_over() {
    let mut stream = Stream::default();
    stream.acknowledge(FIRST);
    stream.push(piece(3, b"two"));
    assert_eq!((stream.pop(), stream.lacks_acknowledged()), (None, false));
    stream.acknowledge(FIRST.wrapping_add(6));
    assert!(stream.lacks_acknowledged());
}

#[test]
fn what_was_acknowledged_and_never_seen_is_missing() {
    let (mut stream, mut text) = (begun(), String::new());
    stream.acknowledge(FIRST.wrapping_add(3));
    assert!(stream.lacks_acknowledged() && stream.skip_hole());
    delivered(&mut stream, &mut text);
    assert_eq!((text.as_str(), stream.lacks_acknowledged()), ("...", false));
    // The number of the end itself is no byte.
    stream.push_end(FIRST.wrapping_add(3));
    stream.acknowledge(FIRST.wrapping_add(4));
    assert!(stream.has_ended() && !stream.lacks_acknowledged() && !stream.skip_hole());
}

#[test]
fn a_beginning_that_cannot_be() {
    let mut stream = Stream::default();
    stream.acknowledge(FIRST);
    assert!(stream.begin(FIRST) && !stream.begin(FIRST.wrapping_add(1)));
}

#[test]
fn an_end_waits_too() {
    let (mut stream, mut text) = (begun(), String::new());
    stream.push_end(FIRST.wrapping_add(6));
    assert!(!stream.has_ended());
    stream.push(piece(0, b"one"));
    delivered(&mut stream, &mut text);
    assert!(!stream.has_ended());
    assert!(stream.skip_hole());
    delivered(&mut stream, &mut text);
    assert_eq!((text.as_str(), stream.has_ended()), ("one...", true));
}

#[test]
fn what_is_not_of_this_connection_is_passed_over() {
    let mut stream = begun();
    stream.push(piece(WINDOW as usize + 1, b"x"));
    stream.push(piece(1 << 31, b"x"));
    stream.push_end(FIRST.wrapping_add(1 << 31));
    assert_eq!((stream.held(), stream.pop(), stream.skip_hole()), (0, None, false));
}

#[test]
fn a_packet_that_was_cut_takes_the_place_of_its_whole_length() {
    let (mut stream, mut text) = (Stream::default(), String::new());
    stream.push(Piece { length: 5, ..piece(0, b"one") });
    stream.push(piece(5, b"two"));
    delivered(&mut stream, &mut text);
    assert_eq!(text, "one..two");
}

proptest! {
    /// In whatever order, how often and in what pieces the segments come: the stream is the same, and nothing is left.
    #[test]
    fn any_order(pieces in prop::collection::vec((0usize..60, 1usize..20), 0..60), order in any::<prop::sample::Index>()) {
        let text: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        let mut pieces: Vec<(usize, usize)> =
            pieces.into_iter().map(|(at, length)| (at, (at + length).min(text.len()))).collect();
        // Every byte is in one at least.
        let place = order.index(pieces.len() + 1);
        pieces.splice(place..place, (0..text.len()).step_by(7).rev().map(|at| (at, (at + 7).min(text.len()))));
        let (mut stream, mut so_far) = (begun(), String::new());
        for (from, to) in pieces {
            stream.push(piece(from, &text.as_bytes()[from..to]));
            delivered(&mut stream, &mut so_far);
            prop_assert!(text.starts_with(&so_far));
        }
        prop_assert_eq!((so_far, stream.held()), (text, 0));
    }

    /// The same without some bytes: what is there is in its place, and the rest is said to be missing.
    #[test]
    fn with_holes(pieces in prop::collection::vec((0usize..60, 1usize..9), 1..12), first in any::<u32>()) {
        let text: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        let mut expected = vec![b'.'; text.len()];
        let (mut stream, mut so_far) = (begun(), String::new());
        stream.acknowledge(FIRST.wrapping_sub(first % 1_000)); // of what was before
        for (from, length) in pieces {
            let to = (from + length).min(text.len());
            stream.push(piece(from, &text.as_bytes()[from..to]));
            expected[from..to].copy_from_slice(&text.as_bytes()[from..to]);
        }
        loop {
            delivered(&mut stream, &mut so_far);
            if !stream.skip_hole() {
                break;
            }
        }
        let end = expected.iter().rposition(|&byte| byte != b'.').unwrap() + 1;
        prop_assert_eq!((so_far.as_bytes(), stream.held()), (&expected[..end], 0));
    }
}
