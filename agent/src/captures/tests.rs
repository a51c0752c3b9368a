//! Whole captures, made up, through the engine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Cursor;

use proptest::prelude::*;

use super::{
    testing::{By, Tcp, Wire, request, response, tcp_pcap},
    *,
};
use crate::{
    engine::{Engine, Output},
    event::{Address, End, Origin},
    protocols::Options,
    streams::Losses,
    traces::span::{Evidence, Kind, Span, Value},
};

const CLIENT: &str = "10.0.0.1:50000";
const SERVER: &str = "10.0.0.2:80";
/// Sequence numbers of the two SYNs: one wraps soon, the other has just done.
const FIRST: (u32, u32) = (u32::MAX - 100, 3);

fn events(file: &[u8]) -> Result<Vec<Event>, FileError> {
    let beginning = file[..file.len().min(BEGINNING as usize)].to_vec();
    let mut reader = Reader::new("test".to_owned(), beginning.clone(), Cursor::new(file[beginning.len()..].to_vec()))?;
    std::iter::from_fn(|| reader.next_event().transpose()).collect()
}

fn replay(packets: &[Tcp]) -> (Vec<Span>, Losses) {
    let mut engine = Engine::new(Options::default(), Evidence::Task);
    let mut output = Output::default();
    for event in events(&tcp_pcap(packets)).unwrap() {
        engine.step(event, &mut output);
    }
    engine.finish(&mut output);
    (output.spans, engine.losses().clone())
}

fn attribute(span: &Span, name: &str) -> String {
    match span.attribute(name) {
        Some(Value::String(text)) => text.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Kind, service, path and status of each span, sorted: what must not depend on how the bytes came.
fn told(spans: &[Span]) -> Vec<(String, String, String, String)> {
    let mut told: Vec<_> = spans
        .iter()
        .map(|span| {
            let path = attribute(span, if span.kind == Kind::Server { "url.path" } else { "url.full" });
            let path = path.rsplit('/').next().unwrap_or_default().to_owned();
            let status = attribute(span, "http.response.status_code");
            (format!("{:?}", span.kind), span.process.service_name().to_owned(), path, status)
        })
        .collect();
    told.sort();
    told
}

/// A connection with so many requests, each with another status, and bodies of these lengths.
fn conversation(requests: usize, body: usize, segment: usize) -> Wire {
    let mut wire = Wire::connect(CLIENT, SERVER, FIRST, segment);
    for number in 0..requests {
        wire.say(By::Client, &request(&format!("/{number}"), body));
        wire.say(By::Server, &response(status(number), body));
    }
    wire
}

fn status(number: usize) -> u16 {
    200 + u16::try_from(number).unwrap()
}

fn expected(requests: impl IntoIterator<Item = usize>) -> Vec<(String, String, String, String)> {
    let both = requests.into_iter().flat_map(|number| {
        [("Client", "10.0.0.1"), ("Server", "10.0.0.2:80")].map(|(kind, service)| {
            (kind.to_owned(), service.to_owned(), number.to_string(), status(number).to_string())
        })
    });
    let mut expected: Vec<_> = both.collect();
    expected.sort();
    expected
}

fn assert_whole(packets: &[Tcp], requests: usize) {
    let (spans, losses) = replay(packets);
    assert_eq!((told(&spans), losses), (expected(0..requests), Losses::default()));
}

#[test]
fn a_request_is_a_span_of_each_end() {
    let mut wire = conversation(1, 10, 1000);
    wire.finish(By::Client);
    wire.finish(By::Server);
    let (spans, losses) = replay(&wire.packets);
    assert_eq!((told(&spans), losses), (expected([0]), Losses::default()));
    let client = spans.iter().find(|span| span.kind == Kind::Client).unwrap();
    let server = spans.iter().find(|span| span.kind == Kind::Server).unwrap();
    let parent = server.parent.unwrap();
    assert_eq!((parent.span_id, parent.evidence, client.parent), (client.span_id, Evidence::Socket, None));
    // The request is the fourth packet, its answer the sixth.
    assert_eq!((server.start, server.end), (1_000_003_000_000, 1_000_005_000_000));
    assert_eq!((client.start, client.end), (server.start, server.end));
}

#[test]
fn what_an_end_would_know() {
    let mut wire = conversation(1, 0, 1000);
    wire.finish(By::Server);
    wire.finish(By::Client);
    let events = events(&tcp_pcap(&wire.packets)).unwrap();
    let sockets: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Socket(socket) => Some((socket.origin, &socket.local, &socket.peer)),
            _ => None,
        })
        .collect();
    let address = |text: &str| {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Address::Inet(address.ip(), address.port())
    };
    let (client, server) = (&address(CLIENT), &address(SERVER));
    assert_eq!(sockets, [(Origin::Connected, client, server), (Origin::Accepted, server, client)]);
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::End { socket, end, .. } => Some((*socket, *end)),
            _ => None,
        })
        .collect();
    use End::{Closed, PeerClosed, ShutWrite};
    assert_eq!(ends, [(2, ShutWrite), (1, PeerClosed), (1, ShutWrite), (2, PeerClosed), (1, Closed), (2, Closed)]);
    let exits = events.iter().filter(|event| matches!(event, Event::Exit { .. })).count();
    assert_eq!(exits, 2, "nobody has a connection any more");
}

