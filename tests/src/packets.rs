//! What went over a wire, from tcpdump's file: of each TCP connection what does not depend on time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};

/// TCP flags (RFC 9293 §3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// TCP options: no operation, selective acknowledgement (RFC 2018), timestamps (RFC 7323).
const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// A longer stream is cut into segments as the windows of the moment allow.
const SHORT: usize = 16 * 1024;

/// A TCP connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// From who connected.
    pub client: Direction,
    /// From who listened.
    pub server: Direction,
}

/// One direction of a connection: two runs of the same conversation have the same.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Direction {
    /// The bytes.
    pub stream: Vec<u8>,
    /// Options of the SYN, byte by byte, but for the values of timestamps; its window.
    pub handshake: (Vec<u8>, u16),
    /// Kinds of the options of all other segments, but for those that tell of losses and of padding.
    pub options: BTreeSet<u8>,
    /// Flags of all segments but those that merely acknowledge, reserved bits included.
    pub flags: BTreeSet<u16>,
    /// TOS, the fragment field's flags, TTL, length of the header in words; and the urgent pointer.
    pub headers: BTreeSet<(u8, u8, u8, u8, u16)>,
    /// Length of each segment with data, and whether it was pushed; empty where the stream is long.
    pub segments: Vec<(usize, bool)>,
}

/// Streams are shown by their length: what is compared may be long.
impl std::fmt::Debug for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stream, handshake, options, flags, headers, segments } = self;
        f.debug_struct("Direction")
            .field("bytes", &stream.len())
            .field("handshake", handshake)
            .field("options", options)
            .field("flags", flags)
            .field("headers", headers)
            .field("segments", segments)
            .finish()
    }
}

#[derive(Debug, Clone)]
struct Segment {
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    header: (u8, u8, u8, u8, u16),
    flags: u16,
    window: u16,
    sequence: u32,
    options: Vec<u8>,
    payload: Vec<u8>,
}

/// The connections of a file of tcpdump's, in the order of their beginning; `None` while one of them has not ended.
pub fn connections(file: &Path) -> Result<Option<Vec<Connection>>> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let (mut order, mut segments) = (Vec::new(), BTreeMap::<_, Vec<Segment>>::new());
    for packet in packets(&bytes)? {
        let segment = segment(packet).with_context(|| format!("a packet of {} bytes", packet.len()))?;
        let (from, to) = (segment.source, segment.destination);
        if u16::from(SYN) == segment.flags & u16::from(SYN | ACK) && !order.contains(&(from, to)) {
            order.push((from, to));
        }
        segments.entry((from, to)).or_default().push(segment);
    }
    let mut connections = Vec::new();
    for (client, server) in order {
        let (Some(sent), Some(received)) = (segments.get(&(client, server)), segments.get(&(server, client))) else {
            return Ok(None);
        };
        let (Some(client), Some(server)) = (direction(sent)?, direction(received)?) else { return Ok(None) };
        connections.push(Connection { client, server });
    }
    Ok(Some(connections))
}

/// The packets of a pcap file (draft-ietf-opsawg-pcap) in this machine's byte order with link type Ethernet.
fn packets(mut bytes: &[u8]) -> Result<Vec<&[u8]>> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const ETHERNET: u32 = 1;
    let header = take(&mut bytes, 24).context("no pcap header")?;
    let field = |bytes: &[u8], at| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    ensure!(
        field(header, 0) == Some(MAGIC) && field(header, 20) == Some(ETHERNET),
        "not tcpdump's file of an Ethernet"
    );
    let mut packets = Vec::new();
    while let Some(header) = take(&mut bytes, 16) {
        let (captured, length) = (field(header, 8).context("length")?, field(header, 12).context("length")?);
        ensure!(captured == length, "a packet was cut short");
        // The last one may be half written.
        let Some(packet) = take(&mut bytes, usize::try_from(captured)?) else { break };
        packets.push(packet);
    }
    Ok(packets)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// Ethernet, IPv4 (RFC 791) and TCP (RFC 9293).
fn segment(packet: &[u8]) -> Option<Segment> {
    let ip = packet.get(14..)?;
    let short = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let long = |bytes: &[u8], at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let words = ip.first()? & 0x0f;
    // What is sent in one piece to the interface may be longer than a packet: then the total length is 0.
    let total = match usize::from(short(ip, 2)?) {
        0 => ip.len(),
        total => total,
    };
    let tcp = ip.get(usize::from(words) * 4..total)?;
    let data = usize::from(tcp.get(12)? >> 4) * 4;
    let address = |at| Some(Ipv4Addr::from_bits(long(ip, at)?));
    Some(Segment {
        source: (address(12)?, short(tcp, 0)?),
        destination: (address(16)?, short(tcp, 2)?),
        header: (*ip.get(1)?, ip.get(6)? >> 5, *ip.get(8)?, words, short(tcp, 18)?),
        flags: short(tcp, 12)? & 0x0fff,
        window: short(tcp, 14)?,
        sequence: long(tcp, 4)?,
        options: tcp.get(20..data)?.to_vec(),
        payload: tcp.get(data..)?.to_vec(),
    })
}

