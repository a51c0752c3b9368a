//! Bytes that were never seen.

use super::*;

/// A call of which the beginning and the end are captured.
fn cut(driver: &mut Driver, from: Role, time: Time, bytes: &[u8], head: usize, tail: usize) {
    let behind = bytes.len() - tail;
    driver.call(from, time, &bytes[..head], (behind - head) as u64, &bytes[behind..]);
}

#[test]
fn bodies_need_not_be_seen() {
    let mut driver = driver(Server);
    let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/up"), ("CONTENT_LENGTH", "30000")];
    driver.send(Client, 1, &head(1, &variables));
    let body = [record(kind::STDIN, 1, [b'x'; 30_000]), record(kind::STDIN, 1, END)].concat();
    cut(&mut driver, Client, 2, &body, 100, 64);
    cut(&mut driver, Server, 4, &response(1, &format!("\r\n{}", "x".repeat(40_000))), 100, 64);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200"]);
}

#[test]
fn records_in_the_middle_of_a_long_call() {
    let mut driver = driver(Client);
    let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/up"), ("CONTENT_LENGTH", "6000")];
    let part = record(kind::STDIN, 1, [b'x'; 3000]);
    driver.send(Client, 1, &head(1, &variables));
    cut(&mut driver, Client, 2, &[&part[..], &part, &record(kind::STDIN, 1, END)].concat(), 100, 64);
    let begun = padded(kind::STDOUT, 1, format!("Status: 500\r\n\r\n{}", "x".repeat(3000)), 1);
    let more = record(kind::STDOUT, 1, [b'x'; 3000]);
    cut(&mut driver, Server, 3, &[&begun[..], &more].concat(), 1000, 64);
    cut(&mut driver, Server, 4, &[&more[..], &response(1, &"x".repeat(2000))].concat(), 1000, 64);
    assert_eq!(brief(&driver.take()), ["+0", ".0", "-0 500 !500"]);
    // Both sides have found their place again.
    driver.send(Client, 5, &get(1, "/b"));
    driver.send(Server, 6, &ok(1));
    assert_eq!(brief(&driver.signals), ["+1", ".1", "-1 200"]);
}

#[test]
fn an_end_in_two_calls() {
    let mut driver = driver(Client);
    driver.send(Client, 1, &get(1, "/a"));
    let more = record(kind::STDOUT, 1, [b'x'; 3000]);
    let head = record(kind::STDOUT, 1, "\r\n");
    cut(&mut driver, Server, 2, &[&head[..], &more, &more].concat(), head.len(), 10);
    let end = record(kind::END_REQUEST, 1, SERVED);
    driver.send(Server, 3, &end[..9]);
    driver.send(Server, 4, &end[9..]);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200"]);
}

#[test]
fn a_response_whose_header_was_missed_has_no_status() {
    let mut driver = driver(Client);
    driver.send(Client, 1, &get(1, "/a"));
    let answer = response(1, &format!("X: {}\r\nStatus: 500\r\n\r\n", "x".repeat(3000)));
    cut(&mut driver, Server, 2, &answer, 100, 30);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0"]);
}

#[test]
fn a_status_that_was_seen_counts() {
    let mut driver = driver(Client);
    driver.send(Client, 1, &get(1, "/a"));
    let answer = response(1, &format!("Status: 206\r\nX: {}\r\n\r\n", "x".repeat(3000)));
    cut(&mut driver, Server, 2, &answer, 100, 30);
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 206"]);
}

#[test]
fn variables_that_were_missed() {
    let mut driver = driver(Client);
    let variables = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a"), ("HTTP_COOKIE", &*"x".repeat(3000))];
    cut(&mut driver, Client, 1, &head(1, &variables), 100, 8);
    driver.send(Server, 2, &ok(1));
    driver.send(Client, 3, &get(1, "/b"));
    driver.send(Server, 4, &ok(1));
    assert_eq!(brief(&driver.signals), ["lost budget", "+0", ".0", "-0 200", "+1", ".1", "-1 200"]);
}

