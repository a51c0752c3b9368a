//! Messages and their ends: what RFC 9112 allows on one connection.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn keep_alive() {
    for role in [Client, Server] {
        let told = converse(role, &[(Client, GET), (Server, OK), (Client, GET), (Server, OK)]);
        assert_eq!(told, ["+0", ".0", "-0 200", "+1", ".1", "-1 200"]);
    }
}

#[test]
fn times_and_positions_are_those_of_the_first_and_the_last_byte() {
    let mut driver = driver(Server);
    driver.send(Client, 10, &GET[..5]);
    driver.send(Client, 11, &GET[5..]);
    driver.send(Server, 20, &OK[..10]);
    driver.send(Server, 21, &OK[10..OK.len() - 1]);
    driver.send(Server, 22, &OK[OK.len() - 1..]);
    driver.send(Client, 30, b"\r\n");
    driver.send(Client, 31, GET);
    let starts: Vec<_> = driver
        .signals
        .iter()
        .filter_map(|signal| match signal {
            Signal::Opened { start, position, .. } => Some((*start, *position)),
            _ => None,
        })
        .collect();
    assert_eq!(starts, [(10, 0), (31, GET.len() as u32 + 2)]);
    let first = closed(&driver.signals)[0];
    assert_eq!((first.start, first.end), (10, 22));
}

#[test]
fn a_hundred_pipelined_requests_are_paired_in_order() {
    let requests: Vec<u8> =
        (0..100).flat_map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()).collect();
    let responses: Vec<u8> =
        (0..100).flat_map(|n| format!("HTTP/1.1 {} X\r\nContent-Length: 1\r\n\r\n.", 400 + n).into_bytes()).collect();
    let mut whole = driver(Server);
    whole.send(Client, 7, &requests);
    whole.send(Server, 7, &responses);
    let mut by_byte = driver(Server);
    requests.iter().for_each(|byte| by_byte.send(Client, 7, &[*byte]));
    responses.iter().for_each(|byte| by_byte.send(Server, 7, &[*byte]));
    for signals in [&whole.signals, &by_byte.signals] {
        let exchanges = closed(signals);
        assert_eq!(exchanges.len(), 100);
        for (n, exchange) in exchanges.iter().enumerate() {
            let told = attributes(exchange);
            assert_eq!(told["url.path"], format!("/{n}"));
            assert_eq!(told["http.response.status_code"], (400 + n).to_string());
        }
    }
    assert_eq!(whole.signals, by_byte.signals);
}

#[test]
fn pipelining_has_a_bound() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &GET.repeat(OPEN_LIMIT + 5));
    assert_eq!(closed(&driver.signals).len(), OPEN_LIMIT);
    assert_eq!(driver.signals.last(), Some(&Signal::Abandon(Loss::Evicted)));
}

