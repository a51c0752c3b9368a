//! Which response belongs to which request.

use super::*;
use crate::protocols::testing::attributes;

#[test]
fn one_after_the_other() {
    let not_found = response(1, "Status: 404\r\n\r\n");
    let told =
        converse(Server, &[(Client, get(1, "/a")), (Server, ok(1)), (Client, get(1, "/b")), (Server, not_found)]);
    assert_eq!(told, ["+0", ".0", "-0 200", "+1", ".1", "-1 404"]);
}

#[test]
fn several_at_once_by_their_ids() {
    let told = converse(
        Client,
        &[
            (Client, [get(1, "/a"), get(513, "/b")].concat()),
            (Server, record(kind::STDOUT, 1, "Status: 201 Cre")),
            (Server, response(513, "Status: 202\r\n\r\n")),
            (Client, get(513, "/c")),
            (Server, [record(kind::STDOUT, 1, "ated\r\n\r\n"), ok(513)].concat()),
            (Server, record(kind::END_REQUEST, 1, SERVED)),
        ],
    );
    assert_eq!(told, ["+0", ".0", "+1", ".1", "-1 202", "+2", ".2", "-2 200", "-0 201"]);
}

#[test]
fn variables_in_several_records_and_a_body() {
    let all = pairs(&[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/up"), ("CONTENT_LENGTH", "9")]);
    let (one, other) = all.split_at(20);
    let request = [
        record(kind::BEGIN_REQUEST, 1, RESPONDER),
        padded(kind::PARAMS, 1, one, 4),
        record(kind::PARAMS, 1, other),
        record(kind::PARAMS, 1, END),
        padded(kind::STDIN, 1, "\x01\x01\x00\x01", 7),
        record(kind::STDIN, 1, "12345"),
    ];
    let messages = [(Client, request.concat()), (Client, record(kind::STDIN, 1, END)), (Server, ok(1))];
    assert_eq!(converse(Server, &messages), ["+0", ".0", "-0 200"]);
    let mut driver = driver(Server);
    driver.send(Client, 1, &request.concat());
    assert_eq!(brief(&driver.take()), ["+0"], "the body has not ended");
}

/// PHP reads the end of a body that is not there when it waits for the next request.
#[test]
fn the_end_of_a_request_that_is_read_late() {
    let mut driver = driver(Server);
    let request = get(1, "/a");
    let (early, late) = request.split_at(request.len() - HEADER);
    driver.send(Client, 10, early);
    driver.send(Server, 20, &ok(1));
    driver.send(Client, 30, late);
    driver.send(Client, 40, &get(1, "/b"));
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200", "+1", ".1"]);
    let begun = driver.signals.iter().rev().find_map(|signal| match signal {
        Signal::Opened { start, position, .. } => Some((*start, *position as usize)),
        _ => None,
    });
    assert_eq!(begun, Some((40, request.len())));
}

#[test]
fn times_are_those_of_the_first_and_the_last_byte() {
    let mut driver = driver(Client);
    for (time, byte) in (10..).zip(get(1, "/a")) {
        driver.send(Client, time, &[byte]);
    }
    let answer = ok(1);
    for (time, byte) in (1000..).zip(&answer) {
        driver.send(Server, time, std::slice::from_ref(byte));
    }
    let exchange = closed(&driver.signals)[0];
    assert_eq!((exchange.start, exchange.end), (10, 999 + answer.len() as u64));
}

#[test]
fn what_is_no_request_is_passed_over() {
    let told = converse(
        Client,
        &[
            (Client, record(kind::GET_VALUES, 0, pairs(&[("FCGI_MAX_CONNS", "")]))),
            (Server, record(kind::GET_VALUES_RESULT, 0, pairs(&[("FCGI_MAX_CONNS", "1")]))),
            (Client, padded(99, 0, "what is to come", 1)),
            (Server, record(kind::UNKNOWN_TYPE, 0, [99, 0, 0, 0, 0, 0, 0, 0])),
            (Client, record(kind::PARAMS, 7, pairs(&[("REQUEST_METHOD", "GET")]))),
            (Client, record(kind::PARAMS, 7, END)),
            (Client, get(1, "/a")),
            (Client, record(kind::ABORT_REQUEST, 1, END)),
            (Server, record(kind::STDOUT, 7, "Status: 500\r\n\r\n")),
            (Server, ok(1)),
        ],
    );
    assert_eq!(told, ["+0", ".0", "-0 200"]);
}

#[test]
fn an_answer_before_the_variables_were_sent() {
    let request = record(kind::BEGIN_REQUEST, 1, [0, 3, 0, 0, 0, 0, 0, 0]);
    let refusal = record(kind::END_REQUEST, 1, [0, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(converse(Client, &[(Client, request), (Server, refusal)]), ["+0", ".0", "-0 !unknown_role"]);
}

#[test]
fn a_header_that_is_too_long_is_not_kept() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &get(1, "/a"));
    for time in 2..60 {
        driver.send(Server, time, &record(kind::STDOUT, 1, [b'x'; 1000]));
    }
    driver.send(Server, 60, &record(kind::END_REQUEST, 1, SERVED));
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost budget", "-0"]);
}

#[test]
fn variables_beyond_the_limit_are_passed_over() {
    let long = "x".repeat(60_000);
    let variables = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a"), ("HTTP_COOKIE", &*long), ("HTTP_HOST", "late")];
    let mut driver = driver(Server);
    for part in head(1, &variables).chunks(4096) {
        driver.send(Client, 1, part);
    }
    driver.send(Server, 2, &ok(1));
    assert_eq!(brief(&driver.signals), ["lost budget", "+0", ".0", "-0 200"]);
    let told = attributes(closed(&driver.signals)[0]);
    assert_eq!([&told["url.path"], &told["server.address"]], ["/a", "192.0.2.1"]);
    assert!(driver.most_kept < HEADER + BODY, "what is held is held by the parser: {}", driver.most_kept);
}

#[test]
fn connections_that_end() {
    let ended = |role, answer: &[u8], end| {
        let mut driver = driver(role);
        driver.send(Client, 1, &get(1, "/a"));
        if !answer.is_empty() {
            driver.send(Server, 2, answer);
        }
        driver.end_both(role, end, 3);
        brief(&driver.signals).pop().unwrap()
    };
    let begun = record(kind::STDOUT, 1, "Status: 200\r\n\r\nhal");
    assert_eq!(ended(Client, b"", End::Closed), "-0 !connection_closed");
    assert_eq!(ended(Client, b"", End::Reset), "-0 !connection_reset");
    assert_eq!(ended(Client, &begun, End::Closed), "-0 200", "the web server had enough");
    assert_eq!(ended(Server, &begun, End::Closed), "-0 200 !connection_closed", "PHP has died");
    assert_eq!(ended(Client, &ok(1), End::Closed), "-0 200");
}

#[test]
fn a_client_that_has_stopped_sending_is_answered() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &get(1, "/a"));
    driver.end(Client, End::PeerClosed, 2);
    driver.send(Server, 3, &ok(1));
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200"]);
}

