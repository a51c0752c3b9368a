//! Records, the one form of all that is sent (FastCGI 1.0 §3.3), and the few that are recognised without their context.

use crate::protocols::Guess;

/// Bytes before a record's content: version, type, request id (2), length of the content (2) and of the padding, a reserved one.
pub(super) const HEADER: usize = 8;
/// Content of `FCGI_BEGIN_REQUEST` and of `FCGI_END_REQUEST`.
pub(super) const BODY: usize = 8;
/// `FCGI_VERSION_1`.
const VERSION: u8 = 1;
/// `FCGI_NULL_REQUEST_ID`: the record speaks of the connection, not of a request.
pub(super) const NO_REQUEST: RequestId = 0;
/// What the names of all management variables begin with (§4.1).
const VARIABLE: &[u8] = b"FCGI_";

/// Longest name of a header field that is believed to begin a response.
const NAME_LIMIT: usize = 64;

/// Names a request on its connection until its end; then the next one may have it.
pub(super) type RequestId = u16;

/// The types of records (§8).
pub(super) mod kind {
    pub(in super::super) const BEGIN_REQUEST: u8 = 1;
    pub(in super::super) const ABORT_REQUEST: u8 = 2;
    pub(in super::super) const END_REQUEST: u8 = 3;
    pub(in super::super) const PARAMS: u8 = 4;
    pub(in super::super) const STDIN: u8 = 5;
    pub(in super::super) const STDOUT: u8 = 6;
    pub(in super::super) const STDERR: u8 = 7;
    pub(in super::super) const DATA: u8 = 8;
    pub(in super::super) const GET_VALUES: u8 = 9;
    pub(in super::super) const GET_VALUES_RESULT: u8 = 10;
    pub(in super::super) const UNKNOWN_TYPE: u8 = 11;
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// One of [`kind`], or a type that is to be ignored.
    pub(super) kind: u8,
    pub(super) id: RequestId,
    /// Bytes of content.
    pub(super) length: usize,
    /// Bytes after it that mean nothing.
    pub(super) padding: usize,
}

/// These bytes are not a record of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a FastCGI record; resynchronise at the next request")]
pub(super) struct InvalidRecord;

impl Header {
    /// `None` if there are too few bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Result<Self, InvalidRecord>> {
        let (&version, _) = bytes.split_first()?;
        if version != VERSION {
            return Some(Err(InvalidRecord));
        }
        let &[_, kind, a, b, c, d, padding, _reserved] = bytes.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        Some(Ok(Self { kind, id: u16::from_be_bytes([a, b]), length, padding: padding.into() }))
    }

    /// Content and padding.
    pub(super) fn rest(&self) -> usize {
        self.length + self.padding
    }

    /// Whether it may be the server's, of one of these requests or of none.
    pub(super) fn is_answer(&self, requests: impl IntoIterator<Item = RequestId>) -> bool {
        match self.kind {
            kind::END_REQUEST => self.length == BODY && requests.into_iter().any(|id| id == self.id),
            kind::STDOUT | kind::STDERR => requests.into_iter().any(|id| id == self.id),
            kind::GET_VALUES_RESULT | kind::UNKNOWN_TYPE => self.id == NO_REQUEST,
            _ => false,
        }
    }
}

/// What `FCGI_END_REQUEST` says (§5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The program's exit code, or what it would have been.
    pub(super) application: u32,
    /// Whether the request was served, and if not why.
    pub(super) protocol: u8,
}

impl Ending {
    pub(super) fn parse(body: [u8; BODY]) -> Self {
        let [a, b, c, d, protocol, ..] = body;
        Self { application: u32::from_be_bytes([a, b, c, d]), protocol }
    }

    /// `error.type` of a request that the server did not take.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match self.protocol {
            0 => None,
            1 => Some("cant_mpx_conn"),
            2 => Some("overloaded"),
            3 => Some("unknown_role"),
            _ => Some("_OTHER"),
        }
    }
}