#[test]
fn responses_without_a_body() {
    let head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice();
    let told = converse(
        Client,
        &[
            (Client, head),
            (Server, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            (Client, GET),
            (Server, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
            (Client, GET),
            (Server, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (Client, head),
            (Server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (Client, GET),
            (Server, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
    );
    let expected = ["200", "304", "204", "200", "200"];
    let expected: Vec<String> =
        (0..).zip(expected).flat_map(|(n, s)| [format!("+{n}"), format!(".{n}"), format!("-{n} {s}")]).collect();
    assert_eq!(told, expected);
}

#[test]
fn interim_responses_are_skipped() {
    let told = converse(
        Client,
        &[
            (Client, b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"),
            (Server, b"HTTP/1.1 100 Continue\r\n\r\n"),
            (Client, b"hi"),
            (Server, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
    );
    assert_eq!(told, ["+0", ".0", "-0 200"]);
}

#[test]
fn a_refused_expectation_leaves_the_body_out() {
    let told = converse(
        Client,
        &[
            (Client, b"POST / HTTP/1.1\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n"),
            (Server, b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
            (Client, GET),
            (Server, OK),
        ],
    );
    assert_eq!(told, ["+0", "-0 417 !417", "+1", ".1", "-1 200"]);
}

#[test]
fn chunks_with_extensions_and_trailers() {
    let body = b"5;a=b\r\nhello\r\n00b ; x=\"y\"\r\n0\r\n\r\n0\r\n\r\n.\r\n0\r\nExpires: 0\r\nX: y\r\n\r\n";
    let request =
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n\r\n", body.as_slice()];
    let response = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", body.as_slice()];
    let told =
        converse(Server, &[(Client, &request.concat()), (Server, &response.concat()), (Client, GET), (Server, OK)]);
    assert_eq!(told, ["+0", ".0", "-0 200", "+1", ".1", "-1 200"]);
}

#[test]
fn bare_line_feeds_and_empty_lines_before_a_request() {
    let told = converse(
        Server,
        &[
            (Client, b"\r\n\nPOST / HTTP/1.1\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n"),
            (Server, b"HTTP/1.0 200\nContent-Length: 1\n\n."),
            (Client, b"\r\nGET / HTTP/1.1\r\nHost: a\n\r\n"),
            (Server, OK),
        ],
    );
    assert_eq!(told, ["+0", ".0", "-0 200", "+1", ".1", "-1 200"]);
}

#[test]
fn a_body_that_ends_with_the_connection() {
    for (role, end) in [(Server, End::Closed), (Client, End::PeerClosed)] {
        let mut driver = driver(role);
        driver.send(Client, 1, b"GET / HTTP/1.0\r\n\r\n");
        driver.send(Server, 2, b"HTTP/1.0 200 OK\r\n\r\nall of");
        driver.gap(Server, 3, 1 << 20);
        driver.send(Server, 4, b"HTTP/1.1 500 is not a head here\r\n\r\n");
        assert_eq!(brief(&driver.signals), ["+0", ".0"]);
        driver.end(Server, end, 9);
        assert_eq!(brief(&driver.signals)[2..], ["-0 200"]);
        assert_eq!(closed(&driver.signals)[0].end, 9);
        driver.end(Client, end, 9);
        assert_eq!(driver.signals.len(), 3);
    }
}

#[test]
fn a_gigabyte_is_skipped_not_kept() {
    let mut driver = driver(Server);
    driver.send(Client, 1, b"PUT /big HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n");
    for time in 0..1024 {
        driver.call(Client, 2 + time, &[b'.'; 1024], (1 << 20) - 2048, &[b'.'; 1024]);
    }
    assert_eq!(brief(&driver.signals), ["+0", ".0"]);
    driver.send(Server, 2000, b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
    for time in 0..1024 {
        assert_eq!(driver.signals.len(), 2);
        driver.call(Server, 3000 + time, &[b'.'; 1024], (1 << 20) - 1024, b"");
    }
    assert_eq!(brief(&driver.signals)[2..], ["-0 200"]);
    assert_eq!(closed(&driver.signals)[0].end, 3000 + 1023);
    assert_eq!(driver.most_kept, 0);
    driver.take();
    driver.send(Client, 9000, GET);
    driver.send(Server, 9001, OK);
    assert_eq!(brief(&driver.signals), ["+1", ".1", "-1 200"]);
}

#[test]
fn upgrade_ends_the_exchange_and_switches() {
    let told = converse(
        Server,
        &[
            (Client, b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            (Server, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05HTTP/"),
            (Client, b"\x81\x85GET / HTTP/1.1\r\n\r\n"),
            (Server, b"HTTP/1.1 200 OK\r\n\r\n"),
        ],
    );
    assert_eq!(told, ["+0", ".0", "-0 101", "switched"]);
}

#[test]
fn connect_opens_a_tunnel_or_does_not() {
    let connect = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".as_slice();
    let told = converse(
        Client,
        &[
            (Client, connect),
            (Server, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"),
            (Client, connect),
            (Server, b"HTTP/1.1 200 Connection established\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (Client, b"\x16\x03\x01"),
            (Server, b"\x16\x03\x03"),
        ],
    );
    assert_eq!(told, ["+0", ".0", "-0 407 !407", "+1", ".1", "-1 200", "switched"]);
}

#[test]
fn an_early_response_does_not_disturb_the_upload() {
    let told = converse(
        Server,
        &[
            (Client, b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n0123456789"),
            (Server, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
            (Client, b"GET / HTTP/1.1\r\n\r\n.0123456789."),
            (Client, GET),
            (Server, OK),
        ],
    );
    assert_eq!(told, ["+0", "-0 413", "+1", ".1", "-1 200"]);
}

#[test]
fn aborted_requests_say_why() {
    let cases: [(Role, End, &[u8], &str); 9] = [
        (Client, End::Reset, b"", "-0 !connection_reset"),
        (Server, End::TimedOut, b"", "-0 !timeout"),
        (Client, End::Closed, b"", "-0 !connection_closed"),
        (Server, End::Closed, b"", "-0 !connection_closed"),
        (Client, End::Closed, b"HTTP/1.1 2", "-0 !connection_closed"),
        (Server, End::Closed, &OK[..OK.len() - 1], "-0 200 !connection_closed"),
        (Client, End::Reset, &OK[..OK.len() - 1], "-0 200 !connection_reset"),
        (Client, End::Reset, b"HTTP/1.1 200 OK\r\n\r\n", "-0 200 !connection_reset"),
        // The client itself had enough of the answer.
        (Client, End::Closed, &OK[..OK.len() - 1], "-0 200"),
    ];
    for (own, end, response, expected) in cases {
        let mut driver = driver(own);
        driver.send(Client, 1, GET);
        if !response.is_empty() {
            driver.send(Server, 2, response);
        }
        driver.end_both(own, end, 5);
        assert_eq!(brief(&driver.signals), ["+0", ".0", expected], "{own:?} {end:?}");
        assert_eq!(closed(&driver.signals)[0].end, 5);
    }
}

#[test]
fn a_peer_that_closes_first_fails_the_request() {
    let mut driver = driver(Client);
    driver.send(Client, 1, GET);
    driver.end(Server, End::PeerClosed, 4);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 !connection_closed"]);
}

#[test]
fn a_client_may_stop_sending_and_still_be_answered() {
    let mut driver = driver(Server);
    driver.send(Client, 1, GET);
    driver.end(Client, End::PeerClosed, 2);
    driver.send(Server, 3, OK);
    driver.end_both(Server, End::Closed, 4);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200"]);
}