/// Puts the segments of one direction together; `None` before its end has come.
fn direction(segments: &[Segment]) -> Result<Option<Direction>> {
    let mut direction = Direction::default();
    let mut first = None;
    let mut pieces = BTreeMap::new();
    let mut end = None;
    for segment in segments {
        let flags = segment.flags;
        direction.headers.insert(segment.header);
        if flags & u16::from(SYN) != 0 {
            first = Some(segment.sequence.wrapping_add(1));
            direction.handshake = (without_times(&segment.options)?.1, segment.window);
            direction.flags.insert(flags);
            continue;
        }
        let kinds = without_times(&segment.options)?.0;
        direction.options.extend(kinds.into_iter().filter(|kind| ![NOP, SACK].contains(kind)));
        let at = segment.sequence.wrapping_sub(first.context("a segment before its SYN")?) as usize;
        if !segment.payload.is_empty() {
            pieces.entry(at).or_insert((segment.payload.clone(), flags & u16::from(PSH) != 0));
        }
        if flags & u16::from(FIN) != 0 {
            end = Some(at + segment.payload.len());
        }
        // Whether a segment is pushed is compared below, for streams whose segments do not depend on time.
        let flags = flags & !u16::from(PSH);
        if flags != u16::from(ACK) {
            direction.flags.insert(flags);
        }
    }
    for (at, (payload, pushed)) in pieces {
        // What was sent again may begin inside what is known.
        let known = direction.stream.len().saturating_sub(at);
        ensure!(at <= direction.stream.len(), "bytes that tcpdump missed");
        direction.stream.extend(payload.get(known..).unwrap_or_default());
        direction.segments.push((payload.len(), pushed));
    }
    if direction.stream.len() > SHORT {
        direction.segments.clear();
    }
    Ok((end == Some(direction.stream.len())).then_some(direction))
}

/// The kinds of options, and all options with the values of timestamps zeroed.
fn without_times(options: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut kinds, mut bytes, mut rest) = (Vec::new(), options.to_vec(), options);
    while let Some(&kind) = rest.first() {
        let length = match kind {
            0 => break,
            NOP => 1,
            _ => usize::from(*rest.get(1).context("an option without length")?),
        };
        let at = options.len() - rest.len();
        kinds.push(kind);
        if kind == TIMESTAMPS {
            bytes.get_mut(at + 2..at + length).context("timestamps")?.fill(0);
        }
        let Some(next) = rest.get(length.max(1)..) else { bail!("an option that is too long") };
        rest = next;
    }
    Ok((kinds, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{FIN, PSH, SYN, Segment, direction, without_times};

    fn segment(sequence: u32, flags: u8, payload: &[u8]) -> Segment {
        Segment {
            source: ([10, 0, 0, 1].into(), 1),
            destination: ([10, 0, 0, 2].into(), 2),
            header: (0, 2, 64, 5, 0),
            flags: flags.into(),
            window: 1,
            sequence,
            options: Vec::new(),
            payload: payload.into(),
        }
    }

    #[test]
    fn a_stream_is_what_was_sent_however_often() {
        let base = u32::MAX - 1;
        let mut segments = vec![
            segment(base, SYN, b""),
            segment(base.wrapping_add(4), PSH, b"def"),
            segment(base.wrapping_add(1), 0, b"abc"),
            segment(base.wrapping_add(1), 0, b"abc"),
        ];
        assert_eq!(direction(&segments).unwrap(), None, "not yet ended");
        segments.push(segment(base.wrapping_add(7), FIN, b""));
        let whole = direction(&segments).unwrap().unwrap();
        assert_eq!((whole.stream, whole.segments), (b"abcdef".to_vec(), vec![(3, false), (3, true)]));
    }

    #[test]
    fn only_the_times_of_options_are_left_out() {
        let options = [2, 4, 5, 180, 1, 8, 10, 9, 9, 9, 9, 7, 7, 7, 7];
        let (kinds, bytes) = without_times(&options).unwrap();
        assert_eq!(kinds, [2, 1, 8]);
        assert_eq!(bytes, [2, 4, 5, 180, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(without_times(&[8, 10, 0]).is_err());
    }
}
