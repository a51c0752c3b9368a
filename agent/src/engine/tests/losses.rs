//! Connections of all protocols side by side, their calls cut anywhere, their events lost anywhere. Requests and responses carry
//! numbers, so that a response that is given to another request shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
};

use proptest::prelude::*;

use super::*;
use crate::traces::span::Value;

/// Exchanges of a connection.
const EXCHANGES: usize = 12;

/// Of which this many come after the last loss.
const SPARED: usize = 5;

/// Of which the last ones are seen whole again: the others may be needed to find out where messages begin.
const WHOLE: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    HttpServer,
    HttpClient,
    FastCgiServer,
    FastCgiClient,
    Postgres,
    MySql,
}

const ALL: [Speaks; 6] = [
    Speaks::HttpServer,
    Speaks::HttpClient,
    Speaks::FastCgiServer,
    Speaks::FastCgiClient,
    Speaks::Postgres,
    Speaks::MySql,
];

impl Speaks {
    fn is_server(self) -> bool {
        matches!(self, Speaks::HttpServer | Speaks::FastCgiServer)
    }

    fn port(self) -> u16 {
        match self {
            Speaks::HttpServer | Speaks::HttpClient => 80,
            Speaks::FastCgiServer | Speaks::FastCgiClient => 9000,
            Speaks::Postgres => 5432,
            Speaks::MySql => 3306,
        }
    }

    /// Start-up: each side's bytes in turn, the client's first where it speaks first.
    fn startup(self) -> Vec<(bool, Vec<u8>)> {
        match self {
            Speaks::HttpServer | Speaks::HttpClient | Speaks::FastCgiServer | Speaks::FastCgiClient => Vec::new(),
            Speaks::Postgres => vec![
                (true, b"\0\0\0\x11\0\x03\0\0user\0me\0\0".to_vec()),
                (false, [message(b'R', &[0; 4]), message(b'Z', b"I")].concat()),
            ],
            Speaks::MySql => {
                let mut greeting = b"\x0a8.0.36\0\x08\0\0\0saltsalt\0\x08\x82\x2d\x02\0\x08\0\x15".to_vec();
                greeting.extend(b"\0\0\0\0\0\0\0\0\0\0saltsaltsalt\0caching_sha2_password\0");
                let mut answer = b"\x08\x82\x08\0\0\0\0\x01\x2d".to_vec();
                answer.extend([0; 23]);
                answer.extend(b"app\0\x05hash!shop\0caching_sha2_password\0");
                vec![(false, packet(0, &greeting)), (true, packet(1, &answer)), (false, packet(2, b"\0\0\0\x02\0\0\0"))]
            }
        }
    }

    fn request(self, n: usize) -> Vec<u8> {
        match self {
            Speaks::HttpServer | Speaks::HttpClient if n % 4 == 1 => {
                format!("POST /t{n} HTTP/1.1\r\nContent-Length: 30\r\n\r\n{}", "x".repeat(30)).into_bytes()
            }
            Speaks::HttpServer | Speaks::HttpClient => get(&format!("/t{n}")),
            Speaks::FastCgiServer | Speaks::FastCgiClient => {
                let (uri, body) = (format!("/t{n}"), "x".repeat(n % 4 * 30));
                let length = body.len().to_string();
                let pairs = [("REQUEST_METHOD", "PUT"), ("REQUEST_URI", &*uri), ("CONTENT_LENGTH", &length)];
                let pair = |(name, value): (&str, &str)| format!("{}{}{name}{value}", octet(name), octet(value));
                let variables: String = pairs.into_iter().map(pair).collect();
                let begin = record(1, &[0, 1, 1, 0, 0, 0, 0, 0]);
                let body = if body.is_empty() { Vec::new() } else { record(5, body.as_bytes()) };
                [begin, record(4, variables.as_bytes()), record(4, b""), body, record(5, b"")].concat()
            }
            Speaks::Postgres if n % 4 == 1 => [
                message(b'P', format!("\0SELECT $1 FROM t{n}\0\0\0").as_bytes()),
                message(b'B', &[0; 8]),
                message(b'E', &[0; 5]),
                message(b'S', b""),
            ]
            .concat(),
            Speaks::Postgres => message(b'Q', format!("SELECT 1 FROM t{n}\0").as_bytes()),
            Speaks::MySql => packet(0, format!("\x03SELECT 1 FROM t{n}").as_bytes()),
        }
    }

