//! One packet: through the link's and IP's headers to the TCP segment.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// A packet as the file has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// Unix time, ns.
    pub time: u64,
    /// What its first header is: a LINKTYPE_ value of <https://www.tcpdump.org/linktypes.html>.
    pub link: i32,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// How many there were on the wire.
    pub length: u64,
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Sequence number of the first byte, or of the SYN before it.
    pub sequence: u32,
    /// What the sender has received, if it says so.
    pub acknowledged: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// The captured payload.
    pub payload: &'a [u8],
    /// The length of the payload on the wire.
    pub length: u64,
}

/// A packet whose headers are broken, cut short, or those of a fragment: whether it is TCP, or for whom, cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The link types that are read.
mod link {
    pub(super) const NULL: i32 = 0;
    pub(super) const ETHERNET: i32 = 1;
    /// What BSDs' DLT_RAW stands for in some files.
    pub(super) const RAW_BSD: [i32; 2] = [12, 14];
    pub(super) const RAW: i32 = 101;
    pub(super) const LOOP: i32 = 108;
    pub(super) const LINUX_SLL: i32 = 113;
    pub(super) const IPV4: i32 = 228;
    pub(super) const IPV6: i32 = 229;
    pub(super) const LINUX_SLL2: i32 = 276;
}

/// Whether packets of this link type can be read.
pub(super) fn is_known(link: i32) -> bool {
    matches!(
        link,
        link::NULL
            | link::ETHERNET
            | link::RAW
            | link::LOOP
            | link::LINUX_SLL
            | link::IPV4
            | link::IPV6
            | link::LINUX_SLL2
    ) || link::RAW_BSD.contains(&link)
}

impl<'a> Packet<'a> {
    /// The TCP segment in it; `None` if it is something else.
    pub(super) fn segment(&self) -> Result<Option<Segment<'a>>, Unreadable> {
        let sliced = self.sliced().ok_or(Unreadable)?;
        let (addresses, payload, declared_end) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let addresses: (IpAddr, IpAddr) = (header.source_addr().into(), header.destination_addr().into());
                let declared = usize::from(header.total_len());
                let declared = (declared >= header.slice().len()).then_some(declared);
                (addresses, ip.payload(), declared.map(|length| self.offset(header.slice()) + length))
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let addresses: (IpAddr, IpAddr) = (header.source_addr().into(), header.destination_addr().into());
                let declared = usize::from(header.payload_length());
                let declared = (declared > 0).then_some(header.slice().len() + declared);
                (addresses, ip.payload(), declared.map(|length| self.offset(header.slice()) + length))
            }
            Some(LaxNetSlice::Arp(_)) => return Ok(None),
            None => return if sliced.stop_err.is_some() { Err(Unreadable) } else { Ok(None) },
        };
        let tcp = match sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => tcp,
            Some(_) => return Ok(None),
            None if payload.ip_number == IpNumber::TCP || sliced.stop_err.is_some() => return Err(Unreadable),
            None => return Ok(None),
        };
        // A length of 0 stands in packets that were captured before the network card cut them into pieces.
        let end = declared_end.map_or(self.length, |end| end as u64);
        let missing = end.saturating_sub(self.bytes.len() as u64);
        let canonical = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
        Ok(Some(Segment {
            source: canonical(addresses.0, tcp.source_port()),
            destination: canonical(addresses.1, tcp.destination_port()),
            sequence: tcp.sequence_number(),
            acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            payload: tcp.payload(),
            length: tcp.payload().len() as u64 + missing,
        }))
    }

    fn sliced(&self) -> Option<LaxSlicedPacket<'a>> {
        let bytes = self.bytes;
        let by_type = |at: usize, header: usize| {
            let ether_type = bytes.get(at..at + 2)?.first_chunk()?;
            let ether_type = EtherType(u16::from_be_bytes(*ether_type));
            Some(LaxSlicedPacket::from_ether_type(ether_type, bytes.get(header..)?))
        };
        match self.link {
            link::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
            link::LINUX_SLL => by_type(14, 16),
            link::LINUX_SLL2 => by_type(0, 20),
            // The address family's number is another one on each system; IP has its own version number.
            link::NULL | link::LOOP => LaxSlicedPacket::from_ip(bytes.get(4..)?).ok(),
            link if is_known(link) => LaxSlicedPacket::from_ip(bytes).ok(),
            _ => None,
        }
    }

    /// Where a part of the packet begins in it.
    fn offset(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.bytes.as_ptr() as usize)
    }
}

#[cfg(test)]
mod tests;