#[test]
fn a_request_of_which_too_little_was_seen_is_none() {
    let mut driver = driver(Client);
    let variables = [("HTTP_COOKIE", &*"x".repeat(3000)), ("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a")];
    cut(&mut driver, Client, 1, &head(1, &variables), 100, 8);
    driver.send(Server, 2, &ok(1));
    driver.send(Client, 3, &get(1, "/b"));
    driver.send(Server, 4, &ok(1));
    assert_eq!(brief(&driver.signals), ["lost budget", "lost unmatched", "+0", ".0", "-0 200"]);
}

#[test]
fn a_response_that_was_missed() {
    let mut driver = driver(Client);
    driver.send(Client, 1, &get(1, "/a"));
    driver.gap(Server, 2, 100);
    driver.send(Client, 3, &get(1, "/b"));
    driver.send(Server, 4, &response(1, "Status: 202\r\n\r\n"));
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost incomplete", "-0", "+1", ".1", "-1"]);
}

/// In a stream, what is missing shows when the next bytes come: until then the second request looks like the only one.
#[test]
fn a_response_that_was_missed_without_a_word() {
    let mut driver = driver(Client);
    driver.send(Client, 1, &get(1, "/a"));
    driver.send(Client, 3, &get(1, "/b"));
    driver.gap(Server, 4, 100);
    driver.send(Server, 4, &response(1, "Status: 202\r\n\r\n"));
    driver.send(Client, 5, &get(1, "/c"));
    driver.send(Server, 6, &response(1, "Status: 203\r\n\r\n"));
    let expected = ["+0", ".0", "lost incomplete", "-0", "+1", ".1", "lost incomplete", "-1", "+2", ".2", "-2 203"];
    assert_eq!(brief(&driver.signals), expected);
}

#[test]
fn a_request_that_begins_ends_the_one_before() {
    let mut driver = driver(Client);
    driver.send(Client, 1, &get(1, "/a"));
    let part = record(kind::STDOUT, 1, [b'x'; 3000]);
    cut(&mut driver, Server, 2, &[&part[..], &part, &ok(1)].concat(), 100, 3);
    driver.send(Client, 3, &get(1, "/b"));
    driver.send(Server, 4, &ok(1));
    assert_eq!(brief(&driver.signals), ["+0", ".0", "lost incomplete", "-0", "+1", ".1", "-1 200"]);
}

#[test]
fn requests_that_were_missed() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &get(1, "/a"));
    driver.send(Server, 2, &ok(1));
    driver.gap(Client, 3, 200);
    driver.send(Client, 3, &record(kind::STDIN, 1, END));
    driver.send(Server, 4, &ok(1));
    driver.send(Client, 5, &get(1, "/c"));
    driver.send(Server, 6, &ok(1));
    assert_eq!(brief(&driver.signals), ["+0", ".0", "-0 200", "lost unmatched", "+1", ".1", "-1 200"]);
}

#[test]
fn after_a_loss_php_may_still_read_the_end_of_a_request() {
    let mut driver = driver(Server);
    let request = get(1, "/a");
    driver.gap(Client, 1, 100);
    driver.send(Client, 1, b"of no use");
    driver.send(Server, 2, &ok(1));
    driver.send(Client, 3, &request[request.len() - HEADER..]);
    driver.send(Client, 3, &request);
    driver.send(Server, 4, &ok(1));
    assert_eq!(brief(&driver.signals), ["lost unmatched", "+0", ".0", "-0 200"]);
}

/// What a client uploads may look like a request.
#[test]
fn a_body_is_no_request_after_a_loss() {
    let mut driver = driver(Server);
    let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/up"), ("CONTENT_LENGTH", "6000")];
    driver.send(Client, 1, &head(1, &variables));
    driver.gap(Client, 2, 100);
    driver.send(Client, 3, &head(1, &variables));
    driver.send(Client, 4, &head(2, &variables));
    driver.send(Server, 5, &ok(1));
    assert_eq!(brief(&driver.signals), ["+0", "-0 200"]);
}