    /// The response says the number: as status, as error code, or as number of rows.
    fn response(self, n: usize) -> Vec<u8> {
        match self {
            Speaks::HttpServer | Speaks::HttpClient if n.is_multiple_of(3) => {
                let status = 220 + n;
                format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").into_bytes()
            }
            Speaks::HttpServer | Speaks::HttpClient => {
                format!("HTTP/1.1 {} X\r\nContent-Length: 40\r\n\r\n{}", 220 + n, "y".repeat(40)).into_bytes()
            }
            Speaks::FastCgiServer | Speaks::FastCgiClient => {
                let head = format!("Status: {} X\r\n\r\n{}", 220 + n, "y".repeat(n));
                [record(6, head.as_bytes()), record(6, &[b'y'; 40]), record(3, &[0; 8])].concat()
            }
            Speaks::Postgres => {
                let begin = if n % 4 == 1 { [message(b'1', b""), message(b'2', b"")].concat() } else { Vec::new() };
                let row = message(b'D', b"\0\x01\0\0\0\x01x");
                let end = if n.is_multiple_of(3) {
                    [row.repeat(n), message(b'C', format!("SELECT {n}\0").as_bytes())].concat()
                } else {
                    message(b'E', format!("SERROR\0VERROR\0C{n:05}\0Mno\0\0").as_bytes())
                };
                [begin, end, message(b'Z', b"I")].concat()
            }
            Speaks::MySql if n.is_multiple_of(3) => {
                let column = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
                let eof = b"\xfe\0\0\x02\0";
                let rows = vec![&b"\x01x"[..]; n];
                let payloads = [&[&b"\x01"[..], column, eof][..], &rows, &[eof]].concat();
                (1..).zip(payloads).flat_map(|(sequence, payload)| packet(sequence, payload)).collect()
            }
            Speaks::MySql => {
                let code = (1000 + n as u16).to_le_bytes();
                packet(1, &[&[0xff], &code[..], b"#42S02no"].concat())
            }
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// FastCGI's: of the one request that there is at a time.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[1, kind, 0, 1, 0, content.len() as u8, 0, 0], content].concat()
}

/// A length of one byte.
fn octet(text: &str) -> char {
    char::from(text.len() as u8)
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes()[..3], &[sequence], payload].concat()
}

/// What each connection does, call by call.
struct Traffic {
    world: World,
    /// Which exchange of a connection an event belongs to; none for what comes before the first.
    exchange: Vec<Option<usize>>,
}

impl Traffic {
    /// `order` decides which connection goes on next, `piece` how long the pieces are that a call is cut into.
    fn new(order: &[u8], piece: usize) -> Self {
        let mut world = World::new();
        let mut waiting = Vec::new();
        for (n, speaks) in ALL.into_iter().chain(ALL).enumerate() {
            let thread = (1 + n as Pid, 1);
            let socket = match speaks {
                _ if speaks.is_server() => world.accept(thread),
                _ => world.connect(thread, speaks.port()),
            };
            // Where a new connection's directions begin is known to the kernel.
            let positions = [Direction::Read, Direction::Write].map(|direction| world.positions[&(socket, direction)]);
            let Some(Event::Socket(announced)) = world.events.last_mut() else { panic!("a socket is announced") };
            announced.positions = Some(positions);
            let startup = speaks.startup().into_iter().map(|(client, bytes)| (None, client, bytes));
            let exchanges = (0..EXCHANGES).flat_map(|n| {
                let number = n + 1;
                [(Some(n), true, speaks.request(number)), (Some(n), false, speaks.response(number))]
            });
            waiting.push((thread, socket, speaks, startup.chain(exchanges).collect::<VecDeque<_>>()));
        }
        let mut exchange = vec![None; world.events.len()];
        let mut order = order.iter().cycle();
        while !waiting.is_empty() {
            let next = usize::from(*order.next().unwrap()) % waiting.len();
            let (thread, socket, speaks, calls) = &mut waiting[next];
            let (number, client, bytes) = calls.pop_front().unwrap();
            let direction = if client != speaks.is_server() { Direction::Write } else { Direction::Read };
            for part in bytes.chunks(piece) {
                world.moved(*thread, *socket, direction, part);
                exchange.push(number);
            }
            if calls.is_empty() {
                waiting.remove(next);
            }
        }
        Self { world, exchange }
    }

