//! OpenTelemetry's HTTP conventions.

use super::*;
use crate::traces::span::Status;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn exchange(connection: Connection, options: &Options, request: &str, response: &str) -> Exchange {
    let mut driver = Driver::new(start(connection, options));
    driver.send(Client, 1, request.as_bytes());
    driver.send(Server, 2, response.as_bytes());
    closed(&driver.signals)[0].clone()
}

fn told(role: Role, request: &str) -> BTreeMap<String, String> {
    attributes(&exchange(connection(role), &Options::default(), request, OK))
}

fn expect(told: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    assert_eq!(*told, expected);
}

#[test]
fn server() {
    let request =
        "GET /users/7?a=1&sig=s3cret&Sig=kept HTTP/1.1\r\nhOST: shop.example:8443\r\nUser-Agent: curl/8\r\n\r\n";
    let exchange = exchange(connection(Server), &Options::default(), request, OK);
    assert_eq!(exchange.name, "GET");
    assert_eq!(exchange.status, Status::Unset);
    expect(
        &attributes(&exchange),
        &[
            ("http.request.method", "GET"),
            ("url.path", "/users/7"),
            ("url.query", "a=1&sig=REDACTED&Sig=kept"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("server.port", "8443"),
            ("client.address", "192.0.2.7"),
            ("network.peer.address", "192.0.2.7"),
            ("network.peer.port", "40000"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "curl/8"),
            ("http.response.status_code", "200"),
        ],
    );
}

#[test]
fn client() {
    expect(
        &told(Client, "GET /a?X-Amz-Signature=x HTTP/1.0\r\nHost: shop.example\r\nUser-Agent: curl/8\r\n\r\n"),
        &[
            ("http.request.method", "GET"),
            ("server.address", "shop.example"),
            ("server.port", "80"),
            ("url.full", "http://shop.example/a?X-Amz-Signature=REDACTED"),
            ("network.peer.address", "192.0.2.1"),
            ("network.peer.port", "8080"),
            ("network.protocol.version", "1.0"),
            ("http.response.status_code", "200"),
        ],
    );
}

#[test]
fn without_a_host_the_socket_tells() {
    let server = told(Server, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((server["server.address"].as_str(), server["server.port"].as_str()), ("192.0.2.1", "8080"));
    assert_eq!(told(Client, "GET /x HTTP/1.0\r\n\r\n")["url.full"], "http://192.0.2.1:8080/x");
}

#[test]
fn proxies_are_believed() {
    let forwarded = told(
        Server,
        "GET / HTTP/1.1\r\nHost: inner:1\r\nForwarded: for=\"[2001:db8::1]:4711\";Proto=HTTPS;host=\"a\\.b:9\", for=10.0.0.1\r\n\
         X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Host: c\r\n\r\n",
    );
    assert_eq!(forwarded["client.address"], "2001:db8::1");
    assert_eq!(forwarded["url.scheme"], "https");
    assert_eq!((forwarded["server.address"].as_str(), forwarded["server.port"].as_str()), ("a.b", "9"));
    let older = told(
        Server,
        "GET / HTTP/1.1\r\nHost: inner:1\r\nX-Forwarded-For: 203.0.113.9:55, 10.0.0.1\r\nX-Forwarded-Host: c\r\n\
         X-Forwarded-Proto: https\r\n\r\n",
    );
    assert_eq!(older["client.address"], "203.0.113.9");
    assert_eq!((older["server.address"].as_str(), older["server.port"].as_str()), ("c", "443"));
    let unknown = told(Server, "GET / HTTP/1.1\r\nForwarded: for=unknown;proto=\"<x>\"\r\n\r\n");
    assert_eq!((unknown["client.address"].as_str(), unknown["url.scheme"].as_str()), ("192.0.2.7", "http"));
    assert_eq!(told(Server, "GET / HTTP/1.1\r\nX-Forwarded-For: 2001:db8::1\r\n\r\n")["client.address"], "2001:db8::1");
}

#[test]
fn target_forms() {
    let absolute =
        told(Client, "GET HTTPS://user:pass@shop.example/x?AWSAccessKeyId=1#f HTTP/1.1\r\nHost: proxy\r\n\r\n");
    assert_eq!(absolute["url.full"], "https://REDACTED:REDACTED@shop.example/x?AWSAccessKeyId=REDACTED");
    assert_eq!((absolute["server.address"].as_str(), absolute["server.port"].as_str()), ("shop.example", "443"));
    let served = told(Server, "GET http://token@shop.example:81?q HTTP/1.1\r\nHost: proxy\r\n\r\n");
    assert_eq!((served["url.path"].as_str(), served["url.query"].as_str()), ("/", "q"));
    assert_eq!((served["server.address"].as_str(), served["server.port"].as_str()), ("shop.example", "81"));
    assert_eq!(told(Client, "GET http://token@a/ HTTP/1.1\r\n\r\n")["url.full"], "http://REDACTED@a/");
    assert_eq!(told(Server, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")["url.path"], "*");
    assert_eq!(told(Client, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")["url.full"], "http://a");
    let connect = told(Client, "CONNECT [2001:db8::2]:443 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((connect["server.address"].as_str(), connect["server.port"].as_str()), ("2001:db8::2", "443"));
}

#[test]
fn unknown_methods_are_other() {
    let exchange = exchange(connection(Server), &Options::default(), "get / HTTP/1.1\r\n\r\n", OK);
    assert_eq!(exchange.name, "HTTP");
    let told = attributes(&exchange);
    assert_eq!(told["http.request.method"], "_OTHER");
    assert_eq!(told["http.request.method_original"], "get");
    let options = Options { http_methods: vec!["PURGE".to_owned()], ..Options::default() };
    let purge = super::attributes::exchange(connection(Server), &options, "PURGE / HTTP/1.1\r\n\r\n", OK);
    assert_eq!((purge.name.as_ref(), attributes(&purge)["http.request.method"].as_str()), ("PURGE", "PURGE"));
}

#[test]
fn statuses() {
    let cases = [
        (Server, 404, None),
        (Client, 404, Some("404")),
        (Server, 500, Some("500")),
        (Client, 503, Some("503")),
        (Client, 302, None),
    ];
    for (role, code, error) in cases {
        let response = format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n");
        let exchange = exchange(connection(role), &Options::default(), "GET / HTTP/1.1\r\n\r\n", &response);
        assert_eq!(attributes(&exchange).get("error.type").map(String::as_str), error);
        assert_eq!(exchange.status, error.map_or(Status::Unset, |_| Status::Error(String::new())));
    }
}

#[test]
fn headers_only_if_asked_for() {
    let options = Options { http_headers: vec!["x-id".to_owned(), "none".to_owned()], ..Options::default() };
    let request = "GET / HTTP/1.1\r\nX-Id: 1\r\nSecret: s\r\nx-id: 2\r\n\t3\r\n\r\n";
    let response = "HTTP/1.1 200 OK\r\nX-ID: r\r\nContent-Length: 0\r\n\r\n";
    let told = attributes(&exchange(connection(Server), &options, request, response));
    assert_eq!(told["http.request.header.x-id"], "[\"1\", \"2 3\"]");
    assert_eq!(told["http.response.header.x-id"], "[\"r\"]");
    assert!(!told.values().any(|value| value.contains('s') && value.len() == 1));
    assert_eq!(told.keys().filter(|key| key.contains(".header.")).count(), 2);
}

#[test]
fn unix_sockets() {
    let socket = Address::Unix(5, Some("/run/app.sock".to_owned()));
    let nameless = Address::Unix(5, None);
    let client = Connection { local_role: Client, local: nameless.clone(), peer: socket.clone(), from_start: true };
    let told = |connection| attributes(&exchange(connection, &Options::default(), "GET /x HTTP/1.0\r\n\r\n", OK));
    let of_client = told(client);
    assert_eq!(of_client["network.peer.address"], "/run/app.sock");
    assert_eq!(of_client["network.transport"], "unix");
    assert_eq!(of_client["server.address"], "/run/app.sock");
    assert_eq!(of_client["url.full"], "http://localhost/x");
    let of_server = told(Connection { local_role: Server, local: socket, peer: nameless, from_start: true });
    assert_eq!(of_server["network.transport"], "unix");
    assert_eq!(of_server["server.address"], "/run/app.sock");
    assert!(!of_server.contains_key("network.peer.port") && !of_server.contains_key("client.address"));
}

#[test]
fn values_are_bounded_valid_text() {
    let mut driver = driver(Server);
    let request = [b"GET /\xff\xfe".as_slice(), &[0xc3; 9000], b" HTTP/1.1\r\n\r\n"].concat();
    driver.send(Client, 1, &request);
    driver.send(Server, 2, OK.as_bytes());
    let path = attributes(closed(&driver.signals)[0])["url.path"].clone();
    assert!(path.starts_with("/\u{fffd}") && path.len() <= 4096, "{}", path.len());
}

#[test]
fn trace_context_is_handed_over_as_it_stands() {
    let mut driver = driver(Server);
    driver.send(
        Client,
        1,
        b"GET / HTTP/1.1\r\nTRACEPARENT: 00-a\r\nX: y\r\ntracestate: a=1,\r\n b=2\r\nTraceState:\r\ntraceparent: \t00-b \r\n\r\n",
    );
    let Signal::Opened { context, .. } = &driver.signals[0] else { panic!("not opened") };
    assert_eq!(context.traceparent, ["00-a", "00-b"]);
    assert_eq!(context.tracestate, ["a=1, b=2", ""]);
}

#[test]
fn more_headers_than_any_parser_has_room_for() {
    let many: String = (0..900).map(|n| format!("X-{n}: y\r\n")).collect();
    let told = told(Server, &format!("GET / HTTP/1.1\r\n{many}Host: last\r\n\r\n"));
    assert_eq!(told["server.address"], "last");
}
