//! Real conversations: a capture of a JDBC client (78 packets, one connection, from its middle on).

use super::*;

/// The TCP payloads of a classic pcap file of Ethernet frames with IPv4, in order: whether the client sent them, and when (ns).
fn payloads(pcap: &[u8], server_port: u16) -> Vec<(bool, u64, u32, Vec<u8>)> {
    let little = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((little(0), little(20)), (0xa1b2_c3d4, 1), "a pcap of Ethernet frames");
    let mut found = Vec::new();
    let mut at = 24;
    while at < pcap.len() {
        let (seconds, micros, length) = (little(at), little(at + 4), little(at + 8));
        let packet = &pcap[at + 16 + 14..at + 16 + length];
        at += 16 + length;
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let tcp = &packet[usize::from(packet[0] & 15) * 4..total];
        let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
        let from_client = u16::from_be_bytes([tcp[0], tcp[1]]) != server_port;
        let time = (seconds * 1_000_000 + micros) as u64 * 1000;
        found.push((from_client, time, sequence, payload.to_vec()));
    }
    found
}

#[test]
fn a_jdbc_client() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/pcap/postgre/pgsql-all.pcap");
    let pcap = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut wire = Wire::older(Origin::Unknown);
    let mut executed = 0;
    for (from_client, time, position, bytes) in payloads(&pcap, 8000) {
        let direction = if from_client { Direction::Write } else { Direction::Read };
        wire.time = time;
        wire.positions[usize::from(from_client)] = position;
        wire.moved(direction, &bytes, bytes.len(), 0);
        // In this capture every request ends with an unlimited Execute of the unnamed portal, and Sync.
        executed += usize::from(from_client && bytes.ends_with(&[execute("", 0), sync()].concat()));
    }
    assert_eq!(executed, 32);
    assert!(consistent(&wire.signals));
    let other = |signal: &&Signal| {
        matches!(signal, Signal::Incomplete(_))
            || matches!(signal, Signal::Lost(loss) if *loss != Loss::UnknownStatement)
    };
    assert_eq!(wire.signals.iter().find(other), None);
    let exchanges = wire.exchanges();
    assert_eq!(exchanges.len(), executed);
    assert!(
        exchanges.iter().all(|exchange| attribute(exchange, "error.type").is_none() && exchange.end > exchange.start)
    );
    let rows: u64 =
        exchanges.iter().map(|one| attribute(one, "db.response.returned_rows").unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(rows, 33);
    let named: Vec<_> =
        exchanges.iter().map(|exchange| exchange.name.as_ref()).filter(|name| *name != "postgresql").collect();
    assert_eq!(named.len(), 6);
    assert_eq!(named[..2], ["SELECT", "select mil.mil_t_itemapanage"]);
    // A value in the capture's own SQL.
    assert_eq!(attribute(&exchanges[0], "db.query.text").as_deref(), Some("SELECT ?"));
}
