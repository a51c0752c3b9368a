//! What was not captured never shifts a pair.

use proptest::prelude::*;

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n....";
const UPLOAD: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n....";

#[test]
fn the_end_of_a_chunked_response_is_found_after_its_middle_was_lost() {
    for tail in
        [b"..\r\n0\r\n\r\n".as_slice(), b"0\r\n\r\n", b"..\r\n0\r\nExpires: 0\r\nEtag: x\r\n\r\n", b"\r\n000;x\r\n\r\n"]
    {
        let mut driver = driver(Server);
        driver.send(Client, 1, GET);
        driver.call(Server, 2, CHUNKED, 1 << 16, b"0\r\n\r\n, but not the end");
        driver.send(Server, 3, b"nor ..0\r\n\r\n");
        assert_eq!(brief(&driver.signals), ["+0", ".0"]);
        driver.call(Server, 4, b"more", 1 << 16, tail);
        assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200"]);
        assert_eq!(closed(&driver.signals)[0].end, 4);
        driver.send(Client, 8, GET);
        driver.send(Server, 9, OK);
        assert_eq!(brief(&driver.signals)[3..], ["+1", ".1", "-1 200"]);
    }
}

#[test]
fn the_next_turn_ends_a_response_whose_end_was_lost() {
    let mut driver = driver(Server);
    driver.send(Client, 1, GET);
    driver.call(Server, 2, CHUNKED, 1 << 16, b"....");
    driver.send(Server, 3, b"HTTP/1.1 500 is data here\r\n\r\n");
    driver.send(Client, 8, GET);
    driver.send(Server, 9, OK);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost incomplete", "-0 200", "+1", ".1", "-1 200"]);
    assert_eq!(closed(&driver.signals)[0].end, 3);
}

#[test]
fn the_end_of_a_chunked_request_is_found_after_its_middle_was_lost() {
    let mut driver = driver(Server);
    driver.call(Client, 1, UPLOAD, 1 << 16, b"....");
    assert_eq!(brief(&driver.signals), ["+0"]);
    driver.call(Client, 2, b"", 1 << 16, b"..\r\n0\r\n\r\n");
    assert_eq!(brief(&driver.signals), ["+0", ".0"]);
    driver.send(Server, 3, OK);
    driver.send(Client, 4, GET);
    driver.send(Server, 5, OK);
    assert_eq!(brief(&driver.signals)[2..], ["-0 200", "+1", ".1", "-1 200"]);
}

#[test]
fn a_response_answers_a_request_whose_end_was_lost() {
    let mut driver = driver(Server);
    driver.call(Client, 1, UPLOAD, 1 << 16, b"....");
    driver.send(Server, 3, OK);
    driver.send(Client, 4, GET);
    driver.send(Server, 5, OK);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200", "+1", ".1", "-1 200"]);
}

#[test]
fn a_lost_response_is_not_replaced_by_the_next_one() {
    let mut driver = driver(Client);
    driver.send(Client, 1, GET);
    driver.gap(Server, 2, OK.len() as u64);
    driver.send(Client, 3, GET);
    // Nothing of the first response was seen, and the second request does not begin a turn: whose is this?
    driver.send(Server, 4, OK);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost incomplete", "-0", "lost gap"]);
    driver.take();
    driver.send(Client, 5, GET);
    driver.send(Server, 6, OK);
    assert_eq!(brief(&driver.signals), ["+1", ".1", "-1 200"]);
}

#[test]
fn a_lost_response_and_a_lost_request_do_not_shift_the_pairs() {
    let mut driver = driver(Client);
    driver.send(Client, 1, GET);
    // Its response and the next request are lost; the gap shows when the next response comes.
    driver.gap(Server, 4, OK.len() as u64);
    driver.send(Server, 4, b"HTTP/1.1 500 Not the first's\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost incomplete", "-0"]);
    driver.gap(Client, 5, GET.len() as u64);
    driver.send(Client, 5, GET);
    driver.send(Server, 6, OK);
    assert_eq!(brief(&driver.signals)[4..], ["lost unmatched"]);
    driver.take();
    driver.send(Client, 7, GET);
    driver.send(Server, 8, OK);
    assert_eq!(brief(&driver.signals), ["+1", ".1", "-1 200"]);
}

#[test]
fn a_response_that_shows_late_as_lost_closes_both_requests() {
    let mut driver = driver(Client);
    driver.send(Client, 1, GET);
    // The response is lost without a trace, so the next request looks pipelined until the server's bytes show a jump.
    driver.send(Client, 3, GET);
    driver.gap(Server, 4, OK.len() as u64);
    driver.send(Server, 4, OK);
    assert_eq!(brief(&driver.signals)[4..], ["lost incomplete", "-0", "lost incomplete", "-1"]);
    driver.take();
    driver.send(Client, 5, GET);
    driver.send(Server, 6, OK);
    assert_eq!(brief(&driver.signals), ["+2", ".2", "-2 200"]);
}

