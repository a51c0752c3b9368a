//! Framing: a type byte, a length that counts itself, a body (PostgreSQL "Message Formats", 55.7).

/// Bytes before a body: type and length.
pub(super) const HEADER: usize = 5;

/// Longest message either side accepts (`PQ_LARGE_MESSAGE_LIMIT`, `MaxAllocSize`: 1 GiB - 1).
const LONGEST: u32 = 0x3fff_ffff;

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    /// Bytes of the body.
    pub(super) body: usize,
}

/// The beginning of some bytes as a message of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Message(Header),
    TooShort,
    /// No such type, or not with this length.
    Invalid,
}

/// A message of the client.
pub(super) fn frontend(bytes: &[u8]) -> Frame {
    frame(bytes, |kind, body| match kind {
        b'S' | b'H' | b'X' | b'c' => body == 0,
        b'Q' | b'f' => body >= 1,
        b'D' | b'C' => body >= 2,
        b'P' => body >= 4,
        b'E' => body >= 5,
        b'B' => body >= 8,
        b'F' => body >= 10,
        b'd' | b'p' => true,
        _ => false,
    })
}

/// A message of the server.
pub(super) fn backend(bytes: &[u8]) -> Frame {
    frame(bytes, |kind, body| match kind {
        b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c' => body == 0,
        b'Z' => body == 1,
        b'C' | b'E' | b'N' => body >= 1,
        b'S' | b'T' | b'D' | b't' => body >= 2,
        b'G' | b'H' | b'W' => body >= 3,
        b'R' | b'V' => body >= 4,
        b'A' => body >= 6,
        b'K' | b'v' => body >= 8,
        b'd' => true,
        _ => false,
    })
}

fn frame(bytes: &[u8], fits: impl Fn(u8, u32) -> bool) -> Frame {
    let Some((&[kind, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER>() else { return Frame::TooShort };
    let length = u32::from_be_bytes([a, b, c, d]);
    match length.checked_sub(4) {
        Some(body) if length <= LONGEST && fits(kind, body) => {
            Frame::Message(Header { kind, body: usize::try_from(body).unwrap_or(usize::MAX) })
        }
        _ => Frame::Invalid,
    }
}

/// The text before the first NUL, and what follows it.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(memchr::memchr(0, bytes)?)?;
    Some((text, rest.get(1..)?))
}

/// ReadyForQuery as it stands on the wire: in which transaction state it says it is, is of no interest.
pub(super) fn is_ready(bytes: &[u8]) -> bool {
    matches!(bytes, [b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E'])
}

/// Bytes of a ReadyForQuery.
pub(super) const READY: usize = 6;

/// What an ErrorResponse says of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// SQLSTATE, if it is one.
    pub(super) code: Option<String>,
    /// The session is over.
    pub(super) fatal: bool,
}

impl Failure {
    /// Reads the fields of an ErrorResponse's body as far as they are there. `None`: the code may be in what is missing.
    /// The message text is never looked at: it quotes values.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (mut rest, mut fatal) = (body, false);
        loop {
            let (&field, after) = rest.split_first()?;
            if field == 0 {
                return Some(Self { code: None, fatal });
            }
            let (value, after) = text(after)?;
            rest = after;
            match field {
                b'S' | b'V' => fatal |= matches!(value, b"FATAL" | b"PANIC"),
                b'C' => {
                    let valid =
                        value.len() == 5 && value.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
                    let code = valid.then(|| String::from_utf8_lossy(value).into_owned());
                    return Some(Self { code, fatal });
                }
                _ => {}
            }
        }
    }

    /// Whether it is an error and no warning: SQLSTATE classes 00 and 01 are not (PostgreSQL, appendix A).
    pub(super) fn is_error(&self) -> bool {
        !self.code.as_deref().is_some_and(|code| code.starts_with("00") || code.starts_with("01"))
    }
}

/// The number of rows in a CommandComplete's tag: its last word, if that is a number (`INSERT 0 5`, `SELECT 12`).
pub(super) fn rows(tag: &[u8]) -> Option<u64> {
    let word = tag.rsplit(|byte| *byte == b' ').next()?;
    std::str::from_utf8(word).ok()?.parse().ok()
}
