//! Bytes come from strangers.

use proptest::prelude::*;

use super::*;
use crate::protocols::{
    PROTOCOLS,
    testing::{attributes, cuts_do_not_matter_to, each_is_opened_and_closed_once},
};

const NEW: Hint = Hint { port: 9000, from_start: true };
const OLDER: Hint = Hint { from_start: false, ..NEW };

#[test]
fn detection() {
    let begin = record(kind::BEGIN_REQUEST, 1, RESPONDER);
    let values = record(kind::GET_VALUES, 0, pairs(&[("FCGI_MPXS_CONNS", "")]));
    let late = [record(kind::STDIN, 1, END), begin.clone()].concat();
    for (bytes, hint) in [(&begin, NEW), (&begin, OLDER), (&values, NEW), (&late, OLDER)] {
        assert_eq!(detect(bytes, hint), Guess::Client, "{bytes:?}");
        for cut in 0..bytes.len().min(14) {
            assert_eq!(detect(&bytes[..cut], hint), Guess::TooShort, "{:?}", &bytes[..cut]);
        }
    }
    let answer = ok(1);
    for cut in 0..=answer.len() {
        let expected = if cut > HEADER + "Content-Type".len() { Guess::Server } else { Guess::TooShort };
        assert_eq!(detect(&answer[..cut], NEW), expected, "{:?}", &answer[..cut]);
    }
    assert_eq!(detect(&late, NEW), Guess::No, "a connection does not begin so");
    for bytes in [
        record(kind::BEGIN_REQUEST, 0, RESPONDER),
        record(kind::BEGIN_REQUEST, 1, [0, 4, 0, 0, 0, 0, 0, 0]),
        record(kind::BEGIN_REQUEST, 1, [0, 1, 0, 0, 0, 0, 0, 1]),
        record(kind::BEGIN_REQUEST, 1, b"short"),
        record(kind::STDOUT, 1, "\r\n"),
        record(kind::STDOUT, 1, "<html>: no header"),
        record(kind::STDOUT, 1, ": no name"),
        record(kind::STDOUT, 1, "no-end".repeat(20)),
        record(kind::STDOUT, 0, "Status: 200"),
        record(kind::STDERR, 1, "Status: 200"),
        record(kind::PARAMS, 1, pairs(&[("REQUEST_METHOD", "GET")])),
        record(kind::GET_VALUES, 0, pairs(&[("max-conns", "")])),
        [&[2], &begin[1..]].concat(),
        b"GET / HTTP/1.1\r\n".to_vec(),
        vec![0; 16],
        vec![1; 16],
    ] {
        assert_eq!(detect(&bytes, OLDER), Guess::No, "{bytes:?}");
    }
}

/// Whatever came of the first record: no other protocol takes it for its own.
#[test]
fn no_other_protocol_claims_a_record() {
    for id in [1, 2, 255, 256, 511, 0x0b00, u16::MAX] {
        for bytes in [get(id, "/"), ok(id)] {
            for (hint, end) in [NEW, OLDER].into_iter().flat_map(|hint| (1..=bytes.len()).map(move |end| (hint, end))) {
                for other in PROTOCOLS.iter().filter(|other| other.name != "fastcgi") {
                    let guess = (other.detect)(&bytes[..end], hint);
                    assert!(matches!(guess, Guess::No | Guess::TooShort), "{}: {guess:?}, {end} of {id}", other.name);
                }
            }
        }
    }
}

#[test]
fn something_else_is_given_up() {
    let mut driver = driver(Server);
    for time in 0..10 {
        driver.send(Client, time, &get(1, "/"));
        driver.send(Server, time, b"HTTP/1.1 200 OK\r\n\r\n");
        driver.send(Client, time, b"GET / HTTP/1.1\r\n\r\n");
    }
    let told = brief(&driver.signals);
    assert_eq!(told.first().map(String::as_str), Some("+0"));
    assert_eq!(told.iter().filter(|told| *told == "lost malformed").count(), MALFORMED_LIMIT as usize - 1);
    assert_eq!(told.last().map(String::as_str), Some("abandon malformed"));
}

#[test]
fn records_of_the_other_side() {
    for kind in [kind::END_REQUEST, kind::STDOUT, kind::STDERR, kind::GET_VALUES_RESULT, kind::UNKNOWN_TYPE] {
        assert_eq!(converse(Server, &[(Client, record(kind, 1, SERVED))]), ["lost malformed"]);
    }
    for kind in [kind::BEGIN_REQUEST, kind::ABORT_REQUEST, kind::PARAMS, kind::STDIN, kind::DATA, kind::GET_VALUES] {
        assert_eq!(
            brief(&{
                let mut driver = driver(Server);
                driver.send(Server, 1, &record(kind, 1, RESPONDER));
                driver.signals
            }),
            ["lost malformed"]
        );
    }
}

#[test]
fn two_beginnings_of_one_request() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &record(kind::BEGIN_REQUEST, 1, RESPONDER));
    driver.send(Client, 2, &get(1, "/"));
    assert_eq!(brief(&driver.signals), ["lost malformed", "+0", ".0"]);
}

