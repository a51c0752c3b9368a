//! The file formats pcap and pcapng: packets with their times.
//!
//! Both are described by the IETF's drafts draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

use std::io::Read;

use pcap_parser::{
    Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapError, create_reader, traits::PcapReaderIterator,
};

use super::packet::{self, Packet};

/// First bytes of the formats: pcap with µs and ns in both byte orders, and with longer headers as old Linux systems wrote it;
/// pcapng's section header block.
const MAGICS: [[u8; 4]; 6] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// Bytes read at once; most blocks fit.
const BUFFER: usize = 256 * 1024;

/// The largest block that is read. Packets have at most 256 KiB (libpcap's MAXIMUM_SNAPLEN), other blocks may be larger.
const BLOCK_LIMIT: usize = 16 * 1024 * 1024;

/// Interfaces of a pcapng section that are remembered; packets of others cannot be read.
const INTERFACE_LIMIT: usize = 4096;

/// The upper bits of a pcap file's link type say something else (the length of a frame check sequence).
const LINK_MASK: i32 = 0xffff;

/// Of packets whose interface is not described: no link type.
const UNKNOWN_LINK: i32 = -1;

/// Why a packet capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system says so.
    #[error("{path} cannot be read any further")]
    Read {
        /// The file.
        path: String,
    },
    /// It has a capture's first bytes, and then something else.
    #[error(
        "{path} is a damaged packet capture: what follows byte {offset} is no packet; `tcpdump -r` or `editcap` may save the rest"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where the last good block ended.
        offset: u64,
    },
    /// The packets begin with a header that is not known.
    #[error(
        "{path} has the link type {link}, which syspan does not read: capture on an Ethernet or loopback interface, or on `any`"
    )]
    Link {
        /// The file.
        path: String,
        /// LINKTYPE_ number.
        link: i32,
    },
}

/// An opened file.
pub(super) struct File {
    path: String,
    reader: Box<dyn PcapReaderIterator + Send>,
    capacity: usize,
    section: Section,
    /// Bytes of the blocks that were read.
    offset: u64,
}

impl File {
    /// Whether a file that begins like this is a packet capture.
    pub(super) fn is_capture(beginning: &[u8]) -> bool {
        MAGICS.iter().any(|magic| beginning.starts_with(magic))
    }

    /// Opens a file. The first read must give the whole of the first block, if there is as much.
    pub(super) fn new(path: String, input: impl Read + Send + 'static) -> Result<Self, FileError> {
        match create_reader(BUFFER, input) {
            Ok(reader) => Ok(Self { path, reader, capacity: BUFFER, section: Section::default(), offset: 0 }),
            Err(PcapError::ReadError) => Err(FileError::Read { path }),
            Err(_) => Err(FileError::Damaged { path, offset: 0 }),
        }
    }