#[test]
fn a_reset_is_an_error_of_the_other_end() {
    let mut wire = Wire::connect(CLIENT, SERVER, FIRST, 1000);
    wire.say(By::Client, &request("/0", 0));
    wire.packets.push(Tcp { rst: true, ..wire.packet(By::Server) });
    let (spans, losses) = replay(&wire.packets);
    let errors: Vec<_> = spans.iter().map(|span| (span.kind, attribute(span, "error.type"))).collect();
    assert!(errors.contains(&(Kind::Client, "connection_reset".to_owned())), "{errors:?}");
    assert_eq!((spans.len(), losses), (2, Losses::default()));
}

#[test]
fn the_same_addresses_again() {
    for proper_end in [true, false] {
        let mut packets = Vec::new();
        for (number, first) in [(0, FIRST), (1, (90_000, 80_000))] {
            let mut wire = Wire::connect(CLIENT, SERVER, first, 1000);
            wire.say(By::Client, &request(&format!("/{number}"), 0));
            wire.say(By::Server, &response(status(number), 0));
            if proper_end {
                wire.finish(By::Client);
                wire.finish(By::Server);
            }
            packets.extend(wire.packets);
        }
        assert_whole(&packets, 2);
    }
}

#[test]
fn every_packet_twice() {
    for close in [false, true] {
        let mut wire = conversation(3, 500, 100);
        if close {
            wire.finish(By::Server);
            wire.finish(By::Client);
        }
        let twice: Vec<Tcp> = wire.packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
        assert_whole(&twice, 3);
    }
}

#[test]
fn connections_caught_in_the_middle() {
    let wire = conversation(4, 300, 100);
    // The requests' first packets; what is under way at the beginning cannot be told.
    let begins = |packet: &Tcp| packet.payload.starts_with(b"POST");
    let starts: Vec<usize> = (0..wire.packets.len()).filter(|&at| begins(&wire.packets[at])).collect();
    assert_eq!(starts.len(), 4);
    for (skipped, &start) in starts.iter().enumerate() {
        let (spans, losses) = replay(&wire.packets[start..]);
        assert_eq!((told(&spans), losses), (expected(skipped..4), Losses::default()));
    }
    let (spans, _) = replay(&wire.packets[starts[1] + 1..]);
    assert_eq!(told(&spans), expected(2..4));
}

#[test]
fn who_serves_on_a_high_port_is_told_by_the_protocol() {
    let mut wire = Wire::connect("10.0.0.1:1024", "10.0.0.2:60000", FIRST, 1000);
    wire.say(By::Client, &request("/0", 0));
    wire.say(By::Server, &response(200, 0));
    let (spans, _) = replay(&wire.packets[3..]);
    let services: Vec<_> = told(&spans).into_iter().map(|(kind, service, ..)| (kind, service)).collect();
    let expected = [("Client", "10.0.0.1"), ("Server", "10.0.0.2:60000")];
    assert_eq!(services, expected.map(|(kind, service)| (kind.to_owned(), service.to_owned())));
}

#[test]
fn a_hole_at_the_end_is_no_closed_connection() {
    let mut wire = conversation(1, 300, 100);
    wire.finish(By::Server);
    wire.finish(By::Client);
    let last = wire.packets.iter().rposition(|packet| packet.payload.ends_with(b"y")).unwrap();
    wire.packets.remove(last);
    let (spans, losses) = replay(&wire.packets);
    assert_eq!(losses.get(Loss::PacketMissing), 1);
    // The missing bytes are the body's, whose length is known: nothing that matters is missing.
    assert_eq!(told(&spans), expected([0]));
}

#[test]
fn an_acknowledged_hole_is_passed_when_it_is_old_and_not_at_once() {
    let wire = conversation(2, 1000, 100);
    // A packet of the first response's body comes after its acknowledgement: a capture's disorder.
    let body = |packet: &Tcp| packet.from == SERVER.parse().unwrap() && packet.payload.iter().all(|&byte| byte == b'y');
    let at = wire.packets.iter().position(|packet| body(packet) && !packet.payload.is_empty()).unwrap();
    let acknowledged = (at..).find(|&at| wire.packets[at].payload.is_empty()).unwrap();
    let mut late = wire.packets.clone();
    let packet = late.remove(at);
    late.insert(acknowledged, packet);
    assert_whole(&late, 2);
}

#[test]
fn the_same_file_gives_the_same_ids_and_another_file_others() {
    let ids = |requests| replay(&conversation(requests, 0, 1000).packets).0[0].trace_id;
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
}

