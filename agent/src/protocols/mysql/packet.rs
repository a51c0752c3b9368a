//! Packets and the few of them that have one form everywhere: OK, EOF and ERR
//! (MySQL client/server protocol, "Protocol Basics"; MariaDB, "Client/Server Protocol").

/// Bytes of a packet's header: payload length (3, little endian) and sequence number.
pub(super) const HEADER: usize = 4;

/// A payload of this length is continued by the next packet.
pub(super) const LARGEST: usize = 0xFF_FFFF;

/// As much of an OK packet as is looked at: counts, flags, and the session changes that tell a new database.
const OK_LIMIT: usize = 512;

/// Header byte, number, `#`, SQLSTATE: the message after them is not needed.
const ERROR_HEAD: usize = 9;

/// `SERVER_MORE_RESULTS_EXISTS`.
const MORE_RESULTS: u16 = 0x0008;
/// `SERVER_STATUS_CURSOR_EXISTS`: the rows wait for COM_STMT_FETCH.
const CURSOR_EXISTS: u16 = 0x0040;
/// `SERVER_SESSION_STATE_CHANGED`: the OK packet says what changed.
const SESSION_CHANGED: u16 = 0x4000;
/// A flag that no server sets.
const UNUSED_STATUS: u16 = 0x0004;
/// `SESSION_TRACK_SCHEMA`.
const TRACK_SCHEMA: u8 = 1;
/// The error number of MariaDB's progress reports, which do not end a response.
pub(super) const PROGRESS: u16 = 0xFFFF;

/// A packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Payload bytes.
    pub(super) length: usize,
    /// Counts the packets of one command and its response, modulo 256.
    pub(super) sequence: u8,
}

impl Header {
    /// The header and what follows it; `None` if there are too few bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[a, b, c, sequence], rest) = bytes.split_first_chunk::<HEADER>()?;
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        Some((Self { length, sequence }, rest))
    }
}

/// Takes the protocol's basic types off the front of a payload; `None` if it is too short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn int2(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn int4(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length-encoded integer (`int<lenenc>`).
    pub(super) fn lenenc(&mut self) -> Option<u64> {
        match self.byte()? {
            0xFC => self.int2().map(u64::from),
            0xFD => self.array().map(|[a, b, c]| u64::from(u32::from_le_bytes([a, b, c, 0]))),
            0xFE => self.array().map(u64::from_le_bytes),
            0xFB | 0xFF => None,
            small => Some(u64::from(small)),
        }
    }

    /// A length-encoded string (`string<lenenc>`).
    pub(super) fn lenenc_bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.lenenc()?).ok()?;
        self.take(length)
    }

    /// A string that ends with a zero byte.
    pub(super) fn nul_bytes(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let taken = self.take(end)?;
        self.take(1)?;
        Some(taken)
    }
}

/// A name as text; names are UTF-8 in nearly every connection.
pub(super) fn name(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// A packet that ends a result or a whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// OK or EOF.
    Success {
        /// Server status flags.
        status: u16,
        /// The new default database, if the packet says that it changed.
        schema: Option<String>,
        /// An OK packet with header 0x00: the statement itself is done. Otherwise a result set's last row has been sent.
        okay: bool,
    },
    /// ERR, with the server's error number.
    Failure(u16),
}

impl Ending {
    /// How much of a payload [`Self::parse`] needs.
    pub(super) fn needs(first: u8, length: usize) -> usize {
        length.min(if first == 0xFF { ERROR_HEAD } else { OK_LIMIT })
    }

    /// Parses the head of a payload that is `length` bytes long.
    ///
    /// An OK packet may begin with 0xFE where `CLIENT_DEPRECATE_EOF` was negotiated. It has at least 7 bytes and an EOF packet
    /// has 5 (1 before MySQL 4.1), so the form is told from the packet and not from the negotiation, which may not have been seen.
    pub(super) fn parse(payload: &[u8], length: usize) -> Option<Self> {
        let mut reader = Reader(payload);
        match (reader.byte()?, length) {
            (0xFF, 3..) => reader.int2().map(Self::Failure),
            (0xFE, 1) => Some(Self::Success { status: 0, schema: None, okay: false }),
            (0xFE, 5) => {
                let _warnings = reader.int2()?;
                Some(Self::Success { status: reader.int2()?, schema: None, okay: false })
            }
            (first @ (0x00 | 0xFE), 7..) => {
                let _affected_rows = reader.lenenc()?;
                let _last_insert_id = reader.lenenc()?;
                let status = reader.int2()?;
                let _warnings = reader.int2()?;
                let schema = if status & SESSION_CHANGED == 0 { None } else { changed_schema(reader) };
                Some(Self::Success { status, schema, okay: first == 0x00 })
            }
            _ => None,
        }
    }

    /// Another result of the same command follows.
    pub(super) fn more_results(&self) -> bool {
        matches!(self, Self::Success { status, .. } if status & MORE_RESULTS != 0)
    }

    /// This EOF stands in the place of rows: they are to be fetched by another command.
    pub(super) fn opens_cursor(&self) -> bool {
        matches!(self, Self::Success { status, .. } if status & CURSOR_EXISTS != 0)
    }

    /// Looks for the packet that ends a response at the very end of bytes of which the beginning is missing.
    ///
    /// Its length must fit exactly. In the binary protocol a row begins with 0x00 like an OK packet, so only the other forms count there.
    pub(super) fn at_end_of(bytes: &[u8], binary: bool) -> Option<Self> {
        let window = bytes.get(bytes.len().saturating_sub(HEADER + OK_LIMIT)..)?;
        let shortest = HEADER + 5;
        (0..=window.len().checked_sub(shortest)?).find_map(|at| {
            let (header, payload) = Header::parse(window.get(at..)?)?;
            if header.length != payload.len() || (binary && payload.first() == Some(&0x00)) {
                return None;
            }
            Self::parse(payload, header.length).filter(|ending| ending.is_plausible(payload) && !ending.more_results())
        })
    }

    /// Whether a packet whose place is not certain can be what it looks like.
    pub(super) fn is_plausible(&self, payload: &[u8]) -> bool {
        match self {
            Self::Failure(code) => {
                let text = payload.get(3..).unwrap_or_default();
                (1000..20_000).contains(code) && text.first() == Some(&b'#') && !text.iter().any(|&b| b < 0x09)
            }
            // Rows are not counted in a packet that ends a result set, and the rest is at most a text and session changes.
            Self::Success { status, okay, .. } => {
                let counts = payload.get(1..3);
                status & UNUSED_STATUS == 0 && (*okay || payload.len() == 5 || counts == Some(&[0, 0]))
            }
        }
    }
}

/// The database in an OK packet's session changes: an info text, then a list of (type, data).
fn changed_schema(mut reader: Reader<'_>) -> Option<String> {
    let _info = reader.lenenc_bytes()?;
    let mut changes = Reader(reader.lenenc_bytes()?);
    while let (Some(kind), Some(data)) = (changes.byte(), changes.lenenc_bytes()) {
        if kind == TRACK_SCHEMA {
            return Reader(data).lenenc_bytes().and_then(name);
        }
    }
    None
}
