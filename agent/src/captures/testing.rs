//! Packets and files for tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;

use etherparse::PacketBuilder;

/// A TCP packet.
#[derive(Debug, Clone)]
pub(super) struct Tcp {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub acknowledged: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub payload: Vec<u8>,
}

impl Tcp {
    /// From IP's header on.
    pub(super) fn ip(&self) -> Vec<u8> {
        let builder = match (self.from, self.to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64),
            (SocketAddr::V6(from), SocketAddr::V6(to)) => PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64),
            _ => panic!("one address family"),
        };
        let mut tcp = builder.tcp(self.from.port(), self.to.port(), self.sequence, 1000);
        if let Some(acknowledged) = self.acknowledged {
            tcp = tcp.ack(acknowledged);
        }
        if self.syn {
            tcp = tcp.syn();
        }
        if self.fin {
            tcp = tcp.fin();
        }
        if self.rst {
            tcp = tcp.rst();
        }
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, &self.payload).unwrap();
        bytes
    }

    /// Behind an Ethernet header.
    pub(super) fn ethernet(&self) -> Vec<u8> {
        let ether_type: [u8; 2] = if self.from.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&[2; 12], ether_type.as_slice(), &self.ip()].concat()
    }
}

/// One side of a TCP connection that is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Client,
    Server,
}

/// A connection as its packets show it: a handshake, then what is said, in segments of at most `segment` bytes.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    client: (SocketAddr, u32),
    server: (SocketAddr, u32),
    segment: usize,
    /// All packets so far.
    pub packets: Vec<Tcp>,
}

impl Wire {
    /// Connects; `first` are the sequence numbers of both SYNs.
    pub(super) fn connect(client: &str, server: &str, first: (u32, u32), segment: usize) -> Self {
        let mut wire = Self {
            client: (client.parse().unwrap(), first.0),
            server: (server.parse().unwrap(), first.1),
            segment,
            packets: Vec::new(),
        };
        let syn = Tcp { syn: true, acknowledged: None, ..wire.packet(By::Client) };
        wire.packets.push(syn);
        wire.client.1 = wire.client.1.wrapping_add(1);
        let syn = Tcp { syn: true, ..wire.packet(By::Server) };
        wire.packets.push(syn);
        wire.server.1 = wire.server.1.wrapping_add(1);
        let ack = wire.packet(By::Client);
        wire.packets.push(ack);
        wire
    }

    /// An empty packet of a side: what it has sent, and that it has everything.
    pub(super) fn packet(&self, by: By) -> Tcp {
        let (from, to) = match by {
            By::Client => (self.client, self.server),
            By::Server => (self.server, self.client),
        };
        Tcp {
            from: from.0,
            to: to.0,
            sequence: from.1,
            acknowledged: Some(to.1),
            syn: false,
            fin: false,
            rst: false,
            payload: Vec::new(),
        }
    }

    /// A side says something, which the other acknowledges at the end.
    pub(super) fn say(&mut self, by: By, bytes: &[u8]) {
        for payload in bytes.chunks(self.segment) {
            let packet = Tcp { payload: payload.to_vec(), ..self.packet(by) };
            self.packets.push(packet);
            self.sent(by, payload.len());
        }
        let other = if by == By::Client { By::Server } else { By::Client };
        let ack = self.packet(other);
        self.packets.push(ack);
    }

    /// A side will say nothing more.
    pub(super) fn finish(&mut self, by: By) {
        let packet = Tcp { fin: true, ..self.packet(by) };
        self.packets.push(packet);
        self.sent(by, 1);
    }

    fn sent(&mut self, by: By, length: usize) {
        let side = if by == By::Client { &mut self.client } else { &mut self.server };
        side.1 = side.1.wrapping_add(u32::try_from(length).unwrap());
    }
}

/// A request and its response.
pub(super) fn request(path: &str, body: usize) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    request.resize(request.len() + body, b'x');
    request
}

/// The response to it.
pub(super) fn response(status: u16, body: usize) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {status} Fine\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    response.resize(response.len() + body, b'y');
    response
}

/// A pcap file of packets, 1 ms apart from 1 000 s on.
pub(super) fn pcap<'a>(link: u16, packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32.to_le_bytes(), [2, 0, 4, 0], [0; 4], [0; 4], 262_144_u32.to_le_bytes()].concat();
    file.extend(u32::from(link).to_le_bytes());
    for (number, packet) in packets.into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        for field in [1_000 + number / 1_000, number % 1_000 * 1_000, length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The same, of TCP packets on Ethernet.
pub(super) fn tcp_pcap<'a>(packets: impl IntoIterator<Item = &'a Tcp>) -> Vec<u8> {
    let packets: Vec<Vec<u8>> = packets.into_iter().map(Tcp::ethernet).collect();
    pcap(1, packets.iter().map(Vec::as_slice))
}
