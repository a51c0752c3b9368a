//! What the spans say: OpenTelemetry's HTTP conventions, of what CGI's variables tell.

use std::collections::BTreeMap;

use super::*;
use crate::{
    protocols::{Exchange, IncomingContext, testing::attributes},
    traces::span::Status,
};

/// As Debian's fastcgi_params for nginx have it.
const VARIABLES: &[(&str, &str)] = &[
    ("QUERY_STRING", "a=1&sig=s3cret"),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", ""),
    ("SCRIPT_FILENAME", "/srv/index.php"),
    ("SCRIPT_NAME", "/index.php"),
    ("REQUEST_URI", "/users/7?a=1&sig=s3cret"),
    ("DOCUMENT_URI", "/index.php"),
    ("SERVER_PROTOCOL", "HTTP/2.0"),
    ("REQUEST_SCHEME", "https"),
    ("HTTPS", "on"),
    ("REMOTE_ADDR", "198.51.100.3"),
    ("SERVER_PORT", "443"),
    ("SERVER_NAME", "www.example"),
    ("REDIRECT_STATUS", "200"),
    ("HTTP_HOST", "shop.example:8443"),
    ("HTTP_USER_AGENT", "curl/8"),
    ("HTTP_TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("HTTP_TRACESTATE", "a=b"),
];

fn exchange(role: Role, options: &Options, request: &[u8], answer: &[u8]) -> Exchange {
    let mut driver = driver_with(role, options);
    driver.send(Client, 1, request);
    driver.send(Server, 2, answer);
    closed(&driver.signals)[0].clone()
}

fn told(role: Role, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    attributes(&exchange(role, &Options::default(), &head(1, variables), &ok(1)))
}

/// The status that a response gives, and the error.
fn status(answer: &[u8]) -> [String; 2] {
    let told = attributes(&exchange(Server, &Options::default(), &get(1, "/"), answer));
    ["http.response.status_code", "error.type"].map(|key| told.get(key).cloned().unwrap_or_default())
}

fn expect(told: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    assert_eq!(*told, expected);
}

#[test]
fn server() {
    let exchange = exchange(Server, &Options::default(), &head(1, VARIABLES), &ok(1));
    assert_eq!((&*exchange.name, exchange.status.clone()), ("GET", Status::Unset));
    expect(
        &attributes(&exchange),
        &[
            ("http.request.method", "GET"),
            ("url.path", "/users/7"),
            ("url.query", "a=1&sig=REDACTED"),
            ("url.scheme", "https"),
            ("server.address", "shop.example"),
            ("server.port", "8443"),
            ("client.address", "198.51.100.3"),
            ("network.peer.address", "192.0.2.7"),
            ("network.peer.port", "40000"),
            ("network.protocol.name", "fastcgi"),
            ("network.protocol.version", "1.0"),
            ("user_agent.original", "curl/8"),
            ("http.response.status_code", "200"),
        ],
    );
}

#[test]
fn client() {
    expect(
        &told(Client, VARIABLES),
        &[
            ("http.request.method", "GET"),
            ("url.full", "https://shop.example:8443/users/7?a=1&sig=REDACTED"),
            ("server.address", "shop.example"),
            ("server.port", "8443"),
            ("network.peer.address", "192.0.2.1"),
            ("network.peer.port", "9000"),
            ("network.protocol.name", "fastcgi"),
            ("network.protocol.version", "1.0"),
            ("http.response.status_code", "200"),
        ],
    );
}

#[test]
fn the_context_comes_with_the_request() {
    let mut driver = driver(Server);
    driver.send(Client, 1, &head(1, VARIABLES));
    let Signal::Opened { context, .. } = &driver.signals[0] else { panic!("{:?}", driver.signals) };
    let traceparent = vec!["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()];
    assert_eq!(*context, IncomingContext { traceparent, tracestate: vec!["a=b".to_owned()] });
}

#[test]
fn where_variables_are_missing() {
    let path = |variables: &[(&str, &str)]| {
        let told = told(Server, &[&[("REQUEST_METHOD", "GET")], variables].concat());
        ["url.path", "url.query"].map(|key| told.get(key).cloned().unwrap_or_default())
    };
    assert_eq!(path(&[("SCRIPT_NAME", "/s"), ("QUERY_STRING", "a=b"), ("DOCUMENT_URI", "/d")]), ["/d", "a=b"]);
    assert_eq!(path(&[("SCRIPT_NAME", "/s")]), ["/s", ""]);
    assert_eq!(path(&[("SCRIPT_NAME", "/s"), ("REQUEST_URI", "/r")]), ["/r", ""]);
    assert_eq!(path(&[]), ["/", ""]);

    let told = told(Server, &[("REQUEST_METHOD", "GET"), ("SERVER_NAME", "shop"), ("SERVER_PORT", "81")]);
    assert_eq!([&told["server.address"], &told["server.port"], &told["url.scheme"]], ["shop", "81", "http"]);
    assert_eq!(told["client.address"], "192.0.2.7", "the web server, as far as is known");
}

#[test]
fn without_a_method() {
    let told = told(Server, &[("REQUEST_URI", "/")]);
    assert_eq!(told["http.request.method"], "_OTHER");
    assert!(!told.contains_key("http.request.method_original"), "{told:?}");
}

#[test]
fn who_the_client_is_proxies_say_first() {
    let told = told(Server, &[VARIABLES, &[("HTTP_X_FORWARDED_FOR", "203.0.113.9, 10.0.0.1")]].concat());
    assert_eq!(told["client.address"], "203.0.113.9");
}

#[test]
fn https_says_the_scheme() {
    let scheme = |value| told(Server, &[("REQUEST_METHOD", "GET"), ("HTTPS", value)])["url.scheme"].clone();
    assert_eq!([scheme("on"), scheme("off"), scheme("")], ["https", "http", "http"]);
}

#[test]
fn headers_that_were_asked_for() {
    let names = ["x-id", "content-type", "content-length", "x-powered-by"].map(str::to_owned).to_vec();
    let options = Options { http_headers: names, ..Options::default() };
    let variables = [
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_TYPE", "text/plain"),
        ("HTTP_CONTENT_TYPE", "text/plain"),
        ("HTTP_CONTENT_LENGTH", "5"),
        ("HTTP_X_ID", "7"),
    ];
    let answer = response(1, "X-Powered-By: PHP/8.2\r\n\r\n");
    let told = attributes(&exchange(Server, &options, &head(1, &variables), &answer));
    assert_eq!(told["http.request.header.x-id"], r#"["7"]"#);
    assert_eq!(told["http.request.header.content-type"], r#"["text/plain"]"#);
    assert_eq!(told["http.request.header.content-length"], r#"["5"]"#);
    assert_eq!(told["http.response.header.x-powered-by"], r#"["PHP/8.2"]"#);
}

#[test]
fn the_status_is_a_header_field() {
    assert_eq!(status(&response(1, "Status: 404 Not Found\r\nContent-Type: text/html\r\n\r\n")), ["404", ""]);
    assert_eq!(status(&response(1, "X: y\nstatus:503\n\nbody")), ["503", "503"]);
    assert_eq!(status(&response(1, "\r\n")), ["200", ""], "a header without fields");
    assert_eq!(status(&response(1, "Location: /there\r\n\r\n")), ["302", ""]);
    assert_eq!(status(&response(1, "Location: /there\r\nStatus: 201 Created\r\n\r\n")), ["201", ""]);
    assert_eq!(status(&response(1, "Status: 999999\r\n\r\n")), ["200", ""]);
    let in_pieces = [
        record(kind::STDOUT, 1, "Status: 5"),
        record(kind::STDERR, 1, "PHP message: \r\n\r\n"),
        response(1, "00\r\n\r\n"),
    ];
    assert_eq!(status(&in_pieces.concat()), ["500", "500"]);
}

#[test]
fn requests_that_are_not_served() {
    let end = |application: u32, protocol: u8| {
        let [a, b, c, d] = application.to_be_bytes();
        let [_, error] = status(&record(kind::END_REQUEST, 1, [a, b, c, d, protocol, 0, 0, 0]));
        error
    };
    assert_eq!([end(0, 0), end(0, 1), end(0, 2)], ["", "cant_mpx_conn", "overloaded"]);
    assert_eq!([end(0, 3), end(0, 4), end(9, 2)], ["unknown_role", "_OTHER", "overloaded"]);
    assert_eq!(end(255, 0), "_OTHER", "a program that failed and said nothing");
    let spoke = [record(kind::STDOUT, 1, "\r\n"), record(kind::END_REQUEST, 1, [0, 0, 0, 1, 0, 0, 0, 0])];
    assert_eq!(status(&spoke.concat()), ["200", ""], "its exit code is not HTTP's affair");
}