#[test]
fn a_lost_request_leaves_its_response_unmatched() {
    let mut driver = driver(Server);
    driver.send(Client, 1, GET);
    driver.send(Server, 2, OK);
    driver.send(Server, 4, b"HTTP/1.1 500 Another's\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    driver.gap(Client, 5, GET.len() as u64);
    driver.send(Client, 5, GET);
    driver.send(Server, 6, OK);
    // Between the gap and the second response a turn is missing: that response may be the lost request's.
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200", "lost unmatched", "lost unmatched"]);
    driver.take();
    driver.send(Client, 7, GET);
    driver.send(Server, 8, OK);
    assert_eq!(brief(&driver.signals), ["+1", ".1", "-1 200"]);
}

#[test]
fn a_pipelining_connection_is_given_up() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &GET.repeat(3));
    driver.send(Server, 2, OK);
    driver.call(Server, 3, CHUNKED, 1 << 16, b"\r\n0\r\n\r\n");
    driver.send(Server, 4, OK);
    assert_eq!(
        brief(&driver.signals)[6..],
        ["-0 200", "lost incomplete", "-1 200", "lost incomplete", "-2", "abandon gap"]
    );
}

#[test]
fn an_unseen_request_between_two_is_not_answered_for_another() {
    let mut driver = driver(Server);
    driver.send(Client, 1, GET);
    driver.gap(Client, 2, GET.len() as u64);
    driver.send(Client, 3, b"GET /third HTTP/1.1\r\n\r\n");
    driver.send(Server, 4, &OK.repeat(3));
    assert!(
        closed(&driver.signals).iter().all(|exchange| attributes(exchange)["url.path"] == "/"),
        "{:?}",
        brief(&driver.signals)
    );
    assert!(driver.signals.contains(&Signal::Lost(Loss::Unmatched)));
}

#[test]
fn a_refusal_that_was_lost_does_not_block_the_client() {
    let mut driver = driver(Client);
    driver.send(Client, 1, b"CONNECT a.b:443 HTTP/1.1\r\n\r\n");
    driver.call(Server, 2, b"", 300, b"no\r\n");
    driver.send(Client, 3, GET);
    driver.send(Server, 4, OK);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost incomplete", "-0", "+1", ".1", "-1 200"]);
}

#[test]
fn a_connection_seen_from_its_middle() {
    let mut driver = driver(Server);
    driver.send(Server, 1, OK);
    driver.send(Client, 2, GET);
    driver.send(Server, 3, OK);
    assert_eq!(brief(&driver.signals), ["lost unmatched", "+0", ".0", "-0 200"]);
}

#[test]
fn an_oversized_request_head_is_opened_with_what_was_captured() {
    let context = "Traceparent: 00-12345678901234567890123456789012-1234567890123456-01\r\n";
    let head = format!("GET /big HTTP/1.1\r\nHost: a\r\n{context}Cookie: {}", "c".repeat(20_000));
    let mut driver = driver(Server);
    driver.send(Client, 1, head.as_bytes());
    driver.send(Client, 2, b"ccc\r\n\r\n");
    driver.send(Server, 3, OK);
    assert_eq!(brief(&driver.signals), ["lost budget", "+0", ".0", "-0 200"]);
    let Signal::Opened { start: 1, position: 0, context, .. } = &driver.signals[1] else { panic!("not opened") };
    assert_eq!(context.traceparent, ["00-12345678901234567890123456789012-1234567890123456-01"]);
    driver.take();
    driver.send(Client, 4, GET);
    driver.send(Server, 5, OK);
    assert_eq!(brief(&driver.signals), ["+1", ".1", "-1 200"]);
}

#[test]
fn a_head_whose_end_was_not_captured_is_known_as_far_as_it_was() {
    let mut driver = driver(Client);
    driver.call(Client, 1, b"GET /cut HTTP/1.1\r\nHost: a\r\nCoo", 30_000, b"\r\n\r\n");
    driver.call(Server, 2, b"HTTP/1.1 404 Not Found\r\nContent-", 5000, b"\r\n\r\nbody");
    driver.send(Client, 3, GET);
    driver.send(Server, 4, OK);
    let expected = ["lost budget", "+0", "lost budget", "lost incomplete", "-0 404 !404", "+1", ".1", "-1 200"];
    assert_eq!(brief(&driver.signals), expected);
    let told = attributes(closed(&driver.signals)[0]);
    assert_eq!((told["url.full"].as_str(), closed(&driver.signals)[0].end), ("http://a/cut", 2));
}

#[test]
fn an_oversized_response_head_answers_with_what_was_captured() {
    let head = format!("HTTP/1.1 503 Busy\r\nX: {}", "x".repeat(20_000));
    let mut driver = driver(Server);
    driver.send(Client, 1, GET);
    driver.send(Server, 2, head.as_bytes());
    driver.send(Server, 3, b"\r\n\r\nbody");
    driver.end_both(Server, End::Closed, 9);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost budget", "lost incomplete", "-0 503 !503"]);
    assert_eq!(closed(&driver.signals)[0].end, 3);
}