/// Whether `FCGI_BEGIN_REQUEST` stands here ([`Guess::Client`]), may begin here, or does not. Of its 16 bytes all but the id,
/// the length of the padding and one bit of the flags are the same in all, or nearly so.
pub(super) fn begins_request(bytes: &[u8]) -> Guess {
    let expected = |(index, &byte): (usize, &u8)| match index {
        0 => byte == VERSION,
        1 => byte == kind::BEGIN_REQUEST,
        2 | 3 | 6 => true,
        5 => usize::from(byte) == BODY,
        9 => matches!(byte, 1..=3), // responder, authorizer, filter
        10 => byte <= 1,            // FCGI_KEEP_CONN
        _ => byte == 0,
    };
    let start = bytes.get(..HEADER + BODY).unwrap_or(bytes);
    match start.get(2..4) {
        _ if !start.iter().enumerate().all(expected) => Guess::No,
        Some([0, 0]) => Guess::No,
        _ if start.len() < HEADER + BODY => Guess::TooShort,
        _ => Guess::Client,
    }
}

/// Whether the content of `FCGI_BEGIN_REQUEST` stands here, and the header of the record after it. PHP waits for a request in the
/// call that reads the header of its first record: who comes while it waits misses that.
pub(super) fn goes_on_request(bytes: &[u8]) -> Guess {
    let expected = |(index, &byte): (usize, &u8)| match index {
        1 => matches!(byte, 1..=3),
        2 => byte <= 1,
        8 => byte == VERSION,
        9 => byte == kind::PARAMS,
        10..=14 => true,
        _ => byte == 0,
    };
    let start = bytes.get(..BODY + HEADER).unwrap_or(bytes);
    match start.get(10..12) {
        _ if !start.iter().enumerate().all(expected) => Guess::No,
        Some([0, 0]) => Guess::No,
        _ if start.len() < BODY + HEADER => Guess::TooShort,
        _ => Guess::Client,
    }
}

/// Whether an empty `FCGI_STDIN` stands here, which ends a request. PHP reads it only before the request after it.
pub(super) fn ends_request(bytes: &[u8]) -> Guess {
    let expected = |(index, &byte): (usize, &u8)| match index {
        0 => byte == VERSION,
        1 => byte == kind::STDIN,
        2 | 3 => true,
        _ => byte == 0,
    };
    let start = bytes.get(..HEADER).unwrap_or(bytes);
    match start.get(2..4) {
        _ if !start.iter().enumerate().all(expected) => Guess::No,
        Some([0, 0]) => Guess::No,
        _ if start.len() < HEADER => Guess::TooShort,
        _ => Guess::Client,
    }
}

/// Whether `FCGI_STDOUT` with the beginning of a response's header stands here ([`Guess::Server`]), may begin here, or does not.
pub(super) fn begins_response(bytes: &[u8]) -> Guess {
    let expected = |(index, &byte): (usize, &u8)| match index {
        0 => byte == VERSION,
        1 => byte == kind::STDOUT,
        7 => byte == 0,
        _ => true,
    };
    let (header, content) = bytes.split_at_checked(HEADER).unwrap_or((bytes, &[]));
    let name = content.split(|&byte| byte == b':').next().unwrap_or_default();
    let is_name = name.len() <= NAME_LIMIT && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    match (header.get(2..4), header.get(4..6)) {
        _ if !header.iter().enumerate().all(expected) || !is_name => Guess::No,
        (Some([0, 0]), _) | (_, Some([0, 0])) => Guess::No,
        _ if name.len() == content.len() => Guess::TooShort,
        _ if name.is_empty() => Guess::No,
        _ => Guess::Server,
    }
}

/// Whether `FCGI_GET_VALUES` stands here: a client may ask for the server's limits first.
pub(super) fn asks_for_values(bytes: &[u8]) -> Guess {
    let expected = |(index, &byte): (usize, &u8)| match index {
        0 => byte == VERSION,
        1 => byte == kind::GET_VALUES,
        4..=6 => true,
        8 => (VARIABLE.len()..128).contains(&byte.into()),
        10.. => VARIABLE.get(index - 10) == Some(&byte),
        _ => byte == 0,
    };
    let start = bytes.get(..HEADER + 2 + VARIABLE.len()).unwrap_or(bytes);
    match start.len() == HEADER + 2 + VARIABLE.len() {
        _ if !start.iter().enumerate().all(expected) => Guess::No,
        false => Guess::TooShort,
        true => Guess::Client,
    }
}
