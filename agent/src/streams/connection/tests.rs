#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::event::Task;

const TASK: Task = Task::thread(1, 1, 0);

fn connection(origin: Origin) -> Connection {
    let address = |port| Address::Inet([10, 0, 0, 1].into(), port);
    Connection::new(Socket {
        id: 1,
        time: 0,
        task: TASK,
        local: address(80),
        peer: address(4000),
        netns: 1,
        origin,
        positions: None,
    })
}

fn data(direction: Direction, time: Time, position: u32, bytes: &[u8]) -> Data {
    cut(direction, time, position, bytes, bytes.len(), 0)
}

/// Only so many of the first and the last bytes were captured.
fn cut(direction: Direction, time: Time, position: u32, bytes: &[u8], head: usize, tail: usize) -> Data {
    Data {
        socket: 1,
        task: TASK,
        direction,
        time,
        position,
        length: bytes.len() as u64,
        head: Bytes::copy_from_slice(&bytes[..head]),
        tail: Bytes::copy_from_slice(&bytes[bytes.len() - tail..]),
    }
}

fn feed<'a>(connection: &mut Connection, all: impl IntoIterator<Item = &'a Data>) -> Signals {
    let mut signals = Vec::new();
    for data in all {
        connection.data(data, &Options::default(), &mut signals);
    }
    signals
}

/// Exchanges without their times.
fn exchanges(signals: &Signals) -> Vec<String> {
    let shown = |signal: &Signal| match signal {
        Signal::Opened { exchange, position, .. } => format!("opened {exchange} at {position}"),
        Signal::Requested(exchange) => format!("requested {exchange}"),
        Signal::Closed(exchange, done) => format!("closed {exchange} {} {:?}", done.name, done.attributes),
        other => format!("{other:?}"),
    };
    signals.iter().map(shown).collect()
}

/// The two sides' messages in turn.
fn conversation() -> Vec<(Direction, Vec<u8>)> {
    let body = "b".repeat(300);
    let texts = [
        "GET /a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n{body}"),
        format!("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 300\r\n\r\n{body}"),
        format!("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n12c\r\n{body}\r\n0\r\n\r\n"),
        "DELETE /c HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    ];
    let directions = [Direction::Read, Direction::Write].into_iter().cycle();
    directions.zip(texts.map(String::into_bytes)).collect()
}

/// The conversation in calls of these lengths (again from the start when they are used up); `overlap` of the bytes before
/// each call are told with it again, and a call may be told twice.
fn calls(lengths: &[usize], overlaps: &[usize], start: u32) -> Vec<Data> {
    let mut positions = [start, start.wrapping_add(1 << 31)];
    let mut lengths = lengths.iter().cycle();
    let mut overlaps = overlaps.iter().cycle();
    let mut calls = Vec::new();
    for (direction, message) in conversation() {
        let position = &mut positions[usize::from(direction == Direction::Write)];
        let mut done = 0;
        while done < message.len() {
            let end = (done + lengths.next().unwrap()).min(message.len());
            let again = *overlaps.next().unwrap();
            let from = done - again.min(done);
            let at = position.wrapping_add(from as u32);
            let time = calls.len() as Time;
            calls.push(data(direction, time, at, &message[from..end]));
            if again % 3 == 1 {
                calls.push(calls.last().unwrap().clone());
            }
            done = end;
        }
        *position = position.wrapping_add(message.len() as u32);
    }
    calls
}

proptest! {
    #[test]
    fn however_it_is_cut_it_says_the_same(
        lengths in prop::collection::vec(1usize..120, 1..20),
        overlaps in prop::collection::vec(0usize..30, 1..10),
        start in prop_oneof![Just(0u32), Just(u32::MAX - 200), any::<u32>()],
    ) {
        let whole = calls(&[usize::MAX / 2], &[0], start);
        let expected = exchanges(&feed(&mut connection(Origin::Accepted), &whole));
        prop_assert_eq!(expected.iter().filter(|line| line.starts_with("closed")).count(), 3);
        let pieces = calls(&lengths, &overlaps, start);
        let mut connection = connection(Origin::Accepted);
        prop_assert_eq!(exchanges(&feed(&mut connection, &pieces)), expected);
        prop_assert_eq!(connection.held(), 0);
    }

    #[test]
    fn no_events_make_it_panic_or_grow(
        events in prop::collection::vec(
            (any::<bool>(), any::<u32>(), 0u64..100_000, "(GET / HTTP/1.1\r\n|\r\n|HTTP/1.1 200 OK\r\n|[a-z]{0,9}){0,4}", any::<bool>()),
            0..40,
        ),
        known in any::<bool>(),
    ) {
        let mut connection = connection(if known { Origin::Accepted } else { Origin::Unknown });
        let mut signals = Vec::new();
        for (time, (read, position, extra, text, tail)) in events.into_iter().enumerate() {
            let bytes = Bytes::from(text);
            let data = Data {
                socket: 1,
                task: TASK,
                direction: if read { Direction::Read } else { Direction::Write },
                time: time as Time,
                position: if tail { position } else { position % 1000 },
                length: bytes.len() as u64 + extra,
                head: bytes.clone(),
                tail: if tail && extra >= bytes.len() as u64 { bytes } else { Bytes::new() },
            };
            connection.data(&data, &Options::default(), &mut signals);
            prop_assert!(connection.held() <= 2 * crate::streams::BUFFER_LIMIT);
        }
    }
}