    /// Hands on the next packet; `false` at the end. A packet that was cut off at the end, because whoever wrote the file was
    /// killed, is left out.
    pub(super) fn next(&mut self, take: impl FnOnce(Packet<'_>)) -> Result<bool, FileError> {
        loop {
            let stopped_by = match self.reader.next() {
                Ok((length, block)) => {
                    let packet = self.section.read(&block);
                    let packet = packet.map_err(|link| FileError::Link { path: self.path.clone(), link })?;
                    self.offset += length as u64;
                    if let Some(packet) = packet {
                        take(packet);
                        self.reader.consume(length);
                        return Ok(true);
                    }
                    self.reader.consume(length);
                    continue;
                }
                Err(PcapError::Incomplete(_)) => Stop::NeedsMore,
                Err(PcapError::BufferTooSmall) => Stop::NeedsRoom,
                Err(PcapError::Eof) => return Ok(false),
                Err(PcapError::UnexpectedEof) => {
                    tracing::warn!(path = self.path, "the last packet is incomplete and left out");
                    return Ok(false);
                }
                Err(_) => Stop::Damage,
            };
            match stopped_by {
                Stop::NeedsMore => {
                    if self.reader.refill().is_err() {
                        return Err(FileError::Read { path: self.path.clone() });
                    }
                }
                Stop::NeedsRoom if self.capacity < BLOCK_LIMIT => {
                    self.capacity *= 2;
                    self.reader.grow(self.capacity);
                }
                Stop::NeedsRoom | Stop::Damage => {
                    return Err(FileError::Damaged { path: self.path.clone(), offset: self.offset });
                }
            }
        }
    }
}

/// Why no block can be read now; the parser's error holds on to its buffer.
enum Stop {
    NeedsMore,
    NeedsRoom,
    Damage,
}

/// What packets depend on: a pcap file has one such section, a pcapng file can have several.
#[derive(Default)]
struct Section {
    interfaces: Vec<Interface>,
    big_endian: bool,
    /// Time of the latest packet, for those without one.
    time: u64,
}

impl Section {
    /// The packet in a block, if it has one; an error if the only interface's link type is not known.
    fn read<'a>(&mut self, block: &'a PcapBlockOwned<'a>) -> Result<Option<Packet<'a>>, i32> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let link = header.network.0 & LINK_MASK;
                if !packet::is_known(link) {
                    return Err(link);
                }
                let resolution = Resolution::Decimal(if header.is_nanosecond_precision() { 9 } else { 6 });
                self.interfaces.push(Interface { link, snap_length: 0, resolution, offset: 0 });
            }
            PcapBlockOwned::Legacy(block) => {
                let fraction = |interface: &Interface| interface.resolution.nanoseconds(block.ts_usec.into());
                let seconds = u64::from(block.ts_sec) * 1_000_000_000;
                let time = |interface: &Interface| seconds + fraction(interface);
                return Ok(Some(self.packet(0, time, block.data, block.caplen, block.origlen)));
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                *self = Self { big_endian: header.big_endian(), time: self.time, interfaces: Vec::new() };
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                if self.interfaces.len() < INTERFACE_LIMIT {
                    self.interfaces.push(Interface::of(block, self.big_endian));
                }
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                let time = |interface: &Interface| interface.time(units);
                return Ok(Some(self.packet(block.if_id, time, block.data, block.caplen, block.origlen)));
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let (time, limit) = (self.time, self.interfaces.first().map_or(0, |interface| interface.snap_length));
                let captured = if limit == 0 { block.origlen } else { limit.min(block.origlen) };
                return Ok(Some(self.packet(0, |_| time, block.data, captured, block.origlen)));
            }
            PcapBlockOwned::NG(_) => {}
        }
        Ok(None)
    }

    /// A packet of an interface. In pcapng `bytes` ends with padding.
    fn packet<'a>(
        &mut self,
        interface: u32,
        time: impl FnOnce(&Interface) -> u64,
        bytes: &'a [u8],
        captured: u32,
        length: u32,
    ) -> Packet<'a> {
        let interface = usize::try_from(interface).ok().and_then(|index| self.interfaces.get(index));
        self.time = interface.map_or(self.time, time);
        let bytes = usize::try_from(captured).ok().and_then(|captured| bytes.get(..captured)).unwrap_or(bytes);
        Packet {
            time: self.time,
            link: interface.map_or(UNKNOWN_LINK, |known| known.link),
            bytes,
            length: length.into(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    /// Most bytes that are kept of a packet; 0 for no limit.
    snap_length: u32,
    resolution: Resolution,
    /// Seconds to add to times.
    offset: i64,
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        Self {
            link: block.linktype.0 & LINK_MASK,
            snap_length: block.snaplen,
            resolution: Resolution::of(block.if_tsresol),
            // The parser takes this one number as little-endian always.
            offset: if big_endian { block.if_tsoffset.swap_bytes() } else { block.if_tsoffset },
        }
    }

    fn time(&self, units: u64) -> u64 {
        self.resolution.nanoseconds(units).saturating_add_signed(self.offset.saturating_mul(1_000_000_000))
    }
}

/// What a time is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolution {
    /// 10⁻ⁿ s.
    Decimal(u8),
    /// 2⁻ⁿ s.
    Binary(u8),
}

impl Resolution {
    /// The option if_tsresol.
    fn of(option: u8) -> Self {
        if option & 0x80 == 0 { Self::Decimal(option) } else { Self::Binary(option & 0x7f) }
    }

    /// So many units in nanoseconds.
    fn nanoseconds(self, units: u64) -> u64 {
        const SECOND: u128 = 1_000_000_000;
        let second = match self {
            Self::Decimal(digits) => 10u128.checked_pow(digits.into()),
            Self::Binary(digits) => Some(1 << digits),
        };
        // Of finer units than these, no 64-bit number makes a nanosecond.
        let nanoseconds = second.map_or(0, |second| u128::from(units) * SECOND / second);
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
