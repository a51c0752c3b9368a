#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use crate::captures::testing::Tcp;

const V4: (&str, &str) = ("10.0.0.1:50000", "10.0.0.2:80");
const V6: (&str, &str) = ("[2001:db8::1]:50000", "[2001:db8::2]:80");

fn tcp((from, to): (&str, &str), payload: &[u8]) -> Tcp {
    Tcp {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        sequence: 7,
        acknowledged: Some(9),
        syn: false,
        fin: true,
        rst: false,
        payload: payload.to_vec(),
    }
}

fn segment(link: i32, bytes: &[u8]) -> Result<Option<Segment<'_>>, Unreadable> {
    Packet { time: 0, link, bytes, length: bytes.len() as u64 }.segment()
}

fn assert_read(link: i32, bytes: &[u8], sent: &Tcp) {
    let segment = segment(link, bytes).unwrap().unwrap_or_else(|| panic!("no TCP in {bytes:x?}"));
    assert_eq!((segment.source, segment.destination), (sent.from, sent.to));
    assert_eq!((segment.sequence, segment.acknowledged), (7, Some(9)));
    assert_eq!((segment.syn, segment.fin, segment.rst), (false, true, false));
    assert_eq!((segment.payload, segment.length), (sent.payload.as_slice(), sent.payload.len() as u64));
}

#[test]
fn every_link_type_and_both_versions_of_ip() {
    for (addresses, ether_type) in [(V4, [0x08, 0x00]), (V6, [0x86, 0xdd])] {
        let sent = tcp(addresses, b"hello");
        let ip = sent.ip();
        let macs = [2; 12];
        let behind = |headers: &[&[u8]]| [headers.concat(), ip.clone()].concat();
        let vlan: &[u8] = &[0x81, 0x00, 0x00, 0x05];
        let outer: &[u8] = &[0x88, 0xa8, 0x00, 0x06];
        assert_read(link::ETHERNET, &behind(&[&macs, &ether_type]), &sent);
        assert_read(link::ETHERNET, &behind(&[&macs, vlan, &ether_type]), &sent);
        assert_read(link::ETHERNET, &behind(&[&macs, outer, vlan, &ether_type]), &sent);
        assert_read(link::LINUX_SLL, &behind(&[&[0, 0, 3, 4, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], &ether_type]), &sent);
        assert_read(link::LINUX_SLL, &behind(&[&[0; 12], &[0, 0], vlan, &ether_type]), &sent);
        assert_read(link::LINUX_SLL2, &behind(&[&ether_type, &[0; 18]]), &sent);
        for raw in [101, 12, 14, if sent.from.is_ipv4() { 228 } else { 229 }] {
            assert_read(raw, &ip, &sent);
        }
        // AF_INET and what AF_INET6 is on macOS, in the byte order of either machine.
        for family in [[2, 0, 0, 0], [0, 0, 0, 30]] {
            assert_read(link::NULL, &behind(&[&family]), &sent);
            assert_read(link::LOOP, &behind(&[&family]), &sent);
        }
    }
}

#[test]
fn padding_is_no_payload() {
    let sent = tcp(V4, b"");
    let mut frame = sent.ethernet();
    frame.resize(60, 0);
    assert_read(link::ETHERNET, &frame, &sent);
}

#[test]
fn extension_headers_of_ipv6() {
    let sent = tcp(V6, b"hello");
    let mut ip = sent.ip();
    let tcp = ip.split_off(40);
    let hop_by_hop = [6, 0, 1, 4, 0, 0, 0, 0]; // the next header is TCP; padding
    ip[5] += 8;
    ip[6] = 0;
    assert_read(link::RAW, &[ip, hop_by_hop.to_vec(), tcp].concat(), &sent);
}

#[test]
fn mapped_addresses_are_those_of_ipv4() {
    let bytes = tcp(("[::ffff:10.0.0.1]:50000", "[::ffff:10.0.0.2]:80"), b"").ip();
    assert_eq!(segment(link::RAW, &bytes).unwrap().unwrap().source, V4.0.parse().unwrap());
}

#[test]
fn what_a_snap_length_cuts_off_has_a_length() {
    for addresses in [V4, V6] {
        let frame = tcp(addresses, &[b'x'; 100]).ethernet();
        let headers = frame.len() - 100;
        for captured in 0..frame.len() {
            let packet =
                Packet { time: 0, link: link::ETHERNET, bytes: &frame[..captured], length: frame.len() as u64 };
            let Ok(Some(segment)) = packet.segment() else {
                assert!(captured < headers, "{captured}");
                continue;
            };
            assert!(captured >= headers);
            assert_eq!((segment.payload.len(), segment.length), (captured - headers, 100), "{captured}");
        }
    }
}

#[test]
fn a_length_that_is_left_to_the_network_card() {
    let mut ip = tcp(V4, &[b'x'; 100]).ip();
    ip[2..4].copy_from_slice(&[0, 0]);
    let packet = Packet { time: 0, link: link::RAW, bytes: &ip[..60], length: ip.len() as u64 };
    let segment = packet.segment().unwrap().unwrap();
    assert_eq!((segment.payload.len(), segment.length), (20, 100));
}

#[test]
fn what_is_not_tcp_and_what_cannot_be_read() {
    let arp = [&[2; 12], [0x08, 0x06].as_slice(), &[0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
    assert_eq!(segment(link::ETHERNET, &arp), Ok(None));
    let mut udp = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(53, 53).write(&mut udp, b"hello").unwrap();
    assert_eq!(segment(link::RAW, &udp), Ok(None));
    let mut fragment = tcp(V4, b"hello").ip();
    fragment[6] = 0x20; // more fragments
    assert_eq!(segment(link::RAW, &fragment), Err(Unreadable));
    assert_eq!(segment(link::ETHERNET, &[0; 5]), Err(Unreadable));
    assert_eq!(segment(link::RAW, &[]), Err(Unreadable));
    assert_eq!(segment(105, &tcp(V4, b"hello").ip()), Err(Unreadable), "IEEE 802.11");
}