    fn run(&self) -> (Vec<Span>, Engine) {
        let options = Options { returned_rows: true, ..Options::default() };
        let mut engine = Engine::new(options, Evidence::Task);
        let mut output = Output::default();
        for event in &self.world.events {
            engine.step(event.clone(), &mut output);
            assert!(engine.held() <= HELD_LIMIT);
        }
        engine.finish(&mut output);
        assert_eq!(engine.accounts().unaccounted_requests(), 0);
        (output.spans, engine)
    }
}

/// The numbers that the request and the response carry, where they were seen.
fn numbers(span: &Span) -> (Option<usize>, Option<usize>) {
    let text = |key: &str| {
        span.attribute(key).map(|value| match value {
            Value::Int(n) => n.to_string(),
            Value::String(text) => text.to_string(),
            other => panic!("{key}: {other:?}"),
        })
    };
    let request = text("url.path").or_else(|| text("url.full")).or_else(|| text("db.query.summary"));
    let number = |key: &str, base| text(key).map(|text| text.parse::<usize>().unwrap() - base);
    let code = if text("db.system.name").as_deref() == Some("mysql") { 1000 } else { 0 };
    let response = number("http.response.status_code", 220)
        .or_else(|| number("db.response.status_code", code))
        .or_else(|| number("db.response.returned_rows", 0));
    (request.and_then(|request| request.rsplit('t').next()?.parse().ok()), response)
}

/// Neither number, or the same.
fn is_right(span: &Span) -> bool {
    let (request, response) = numbers(span);
    request.zip(response).is_none_or(|(request, response)| request == response)
}

/// What is the same however the calls are cut: everything but the times.
fn essence(spans: Vec<Span>) -> Vec<Span> {
    spans.into_iter().map(|span| Span { start: 0, end: 0, ..span }).collect()
}

/// Few, unless `PROPTEST_CASES` says otherwise: each is a whole run of the engine.
fn cases() -> u32 {
    env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn cuts_change_nothing(order in prop::collection::vec(any::<u8>(), 1..50), piece in 1..60_usize) {
        let (whole, engine) = Traffic::new(&order, usize::MAX).run();
        prop_assert_eq!(whole.len(), 2 * ALL.len() * EXCHANGES);
        let losses: Vec<_> = engine.losses().iter().collect();
        prop_assert_eq!(losses, [], "{:?}", whole);
        for span in &whole {
            let (request, response) = numbers(span);
            prop_assert!(request.is_some() && request == response, "{:?}", span);
        }
        let (cut, _) = Traffic::new(&order, piece).run();
        prop_assert_eq!(essence(whole), essence(cut));
    }

    /// Requests, responses, and both: whatever is missing, a response is never given to another request.
    #[test]
    fn lost_events_mix_nothing_up_and_are_got_over(
        order in prop::collection::vec(any::<u8>(), 1..50),
        piece in prop_oneof![Just(usize::MAX), 5..60_usize],
        lost in prop::collection::vec((any::<prop::sample::Index>(), 1..6_usize), 1..12),
    ) {
        let mut traffic = Traffic::new(&order, piece);
        let candidates: Vec<usize> = (0..traffic.exchange.len())
            .filter(|&at| traffic.exchange[at].is_some_and(|n| n < EXCHANGES - SPARED))
            .collect();
        let pid = |at: usize| match &traffic.world.events[at] {
            Event::Data(data) => data.task.pid,
            other => panic!("{other:?} belongs to no exchange"),
        };
        // Some in a row on one connection: a response and the next request among them.
        let lost: BTreeSet<usize> = lost
            .iter()
            .flat_map(|(index, row)| {
                let first = *index.get(&candidates);
                let after = candidates.iter().copied().skip_while(move |&at| at < first);
                after.filter(move |&at| pid(at) == pid(first)).take(*row)
            })
            .collect();
        for &at in lost.iter().rev() {
            traffic.world.events.remove(at);
        }
        let (spans, engine) = traffic.run();
        let mut last: BTreeMap<Pid, Vec<usize>> = BTreeMap::new();
        for span in &spans {
            prop_assert!(is_right(span), "{:?}", span);
            if let (Some(request), Some(_)) = numbers(span)
                && request > EXCHANGES - WHOLE
            {
                last.entry(span.process.pid).or_default().push(request);
            }
        }
        prop_assert_eq!(last.len(), 2 * ALL.len(), "{:?}: {:?}", last, engine.losses());
        for (pid, whole) in last {
            prop_assert_eq!(whole.len(), WHOLE, "process {}", pid);
        }
    }

    /// Sockets, processes and beginnings included: every request is accounted for, and what is held is counted.
    #[test]
    fn any_event_may_be_lost(
        order in prop::collection::vec(any::<u8>(), 1..50),
        piece in prop_oneof![Just(usize::MAX), 5..60_usize],
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let mut traffic = Traffic::new(&order, piece);
        for index in lost {
            let at = index.index(traffic.world.events.len());
            traffic.world.events.remove(at);
        }
        for span in traffic.run().0 {
            prop_assert!(span.start <= span.end);
        }
    }
}
