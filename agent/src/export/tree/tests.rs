#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use opentelemetry_semantic_conventions::attribute as key;

use super::*;
use crate::{
    export::samples::{self, START},
    processes::Process,
    traces::span::{Attribute, Kind, Parent, Status},
};

const MS: u64 = MILLISECOND;
const PLAIN: Style = Style { width: 110, color: false };

fn span(process: &Arc<Process>, kind: Kind, id: u64, parent: u64, times: (u64, u64)) -> Span {
    let mut span = samples::span(process, id, (parent > 0).then_some(parent));
    (span.kind, span.start, span.end) = (kind, START + times.0, START + times.1);
    span.attributes.clear();
    span
}

fn http(mut span: Span, name: &'static str, path: &'static str) -> Span {
    span.name = name.into();
    span.attributes.push((key::URL_PATH.into(), path.into()));
    span
}

fn sql(mut span: Span, summary: &'static str) -> Span {
    span.name = summary.into();
    span.attributes.push((key::DB_SYSTEM_NAME.into(), "postgresql".into()));
    span
}

fn failed(mut span: Span, error: &'static str) -> Span {
    let attribute: Attribute = (key::ERROR_TYPE.into(), error.into());
    span.attributes.push(attribute);
    span.status = Status::Error(String::new());
    span
}

/// nginx -> node -> python, which asks the database for each product; and a payment that fails.
fn shop() -> Vec<Span> {
    use Kind::{Client, Server};
    let [nginx, node, python] =
        [("nginx", 1), ("storefront", 2), ("catalog", 3)].map(|(name, pid)| samples::process(name, pid));
    let mut spans = vec![
        http(span(&nginx, Server, 1, 0, (0, 4_200 * MS)), "GET", "/shop/checkout"),
        http(span(&nginx, Client, 2, 1, (2 * MS, 4_195 * MS)), "GET", "/shop/checkout"),
        http(span(&node, Server, 3, 2, (8 * MS, 4_190 * MS)), "GET", "/shop/checkout"),
        http(span(&node, Client, 4, 3, (20 * MS, 3_950 * MS)), "GET", "/products"),
        http(span(&python, Server, 5, 4, (120 * MS, 3_940 * MS)), "GET", "/products"),
        sql(span(&python, Client, 6, 5, (121 * MS, 123 * MS)), "SELECT categories"),
    ];
    for n in 0..87 {
        let start = 130 * MS + n * 43 * MS;
        spans.push(sql(span(&python, Client, 100 + n, 5, (start, start + 41 * MS)), "SELECT products"));
    }
    let mut payment = failed(http(span(&node, Client, 7, 3, (3_960 * MS, 4_160 * MS)), "POST", "/v1/charges"), "502");
    payment.attributes.push((key::SERVER_ADDRESS.into(), "api.pay.example".into()));
    payment.attributes.push((key::SERVER_PORT.into(), 443i64.into()));
    spans.push(payment);
    // As they arrive: those that end first come first.
    spans.sort_by_key(|span| span.end);
    spans
}

#[test]
fn a_slow_checkout() {
    assert_eq!(
        render(&shop(), &PLAIN),
        "\
GET /shop/checkout  nginx  4.20 s  94 spans, 3 services  0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
nginx  GET /shop/checkout                                      4.20 s  ███████████████████████████████████████
└─ storefront  GET /shop/checkout                              4.19 s  ███████████████████████████████████████
   ├─ catalog  GET /products                                   3.93 s  ░███████████████████████████████████▌
   │  ├─ → postgresql  SELECT categories                      2.00 ms   ▏
   │  └─ → postgresql  SELECT products ×87  repeated query     3.57 s   ███████████████████████████████████
   └─ → api.pay.example  POST /v1/charges  ✗ 502               200 ms                                       █▌
"
    );
}