#[test]
fn there_is_an_end_to_open_requests() {
    let mut driver = driver(Server);
    for id in 1..400 {
        driver.send(Client, 1, &get(id, "/a"));
    }
    let told = brief(&driver.signals);
    assert_eq!(told.iter().filter(|told| told.starts_with('+')).count(), OPEN_LIMIT);
    assert_eq!(told.iter().filter(|told| told.starts_with('-')).count(), OPEN_LIMIT);
    assert_eq!(told.last().map(String::as_str), Some("abandon evicted"));
}

/// PHP waits for the next request in the call that reads the first header: of a connection that is older than the agent it is missed.
#[test]
fn a_first_header_that_was_missed() {
    let (request, next) = (get(7, "/a"), get(7, "/b"));
    assert_eq!(detect(&request[HEADER..], Hint { port: 9000, from_start: false }), Guess::Client);
    assert_eq!(detect(&request[HEADER..], Hint { port: 9000, from_start: true }), Guess::No);
    let mut seen = super::driver(Server);
    seen.send(Client, 1, &request);
    let mut driver = Driver::new(start(Connection { from_start: false, ..connection(Server) }, &Options::default()));
    driver.send(Client, 1, &request[HEADER..]);
    driver.send(Server, 2, &ok(7));
    driver.send(Client, 3, &next);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200", "+1", ".1"]);
    let position = |driver: &Driver| match driver.signals.first() {
        Some(Signal::Opened { position, .. }) => *position,
        other => panic!("{other:?}"),
    };
    let missed = u32::try_from(HEADER).unwrap();
    assert_eq!(position(&driver).wrapping_add(missed), position(&seen), "where the header stood");
}

/// The parts of messages that were under way mean nothing.
#[test]
fn a_connection_that_is_older_than_the_agent() {
    let older = || Driver::new(start(Connection { from_start: false, ..connection(Client) }, &Options::default()));
    let answer = ok(1);
    for cut in 1..answer.len() {
        let mut driver = older();
        driver.send(Server, 1, &answer[cut..]);
        driver.send(Client, 2, &get(1, "/a"));
        driver.send(Server, 3, &answer);
        assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200"], "from {cut} on");
    }
    let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/"), ("CONTENT_LENGTH", "5")];
    let request = [head(1, &variables), record(kind::STDIN, 1, "12345"), record(kind::STDIN, 1, END)].concat();
    for cut in HEADER + 1..request.len() {
        let mut driver = older();
        driver.send(Client, 1, &request[cut..]);
        driver.send(Server, 2, &answer);
        driver.send(Client, 3, &get(1, "/a"));
        driver.send(Server, 4, &answer);
        let told: Vec<String> = brief(&driver.signals).into_iter().filter(|told| told != "lost unmatched").collect();
        assert_eq!(told, ["+0", ".0", "-0 200"], "from {cut} on");
    }
}