#[test]
fn lengths_that_lie() {
    for params in [&[0xFF; 20][..], &[0x80, 0, 0], &[5], &[200, 0, 0, 1, 0, b'a'], &[14, 3, b'R']] {
        let request =
            [record(kind::BEGIN_REQUEST, 1, RESPONDER), record(kind::PARAMS, 1, params), record(kind::PARAMS, 1, END)];
        assert_eq!(converse(Server, &[(Client, request.concat()), (Server, ok(1))]), ["+0", ".0", "-0 200"]);
    }
}

/// Records of either side, whole or not, and bytes that are none.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let contents: Vec<Vec<u8>> = vec![
        RESPONDER.to_vec(),
        SERVED.to_vec(),
        Vec::new(),
        pairs(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a?b")]),
        pairs(&[("HTTP_HOST", "h"), ("CONTENT_LENGTH", "3"), ("HTTP_COOKIE", &"c".repeat(9000))]),
        b"Status: 404\r\n".to_vec(),
        b"\r\n\r\nbody".to_vec(),
        vec![b'x'; 9000],
    ];
    prop_oneof![
        4 => (0..13_u8, 0..3_u16, proptest::sample::select(contents), 0..4_u8)
            .prop_map(|(kind, id, content, padding)| padded(kind, id, content, padding)),
        3 => (1..3_u16).prop_map(|id| get(id, "/a")),
        3 => (1..3_u16).prop_map(ok),
        1 => proptest::collection::vec(any::<u8>(), 1..40),
    ]
}

#[derive(Debug, Clone)]
enum Act {
    Send(bool, Vec<Vec<u8>>),
    Cut(bool, Vec<u8>),
    Gap(bool, u64),
    End(bool, End),
}

fn act() -> impl Strategy<Value = Act> {
    let end = proptest::sample::select(vec![End::PeerClosed, End::ShutWrite, End::Closed, End::Reset]);
    prop_oneof![
        20 => (any::<bool>(), proptest::collection::vec(piece(), 1..6)).prop_map(|(from, all)| Act::Send(from, all)),
        3 => (any::<bool>(), piece()).prop_map(|(from, piece)| Act::Cut(from, piece)),
        3 => (any::<bool>(), 1..10_000_u64).prop_map(|(from, length)| Act::Gap(from, length)),
        1 => (any::<bool>(), end).prop_map(|(from, end)| Act::End(from, end)),
    ]
}

fn role(client: bool) -> Role {
    if client { Client } else { Server }
}

proptest! {
    /// No panic; every exchange is opened once, closed once, and closed by the end of the connection.
    #[test]
    fn exchanges_are_opened_and_closed_once(own: bool, acts in proptest::collection::vec(act(), 0..40)) {
        let mut driver = driver(role(own));
        for (time, act) in (1..).zip(acts) {
            match act {
                Act::Send(from, pieces) => driver.send(role(from), time, &pieces.concat()),
                Act::Cut(from, piece) => {
                    driver.call(role(from), time, &piece[..piece.len() / 3], 100, &piece[piece.len() / 2..]);
                }
                Act::Gap(from, length) => driver.gap(role(from), time, length),
                Act::End(from, end) => driver.end(role(from), end, time),
            }
        }
        driver.end_both(role(own), End::Closed, 100);
        each_is_opened_and_closed_once(&driver.signals)?;
    }

    /// Cutting the calls differently changes nothing, as long as nothing is lost.
    #[test]
    fn cuts_do_not_matter(
        acts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(piece(), 1..6)), 0..12),
        size in 1..30_usize,
    ) {
        let calls = acts.into_iter().map(|(from, pieces)| (role(from), pieces.concat()));
        cuts_do_not_matter_to([driver(Server), driver(Server)], calls, size)?;
    }

    /// Whichever calls are not seen, no response is given to another request: the status repeats the path.
    #[test]
    fn what_is_missed_pairs_nothing_wrongly(
        own: bool,
        missed in proptest::collection::vec(proptest::bool::weighted(0.15), 200),
        sizes in proptest::collection::vec(1..60_usize, 1..8),
    ) {
        let mut driver = driver(role(own));
        let (mut missed, mut sizes) = (missed.into_iter().cycle(), sizes.into_iter().cycle());
        // A gap shows when the next bytes of its side come.
        let (mut gaps, mut time) = ([0; 2], 0);
        for number in 300..320_u64 {
            let answer = response(1, &format!("Status: {number}\r\n\r\nbody"));
            let request = get(1, &format!("/{number}"));
            for (from, mut bytes) in [(Client, &request[..]), (Server, &answer[..])] {
                while !bytes.is_empty() {
                    let (call, rest) = bytes.split_at(sizes.next().unwrap().min(bytes.len()));
                    let gap = &mut gaps[usize::from(from == Server)];
                    time += 1;
                    if missed.next() == Some(true) {
                        *gap += call.len() as u64;
                    } else {
                        if *gap > 0 {
                            driver.gap(from, time, std::mem::take(gap));
                        }
                        driver.send(from, time, call);
                    }
                    bytes = rest;
                }
            }
        }
        driver.end_both(role(own), End::Closed, time);
        for exchange in closed(&driver.signals) {
            let told = attributes(exchange);
            let asked = told.get("url.path").or(told.get("url.full")).and_then(|url| url.rsplit('/').next());
            // A path that was cut short has no number of its own.
            if let (Some(asked @ [_, _, _]), Some(status)) =
                (asked.map(str::as_bytes), told.get("http.response.status_code"))
            {
                prop_assert_eq!(asked, status.as_bytes());
            }
        }
    }
}