#[test]
fn a_body_need_not_be_captured() {
    let body = vec![b'x'; 100_000];
    let request = [b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n".as_slice(), &body].concat();
    let calls = [
        cut(Direction::Read, 1, 0, &request, 60, 20),
        data(Direction::Write, 2, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        data(Direction::Read, 3, request.len() as u32, b"GET /y HTTP/1.1\r\nHost: h\r\n\r\n"),
        data(Direction::Write, 4, 38, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    let said = exchanges(&feed(&mut connection(Origin::Accepted), &calls));
    assert_eq!(said.iter().filter(|line| line.starts_with("closed")).count(), 2, "{said:#?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("Lost")).count(), 0, "{said:#?}");
}

#[test]
fn a_missing_middle_of_a_head_is_said() {
    let head = [b"GET /x HTTP/1.1\r\nCookie: ".as_slice(), &vec![b'c'; 500], b"\r\n\r\n"].concat();
    let calls = [
        cut(Direction::Read, 1, 0, &head, 100, 10),
        data(Direction::Write, 2, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    let mut connection = connection(Origin::Accepted);
    let signals = feed(&mut connection, &calls);
    assert!(signals.iter().any(|signal| matches!(signal, Signal::Lost(_))), "{signals:?}");
    assert_eq!(exchanges(&signals).iter().filter(|line| line.starts_with("closed 0 GET")).count(), 1);
}

#[test]
fn what_both_sides_said_before_it_was_recognised_is_read() {
    // The response's first bytes could be anything until there are more of them; the request's head came before.
    let mut connection = connection(Origin::Unknown);
    let calls = [
        data(Direction::Read, 1, 0, b"GE"),
        data(Direction::Write, 2, 0, b"HTTP/1.1 100 Continue\r\n\r\n"),
        data(Direction::Read, 3, 2, b"T / HTTP/1.1\r\nHost: h\r\n\r\n"),
        data(Direction::Write, 4, 25, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    let signals = feed(&mut connection, &calls);
    assert_eq!(connection.protocol(), Some("http"));
    assert!(matches!(signals.first(), Some(Signal::Opened { start: 1, position: 0, .. })), "{signals:?}");
}

#[test]
fn a_transfer_under_way_does_not_use_up_the_attempts() {
    let mut connection = connection(Origin::Unknown);
    let piece = [0xAA; 64];
    let transfer: Vec<_> = (0..100).map(|n| data(Direction::Write, u64::from(n), n * 64, &piece)).collect();
    assert_eq!(feed(&mut connection, &transfer), []);
    let next = [
        data(Direction::Read, 200, 0, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        data(Direction::Write, 201, 6400, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ];
    assert_eq!(exchanges(&feed(&mut connection, &next)).len(), 3);
}

#[test]
fn an_unknown_protocol_is_given_up() {
    let calls: Vec<_> = (0..40)
        .map(|n| {
            data(if n % 2 == 0 { Direction::Read } else { Direction::Write }, n, n as u32 / 2 * 3, b"\x01\x02\x03")
        })
        .collect();
    let mut known = connection(Origin::Accepted);
    assert_eq!(feed(&mut known, &calls), [Signal::Abandon(Loss::UnknownProtocol)]);
    let mut older = connection(Origin::Unknown);
    assert_eq!(feed(&mut older, &calls), [Signal::Abandon(Loss::UnknownProtocol)]);
    assert!(known.is_over() && older.is_over());
    // One direction only, and it never ends.
    let stream: Vec<_> = (0..5000).map(|n| data(Direction::Read, n, n as u32 * 3, b"\x01\x02\x03")).collect();
    assert_eq!(feed(&mut connection(Origin::Unknown), &stream), [Signal::Abandon(Loss::UnknownProtocol)]);
}

#[test]
fn after_it_was_given_up_nothing_is_counted() {
    let tls = [&b"\x16\x03\x01\x02\x00"[..], &[0; 600]].concat();
    let calls = [cut(Direction::Read, 1, 0, &tls, 100, 20), data(Direction::Read, 2, 9000, b"more")];
    let mut connection = connection(Origin::Accepted);
    assert_eq!(feed(&mut connection, &calls), [Signal::Abandon(Loss::Tls)]);
    assert!(connection.is_over());
    assert_eq!(connection.held(), 0);
}
