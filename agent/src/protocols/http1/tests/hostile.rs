//! Bytes come from strangers.

use proptest::prelude::*;

use super::*;
use crate::protocols::testing::{cuts_do_not_matter_to, each_is_opened_and_closed_once};

const HINT: Hint = Hint { port: 80, from_start: true };

#[test]
fn detection() {
    let cases: &[(&[u8], Guess)] = &[
        (b"GET / HTTP/1.1\r\n", Guess::Client),
        (b"\r\nGET /", Guess::Client),
        (b"OPTIONS * HTTP/1.1\r\n", Guess::Client),
        (b"GET http://a/ HTTP/1.0\r\n", Guess::Client),
        (b"CONNECT a.b:443 HTTP/1.1\r\n", Guess::Client),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n", Guess::Client),
        (b"PROPFIND /dav HTTP/1.1\r\n", Guess::Client),
        (b"PURGE /x HTT", Guess::TooShort),
        (b"HTTP/1.1 200 OK\r\n", Guess::Server),
        (b"HTTP/1.", Guess::Server),
        (b"HTTP", Guess::TooShort),
        (b"", Guess::TooShort),
        (b"\r\n", Guess::TooShort),
        (b"GE", Guess::TooShort),
        (b"GET ", Guess::TooShort),
        (b"GET htt", Guess::TooShort),
        (b"OPTIONS * HTT", Guess::TooShort),
        (b"CONNECT a.b", Guess::TooShort),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Guess::No),
        (b"PRI * HTTP/2.0", Guess::No),
        (b"SELECT * FROM t", Guess::No),
        (b"SELECT 1", Guess::No),
        (b"SELECT /* c */ 1\n", Guess::No),
        (b"GET /key\r\n", Guess::No),
        (b"CONNECT me now", Guess::No),
        (b"HTTP/2.0 200\r\n", Guess::No),
        (b"*1\r\n$4\r\nPING\r\n", Guess::No),
        (b"\x16\x03\x01\x02\x00\x01", Guess::No),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Guess::No),
        (b"Q\x00\x00\x00\x0dSELECT 1\x00", Guess::No),
    ];
    for (bytes, guess) in cases {
        assert_eq!(detect(bytes, HINT), *guess, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_prefix_is_never_refused() {
    let starts: [&[u8]; 5] = [
        b"PROPFIND /dav HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET https://a/ HTTP/1.0\r\n",
        b"CONNECT a.b:443 HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ];
    for start in starts {
        for cut in 0..start.len() {
            assert_ne!(detect(&start[..cut], HINT), Guess::No, "{}", start[..cut].escape_ascii());
        }
    }
}

#[test]
fn conflicting_lengths_are_malformed() {
    for fields in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: +2",
        "Content-Length: 2x",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let mut driver = driver(Server);
        driver.send(Client, 1, format!("POST / HTTP/1.1\r\n{fields}\r\n\r\nhi").as_bytes());
        driver.send(Server, 2, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        driver.send(Client, 3, b"GET /next HTTP/1.1\r\n\r\n");
        driver.send(Server, 4, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(brief(&driver.signals), ["+0", "lost malformed", ".0", "-0 400", "+1", ".1", "-1 200"], "{fields}");
    }
    let mut same = driver(Server);
    same.send(Client, 1, b"POST / HTTP/1.1\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(brief(&same.signals), ["+0", ".0"]);
}

#[test]
fn malformed_responses_do_not_shift_the_pairs() {
    let mut driver = driver(Client);
    driver.send(Client, 1, b"GET / HTTP/1.1\r\n\r\n");
    driver.send(Server, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi");
    driver.send(Client, 3, b"GET / HTTP/1.1\r\n\r\n");
    driver.send(Server, 4, b"HTTP/1.1 2xx OK\r\n\r\n");
    driver.send(Client, 5, b"GET / HTTP/1.1\r\n\r\n");
    driver.send(Server, 6, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        brief(&driver.signals),
        [
            "+0",
            ".0",
            "lost malformed",
            "lost incomplete",
            "-0 200",
            "+1",
            ".1",
            "lost malformed",
            "lost incomplete",
            "-1",
            "+2",
            ".2",
            "-2 200"
        ]
    );
}

#[test]
fn something_else_is_given_up() {
    let mut driver = driver(Server);
    for time in 0..10 {
        driver.send(Client, time, b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n");
        driver.send(Server, time, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    let told = brief(&driver.signals);
    assert_eq!(told.iter().filter(|told| *told == "lost malformed").count(), MALFORMED_LIMIT as usize - 1);
    assert_eq!(told.last().map(String::as_str), Some("abandon malformed"));
}

#[test]
fn endless_lines_are_not_kept() {
    let mut driver = driver(Server);
    driver.send(Client, 1, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for time in 2..200 {
        driver.send(Client, time, &[b'1'; 1000]);
    }
    assert!(driver.most_kept <= 5000, "{}", driver.most_kept);
    assert!(driver.signals.contains(&Signal::Lost(Loss::Malformed)));
}

/// Pieces that lead the parser into every state.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"HEAD http://u:p@h/?sig=1 HTTP/1.0\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"\r\n",
        b"\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b" folded\r\n",
        b"Forwarded: for=\"[::1]:1\";host=\"\\\"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 S\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"HTTP/1.0 304 N\r\n",
        b"GET",
        b"HTTP/",
        b"ffffffffffffffff\r\n",
        b"1000000000000000\r\n",
    ];
    prop_oneof![
        4 => proptest::sample::select(texts).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..40),
    ]
}

#[derive(Debug, Clone)]
enum Act {
    Send(bool, Vec<Vec<u8>>),
    Gap(bool, u64),
    End(bool, End),
}

fn act() -> impl Strategy<Value = Act> {
    let end = proptest::sample::select(vec![End::PeerClosed, End::ShutWrite, End::Closed, End::Reset]);
    prop_oneof![
        20 => (any::<bool>(), proptest::collection::vec(piece(), 1..6)).prop_map(|(from, all)| Act::Send(from, all)),
        3 => (any::<bool>(), 1..10_000_u64).prop_map(|(from, length)| Act::Gap(from, length)),
        1 => (any::<bool>(), end).prop_map(|(from, end)| Act::End(from, end)),
    ]
}

proptest! {
    /// No panic; every exchange is opened once, closed once, and closed by the end of the connection.
    #[test]
    fn exchanges_are_opened_and_closed_once(own: bool, acts in proptest::collection::vec(act(), 0..40)) {
        let role = |client| if client { Client } else { Server };
        let mut driver = driver(role(own));
        for (time, act) in (1..).zip(acts) {
            match act {
                Act::Send(from, pieces) => driver.send(role(from), time, &pieces.concat()),
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
        size in 1..7_usize,
    ) {
        let role = |client| if client { Client } else { Server };
        let calls = acts.into_iter().map(|(from, pieces)| (role(from), pieces.concat()));
        cuts_do_not_matter_to([driver(Server), driver(Server)], calls, size)?;
    }
}