#[test]
fn a_response_that_is_missing_from_the_beginning_on() {
    let mut packets = conversation(3, 0, 1000).packets;
    packets.retain(|packet| !packet.payload.starts_with(b"HTTP/1.1 200"));
    packets.remove(1); // where the server's bytes begin
    let (spans, losses) = replay(&packets);
    let answered: Vec<_> = told(&spans).into_iter().filter(|(.., status)| !status.is_empty()).collect();
    assert_eq!(answered, expected(1..3));
    assert_eq!(losses.get(Loss::PacketMissing), 1);
}

#[test]
fn memory_for_what_waits_is_bounded() {
    let mut wire = Wire::connect(CLIENT, SERVER, FIRST, 60_000);
    wire.say(By::Client, &request("/0", 20_000_000));
    wire.say(By::Server, &response(200, 0));
    let mut packets = wire.packets;
    packets.remove(4); // the second packet of the body
    // Its receiver never says what it has.
    for packet in &mut packets {
        packet.acknowledged = packet.acknowledged.map(|_| FIRST.0.wrapping_add(1));
    }
    let (spans, losses) = replay(&packets);
    assert_eq!(losses.get(Loss::PacketMissing), 1);
    assert_eq!(told(&spans), expected([0]));
}

/// A connection of many small messages, so that most packets matter.
fn packets() -> impl Strategy<Value = Vec<Tcp>> {
    (1usize..6, 0usize..200, 20usize..300)
        .prop_map(|(requests, body, segment)| conversation(requests, body, segment).packets)
}

proptest! {
    /// Packets of one burst of one side come in another order, some of them twice: nothing changes.
    #[test]
    fn disorder_changes_nothing(
        (requests, body, segment) in (1usize..5, 0usize..300, 20usize..200),
        swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        twice in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut packets = conversation(requests, body, segment).packets;
        for index in twice {
            let at = index.index(packets.len());
            packets.insert(at, packets[at].clone());
        }
        for index in swaps {
            let at = index.index(packets.len() - 1);
            let (one, next) = (&packets[at], &packets[at + 1]);
            if one.from == next.from && !one.payload.is_empty() && !next.payload.is_empty() {
                packets.swap(at, at + 1);
            }
        }
        let (spans, losses) = replay(&packets);
        prop_assert_eq!((told(&spans), losses), (expected(0..requests), Losses::default()));
    }

    /// Segments are cut elsewhere and sent again with more: nothing changes.
    #[test]
    fn overlaps_change_nothing(
        (requests, body, segment) in (1usize..5, 0usize..300, 50usize..200),
        again in prop::collection::vec((any::<prop::sample::Index>(), 1usize..50, 1usize..50), 0..20),
    ) {
        let mut packets = conversation(requests, body, segment).packets;
        for (index, back, cut) in again {
            let at = index.index(packets.len());
            let (before, packet) = packets.split_at(at);
            let packet = &packet[0];
            // With the end of the segment before it, and without its own end.
            let Some(previous) = before.last().filter(|previous| previous.from == packet.from && !previous.syn) else { continue };
            let back = back.min(previous.payload.len());
            let tail = &previous.payload[previous.payload.len() - back..];
            let kept = packet.payload.len().saturating_sub(cut);
            let payload = [tail, &packet.payload[..kept]].concat();
            let sequence = packet.sequence.wrapping_sub(u32::try_from(back).unwrap());
            let again = Tcp { payload, sequence, ..packet.clone() };
            packets.insert(at, again);
        }
        let (spans, losses) = replay(&packets);
        prop_assert_eq!((told(&spans), losses), (expected(0..requests), Losses::default()));
    }

    /// Whatever packets are missing: no answer goes to another request.
    #[test]
    fn missing_packets_mix_nothing_up(packets in packets(), missing in prop::collection::vec(any::<prop::sample::Index>(), 1..6)) {
        let mut packets = packets;
        for index in missing {
            if !packets.is_empty() {
                packets.remove(index.index(packets.len()));
            }
        }
        for (_, _, path, status) in told(&replay(&packets).0) {
            let right = path.parse::<u16>().map(|number| (200 + number).to_string());
            prop_assert!(status.is_empty() || right.as_ref() == Ok(&status), "{} {}", path, status);
        }
    }

    /// Packets that make no sense, in any order: no panic, and at most one span a request and end.
    #[test]
    fn nonsense(packets in packets(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..6, any::<u32>()), 1..20)) {
        let mut packets = packets;
        for (at, other, change, number) in changes {
            let (at, other) = (at.index(packets.len()), other.index(packets.len()));
            let packet = &mut packets[at];
            match change {
                0 => packet.syn = !packet.syn,
                1 => packet.fin = !packet.fin,
                2 => packet.rst = !packet.rst,
                3 => packet.sequence = number,
                4 => packet.acknowledged = Some(number),
                _ => packets.swap(at, other),
            }
        }
        replay(&packets);
    }

    /// Bytes that were changed anywhere in a file: no panic, and an end.
    #[test]
    fn damaged_packets(packets in packets(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30)) {
        let mut file = tcp_pcap(&packets);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = events(&file);
    }
}