/// What becomes of one call on its way to the parser.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Seen,
    Dropped,
    /// Only this share (of 256) of its head and of its tail were captured.
    Cut(u8, u8),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Seen),
        2 => Just(Fate::Dropped),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(head, tail)| Fate::Cut(head, tail)),
    ]
}

/// Requests sent in one call before their responses, and what happens to that call and to the responses' calls.
type Burst = (Vec<u8>, Fate, Vec<(u8, Fate)>);

fn burst(most: usize) -> impl Strategy<Value = Burst> {
    (proptest::collection::vec(any::<u8>(), 1..=most), fate(), proptest::collection::vec((any::<u8>(), fate()), 1..4))
}

/// The request and the response number `n`, in one of several shapes; the response's status names the request.
fn pair(n: usize, shape: u8) -> (String, String) {
    let status = 400 + n;
    let (method, body) = match shape % 5 {
        0 => ("HEAD", "Content-Length: 50\r\n\r\n".to_owned()),
        1 => ("GET", "Content-Length: 0\r\n\r\n".to_owned()),
        2 => ("GET", format!("Content-Length: 60\r\n\r\n{}", ".".repeat(60))),
        3 => ("GET", format!("Transfer-Encoding: chunked\r\n\r\n28\r\n{}\r\n0\r\n\r\n", ".".repeat(40))),
        _ => ("POST", "Content-Length: 2\r\n\r\nhi".to_owned()),
    };
    let upload = match (method, shape % 3) {
        ("POST", 0) => "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
        ("POST", _) => "Content-Length: 30\r\n\r\n012345678901234567890123456789",
        _ => "\r\n",
    };
    (format!("{method} /{n} HTTP/1.1\r\n{upload}"), format!("HTTP/1.1 {status} X\r\n{body}"))
}

/// Plays the bursts and checks that no response was given to another request; returns how many were paired.
fn play(bursts: &[Burst]) -> Result<usize, TestCaseError> {
    let mut driver = driver(Server);
    let mut unseen: [u64; 2] = [0; 2];
    let mut time = 0;
    let mut send = |driver: &mut Driver, from: Role, bytes: &[u8], fate: Fate| {
        time += 1;
        let unseen = &mut unseen[from as usize];
        if bytes.is_empty() {
            return;
        }
        if matches!(fate, Fate::Dropped) {
            *unseen += bytes.len() as u64;
            return;
        }
        if *unseen > 0 {
            driver.gap(from, time, std::mem::take(unseen));
        }
        let share = |share: u8, of: usize| of * usize::from(share) / 256;
        match fate {
            Fate::Cut(head, tail) => {
                let head = share(head, bytes.len());
                let tail = bytes.len() - share(tail, bytes.len() - head);
                driver.call(from, time, &bytes[..head], (tail - head) as u64, &bytes[tail..]);
            }
            _ => driver.send(from, time, bytes),
        }
    };
    let mut number = 0;
    for (shapes, request_fate, responses) in bursts {
        let pairs: Vec<_> = shapes.iter().enumerate().map(|(index, shape)| pair(number + index, *shape)).collect();
        number += pairs.len();
        let all: String = pairs.iter().map(|(request, _)| request.as_str()).collect();
        send(&mut driver, Client, all.as_bytes(), *request_fate);
        let all: String = pairs.iter().map(|(_, response)| response.as_str()).collect();
        let mut rest = all.as_bytes();
        for (index, (share, fate)) in responses.iter().enumerate() {
            let cut = if index + 1 == responses.len() { rest.len() } else { rest.len() * usize::from(*share) / 256 };
            send(&mut driver, Server, &rest[..cut], *fate);
            rest = &rest[cut..];
        }
    }
    driver.end_both(Server, End::Closed, 1000);
    let mut paired = 0;
    for exchange in closed(&driver.signals) {
        let told = attributes(exchange);
        if let Some(status) = told.get("http.response.status_code") {
            let expected = format!("/{}", status.parse::<usize>().unwrap() - 400);
            prop_assert_eq!(&told["url.path"], &expected, "{:?}", brief(&driver.signals));
            paired += 1;
        }
    }
    Ok(paired)
}

proptest! {
    #[test]
    fn a_loss_never_shifts_a_pair(bursts in proptest::collection::vec(burst(1), 1..12)) {
        play(&bursts)?;
    }

    #[test]
    fn a_loss_never_shifts_a_pair_of_a_client_that_pipelines(bursts in proptest::collection::vec(burst(3), 1..8)) {
        play(&bursts)?;
    }

    /// However much was lost, at most two exchanges later everything is seen again.
    #[test]
    fn a_connection_recovers(bursts in proptest::collection::vec(burst(1), 1..8)) {
        let seen = |shape| (vec![shape], Fate::Seen, vec![(0, Fate::Seen)]);
        let lossy = play(&bursts)?;
        let all: Vec<Burst> = bursts.into_iter().chain((0..5).map(seen)).collect();
        prop_assert!(play(&all)? >= lossy + 3);
    }
}
