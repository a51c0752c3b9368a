//! Recognising the protocol by the first bytes of one side.

use super::message::{Frame, HEADER, Header, backend, frontend, is_ready, text};
use crate::protocols::{
    Guess, Hint, Options,
    sql::{Dialect, Statement},
};

/// The port that relaxes what an incomplete message has to show.
pub(super) const DEFAULT_PORT: u16 = 5432;

/// Longest start-up packet a server accepts (`MAX_STARTUP_PACKET_LENGTH`).
pub(super) const STARTUP_LONGEST: u32 = 10_000;

/// Bytes of a body that tell whether it is what its type says: names, and the first words of a statement.
const TELLING: usize = 64;

/// Messages of the client that are checked.
const WALK: usize = 8;

/// What a client sends before there are messages with types (55.2.1, 55.2.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Protocol 3: user, database, settings.
    Startup { length: usize },
    /// SSLRequest or GSSENCRequest.
    Encryption,
    /// Another connection's statement is to be cancelled.
    Cancel,
    /// Not yet to be told.
    TooShort,
    /// None of them.
    Invalid,
}

/// Reads the first packet of a connection, or the one after declined encryption.
pub(super) fn opening(bytes: &[u8]) -> Opening {
    let Some((&[a, b, c, d, e, f, g, h], _)) = bytes.split_first_chunk::<8>() else {
        // The length's first two bytes are zero.
        let plausible = bytes.iter().take(2).all(|byte| *byte == 0);
        return if plausible { Opening::TooShort } else { Opening::Invalid };
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let code = [u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h])];
    match (code, length) {
        ([1234, 5679 | 5680], 8) => Opening::Encryption,
        // The key has 4 bytes, with protocol 3.2 up to 256.
        ([1234, 5678], 16..=268) => Opening::Cancel,
        ([3, _], 9..=STARTUP_LONGEST) => Opening::Startup { length: length as usize },
        _ => Opening::Invalid,
    }
}

/// [`crate::protocols::Registration::detect`].
pub(super) fn detect(bytes: &[u8], hint: Hint) -> Guess {
    if hint.from_start {
        return match opening(bytes) {
            Opening::Startup { .. } | Opening::Encryption | Opening::Cancel => Guess::Client,
            Opening::TooShort => Guess::TooShort,
            Opening::Invalid => Guess::No,
        };
    }
    match requests(bytes, hint.port == DEFAULT_PORT) {
        Guess::No => responses(bytes),
        guess => guess,
    }
}

/// Whether the bytes are messages of a client, from the first on.
pub(super) fn requests(bytes: &[u8], relaxed: bool) -> Guess {
    let mut rest = bytes;
    // `CSELECT 1` is a server's CommandComplete or closes the statement `ELECT 1`: something else has to follow.
    let mut certain = false;
    for checked in 0..WALK {
        let header = match frontend(rest) {
            Frame::Message(header) => header,
            Frame::TooShort if checked > 0 => return if certain { Guess::Client } else { Guess::No },
            Frame::TooShort => {
                let plausible = rest.first().is_some_and(|kind| b"QPBEDC".contains(kind))
                    && rest.iter().skip(1).take(1).all(|byte| *byte < 0x40);
                return if plausible { Guess::TooShort } else { Guess::No };
            }
            Frame::Invalid => return Guess::No,
        };
        if checked == 0 && !b"QPBEDC".contains(&header.kind) {
            return Guess::No;
        }
        let body = rest.get(HEADER..).unwrap_or_default();
        let Some((whole, after)) = body.split_at_checked(header.body) else {
            return match body.len() {
                _ if certain || begins(header, body, relaxed) => Guess::Client,
                0..TELLING if b"QPB".contains(&header.kind) => Guess::TooShort,
                _ => Guess::No,
            };
        };
        if !fits(header, whole) {
            return Guess::No;
        }
        certain |= header.kind != b'C';
        rest = after;
    }
    Guess::Client
}

/// Whether a whole body is what its type says.
fn fits(header: Header, body: &[u8]) -> bool {
    let name_and = |body, rest: usize| text(body).is_some_and(|(_, after)| after.len() == rest);
    match header.kind {
        b'Q' => text(body).is_some_and(|(sql, after)| after.is_empty() && !sql.iter().any(|byte| is_control(*byte))),
        b'P' => text(body).and_then(|(_, after)| text(after)).is_some_and(|(_, types)| {
            types
                .split_first_chunk::<2>()
                .is_some_and(|(count, types)| types.len() == usize::from(u16::from_be_bytes(*count)) * 4)
        }),
        b'B' => text(body).and_then(|(_, after)| text(after)).is_some_and(|(_, after)| after.len() >= 6),
        b'D' | b'C' => body.split_first().is_some_and(|(what, name)| matches!(what, b'S' | b'P') && name_and(name, 0)),
        b'E' => name_and(body, 4),
        _ => true,
    }
}

/// Whether the part of a body that is there is what its type says: a known SQL operation, or the usual port.
fn begins(header: Header, body: &[u8], relaxed: bool) -> bool {
    let sql = match header.kind {
        b'Q' => body,
        b'P' => match text(body) {
            Some((_, sql)) => sql,
            None => return false,
        },
        b'B' => return relaxed && text(body).is_some_and(|(_, after)| text(after).is_some()),
        _ => return false,
    };
    let sql = sql.split(|byte| *byte == 0).next().unwrap_or_default();
    !sql.iter().any(|byte| is_control(*byte))
        && Statement::new(sql, Dialect::PostgreSql, &Options::default()).summary.is_some()
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 && !byte.is_ascii_whitespace()
}

/// Whether the bytes are a server's messages from the first on and end with a ReadyForQuery.
fn responses(bytes: &[u8]) -> Guess {
    let mut rest = bytes;
    while let Frame::Message(header) = backend(rest) {
        if is_ready(rest) {
            return Guess::Server;
        }
        match rest.get(HEADER + header.body..) {
            Some(after) => rest = after,
            None => return Guess::No,
        }
    }
    Guess::No
}