#[test]
fn colour_marks_services_notices_and_errors() {
    let text = render(&shop(), &Style { color: true, ..PLAIN });
    assert!(text.contains("\u{1b}[1;33m  repeated query\u{1b}[0m"));
    assert!(text.contains("\u{1b}[31m  ✗ 502\u{1b}[0m"));
    let [catalog] = ["catalog\u{1b}[0m"].map(|end| text.split(end).next().unwrap().rsplit('\u{1b}').next().unwrap());
    assert!(catalog.starts_with("[38;5;"), "{catalog}");
    let mut bare = String::new();
    for (at, part) in text.split('\u{1b}').enumerate() {
        bare.push_str(if at == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(bare, render(&shop(), &PLAIN));
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    let mut backwards = shop();
    backwards.reverse();
    assert_eq!(render(&backwards, &PLAIN), render(&shop(), &PLAIN));
}

#[test]
fn every_line_fits_whatever_the_names_are() {
    let long = samples::process("a-service-with-a-name-that-is-much-longer-than-anybody-would-like-it-to-be", 1);
    let name = "SELECT 日本語 \u{1b}]0;title\u{7} FROM a_table_with_a_very_long_name_that_does_not_fit anywhere";
    let spans: Vec<Span> = (1..40)
        .map(|id| failed(sql(span(&long, Kind::Client, id, id - 1, (id * MS, 100 * MS)), name), "connection_reset"))
        .collect();
    for width in [0, 60, 80, 133, 400] {
        let text = render(&spans, &Style { width, color: false });
        assert!(!text.contains(['\u{1b}', '\u{7}']));
        for line in text.lines().skip(1) {
            assert!(crate::export::plain::columns(line) <= width.max(60), "{width}: {line}");
        }
        assert_eq!(text.lines().count(), 40);
    }
}

#[test]
fn calls_to_one_place_are_folded_with_what_is_below_them() {
    let (web, api) = (samples::process("web", 1), samples::process("api", 2));
    let mut spans = vec![http(span(&web, Kind::Server, 1, 0, (0, 100 * MS)), "GET", "/")];
    let paths = ["/user/1", "/user/2", "/user/3", "/user/4", "/user/5"];
    for (n, path) in (0..).zip(paths) {
        let (id, start) = (10 + 3 * n, 10 * n * MS);
        spans.push(http(span(&web, Kind::Client, id, 1, (start, start + 8 * MS)), "GET", path));
        spans.push(http(span(&api, Kind::Server, id + 1, id, (start + 2 * MS, start + 7 * MS)), "GET", path));
        spans.push(sql(span(&api, Kind::Client, id + 2, id + 1, (start + 3 * MS, start + 6 * MS)), "SELECT users"));
    }
    spans.push(http(span(&web, Kind::Client, 90, 1, (60 * MS, 61 * MS)), "GET", "/cart"));
    assert_eq!(
        render(&spans, &Style { width: 80, color: false }),
        "\
GET /  web  100 ms  17 spans, 2 services  0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
web  GET /                                100 ms  ██████████████████████████████
├─ api  GET /user/… ×5  repeated call    40.0 ms  ▓█░▓█░▓█░▓█░▓█░
│  └─ → postgresql  SELECT users ×5      15.0 ms   █░░█░░█░░█░░█
└─ web  GET /cart                        1.00 ms                    ▌
"
    );
}

#[test]
fn a_caller_that_is_not_seen_and_spans_in_a_circle() {
    let cron = samples::process("cron", 1);
    let orphan = sql(span(&cron, Kind::Client, 1, 99, (0, 5 * MS)), "DELETE sessions");
    let circle = [(2, 3), (3, 2), (4, 4)].map(|(id, parent)| span(&cron, Kind::Server, id, parent, (MS, 2 * MS)));
    let spans = [vec![orphan], circle.to_vec()].concat();
    assert_eq!(
        render(&spans, &Style { width: 80, color: false }),
        "\
DELETE sess…  cron  5.00 ms  4 spans, 1 service  0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
cron → postgresql  DELETE sessions    5.00 ms  █████████████████████████████████
cron  GET                             1.00 ms        ▐██████
… 2 more spans not shown
"
    );
    assert_eq!(render(&[], &PLAIN), "");
}

fn poll(tree: &mut Tree, now: u64) -> String {
    let mut out = Vec::new();
    tree.poll(now, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_trace_is_shown_when_it_is_quiet() {
    let web = samples::process("web", 1);
    let mut tree = Tree::new(PLAIN);
    tree.push(vec![span(&web, Kind::Client, 2, 1, (0, MS))], 0);
    assert_eq!(poll(&mut tree, QUIET_FOREIGN), "", "its parent is to come");
    let came = QUIET_FOREIGN;
    tree.push(vec![span(&web, Kind::Server, 1, 0, (0, MS))], came);
    assert_eq!(poll(&mut tree, came + QUIET / 2), "");
    assert!(poll(&mut tree, came + QUIET).contains("2 spans, 1 service"));
    assert_eq!(poll(&mut tree, came + 2 * QUIET), "");
    tree.push(vec![span(&web, Kind::Client, 3, 1, (0, MS))], came + 3 * QUIET);
    assert!(poll(&mut tree, came + 4 * QUIET).lines().next().unwrap().ends_with("(continued)"));
    let mut out = Vec::new();
    tree.push(vec![span(&web, Kind::Client, 4, 1, (0, MS))], came + 5 * QUIET);
    tree.finish(&mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("1 span, 1 service"));
}

#[test]
fn a_trace_that_began_elsewhere_is_not_waited_for() {
    let web = samples::process("web", 1);
    let mut tree = Tree::new(PLAIN);
    let mut server = span(&web, Kind::Server, 1, 9, (0, MS));
    server.parent = server.parent.map(|parent| Parent { evidence: Evidence::Header, remote: true, ..parent });
    tree.push(vec![server], 0);
    assert_eq!(poll(&mut tree, QUIET), "");
    assert!(poll(&mut tree, QUIET_FOREIGN).starts_with("GET  web  1.00 ms"));
    // And one whose root was lost does not wait for ever.
    tree.push(vec![Span { trace_id: TraceId([11; 16]), ..span(&web, Kind::Client, 2, 9, (0, MS)) }], 0);
    assert_eq!(poll(&mut tree, QUIET_UNFINISHED - 1), "");
    assert!(poll(&mut tree, QUIET_UNFINISHED).starts_with("GET  web  1.00 ms"));
}

#[test]
fn what_waits_is_bounded() {
    let web = samples::process("web", 1);
    let mut tree = Tree::new(PLAIN);
    for n in 0..=MAX_TRACES as u64 {
        let mut span = span(&web, Kind::Client, 1, 9, (0, MS));
        span.trace_id = TraceId([[1; 8], n.to_be_bytes()].concat().try_into().unwrap());
        tree.push(vec![span], 0);
    }
    let text = poll(&mut tree, 0);
    assert!(text.contains("01010101010101010000000000000000") && text.matches("1 span").count() == 1, "{text}");
    assert_eq!((tree.open.len(), tree.waiting), (MAX_TRACES, MAX_TRACES));

    let mut tree = Tree::new(PLAIN);
    let spans = (1..=MAX_TRACE_SPANS as u64 + 7).map(|id| span(&web, Kind::Server, id, id - 1, (id, 2 * MS)));
    tree.push(spans.collect(), 0);
    assert_eq!(tree.waiting, MAX_TRACE_SPANS);
    let text = poll(&mut tree, QUIET);
    assert!(text.ends_with("… 4507 more spans not shown\n\n"), "{}", text.lines().last().unwrap());
    assert_eq!(tree.waiting, 0);
}
