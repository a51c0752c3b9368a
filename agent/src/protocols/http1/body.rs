//! Where a message's body ends (RFC 9112 §6 and §7), without looking at it.

use crate::protocols::http::fields::{Fields, split_once, trim};

/// Longest chunk-size line (with its extensions) or trailer line, bytes: the size such lines are limited to by servers
/// (nginx, Go's net/http).
const LINE_LIMIT: usize = 4096;
/// Longest body that is believed, bytes: far beyond any real one, and far from overflow.
const LENGTH_LIMIT: u64 = 1 << 60;
/// How many of the last bytes are kept to recognise a chunked body's end, trailers included.
const TAIL_LIMIT: usize = 1024;

/// How a body's end is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// By its length, more than 0.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// It ends with the connection (responses only).
    Close,
}

/// The length fields of a head contradict each other or cannot be read: nobody can tell where the message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fields that frame the body are invalid; resynchronise at the next message")]
pub(super) struct InvalidFraming;

/// RFC 9112 §6.3 for a request.
pub(super) fn of_request(fields: &Fields<'_>) -> Result<Framing, InvalidFraming> {
    match transfer_encoding(fields) {
        Some(true) => Ok(Framing::Chunked),
        Some(false) => Err(InvalidFraming),
        None => Ok(length(fields)?.unwrap_or(Framing::Empty)),
    }
}

/// RFC 9112 §6.3 for a response; `to_head`: the request's method was HEAD.
pub(super) fn of_response(fields: &Fields<'_>, status: u16, to_head: bool) -> Result<Framing, InvalidFraming> {
    if to_head || matches!(status, 100..200 | 204 | 304) {
        return Ok(Framing::Empty);
    }
    match transfer_encoding(fields) {
        Some(true) => Ok(Framing::Chunked),
        Some(false) => Ok(Framing::Close),
        None => Ok(length(fields)?.unwrap_or(Framing::Close)),
    }
}

/// Whether there is a Transfer-Encoding, which overrides Content-Length, and whether its last coding is `chunked`.
fn transfer_encoding(fields: &Fields<'_>) -> Option<bool> {
    fields.elements("transfer-encoding").last().map(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

/// Content-Length, where repeated equal values are one (RFC 9110 §8.6).
fn length(fields: &Fields<'_>) -> Result<Option<Framing>, InvalidFraming> {
    let mut lengths = fields.elements("content-length").map(|digits| number(digits, 10));
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.any(|other| other != first) {
        return Err(InvalidFraming);
    }
    match first {
        None => Err(InvalidFraming),
        Some(0) => Ok(Some(Framing::Empty)),
        Some(length) => Ok(Some(Framing::Length(length))),
    }
}

/// Digits only: no sign, no white space, nothing beyond [`LENGTH_LIMIT`].
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if !digits.iter().all(|&digit| char::from(digit).is_digit(radix)) {
        return None;
    }
    let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    (number <= LENGTH_LIMIT).then_some(number)
}

/// The place in a chunked body (RFC 9112 §7.1) between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    /// A chunk-size line comes next.
    Size,
    /// The last chunk has passed; trailer lines and an empty line come next.
    Trailers,
}

/// What the next bytes of a chunked body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An incomplete line.
    More,
    /// A line of this many bytes.
    Line(usize),
    /// A chunk-size line of `line` bytes, and `data` bytes after it that need not be seen.
    Chunk { line: usize, data: u64 },
    /// The body's last line, of this many bytes.
    Last(usize),
    /// Not a chunked body.
    Invalid,
}

impl Chunked {
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let Some(end) = memchr::memchr(b'\n', bytes).filter(|&end| end < LINE_LIMIT) else {
            return if bytes.len() < LINE_LIMIT { Step::More } else { Step::Invalid };
        };
        let line = end + 1;
        let text = bytes.get(..end).unwrap_or_default();
        let (text, line_end) = text.strip_suffix(b"\r").map_or((text, 1), |text| (text, 2));
        match self {
            Chunked::Trailers if text.is_empty() => Step::Last(line),
            Chunked::Trailers => Step::Line(line),
            Chunked::Size => match chunk_size(text) {
                None => Step::Invalid,
                Some(0) => {
                    *self = Chunked::Trailers;
                    Step::Line(line)
                }
                // The line end after the data is of the kind that ended the size, and need not be seen either.
                Some(size) => Step::Chunk { line, data: size + line_end },
            },
        }
    }
}

/// `chunk-size [ chunk-ext ]`.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = trim(split_once(line, b';').map_or(line, |(digits, _)| digits));
    number(digits, 16)
}

/// The last bytes of a direction whose message boundaries were lost.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Adds what came; says whether a chunked body ends exactly here: `0 CRLF *( trailer CRLF ) CRLF`.
    pub(super) fn ends_chunked(&mut self, bytes: &[u8]) -> bool {
        let kept = bytes.get(bytes.len().saturating_sub(TAIL_LIMIT)..).unwrap_or_default();
        self.0.drain(..(self.0.len() + kept.len()).saturating_sub(TAIL_LIMIT).min(self.0.len()));
        self.0.extend_from_slice(kept);
        let Some(lines) = self.0.strip_suffix(b"\r\n\r\n") else { return false };
        for line in lines.rsplit(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if chunk_size(line) == Some(0) {
                return true;
            }
            if !line.contains(&b':') {
                return false;
            }
        }
        false
    }
}
