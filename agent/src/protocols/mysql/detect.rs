//! Recognising the protocol by its bytes.

use super::{
    command::Command,
    handshake::PROTOCOL_VERSION,
    packet::{HEADER, Header, Reader},
    script::{after_attributes, first_word, looks_like_attributes},
};
use crate::protocols::{Guess, Hint};

/// The port on which less proof is asked for.
const PORT: u16 = 3306;

/// Longest version in a greeting; known ones have less than 60 characters.
const VERSION: usize = 128;

/// A greeting is longer than this: 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10 + 13 after the version.
const SHORTEST_GREETING: usize = 44;

/// Words that statements begin with.
const VERBS: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "WITH",
    "SET",
    "SHOW",
    "USE",
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "RENAME",
    "CALL",
    "DO",
    "EXPLAIN",
    "DESCRIBE",
    "DESC",
    "ANALYZE",
    "OPTIMIZE",
    "CHECK",
    "REPAIR",
    "LOCK",
    "UNLOCK",
    "LOAD",
    "HANDLER",
    "GRANT",
    "REVOKE",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "KILL",
    "FLUSH",
    "XA",
    "TABLE",
    "VALUES",
];

/// How sure it is that bytes are a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    Yes,
    No,
    TooShort,
}

/// Recognises a greeting at the start of a connection, or a command in the middle of one.
pub(super) fn detect(bytes: &[u8], hint: Hint) -> Guess {
    if hint.from_start {
        return match looks_like_greeting(bytes) {
            Likeness::Yes => Guess::Server,
            Likeness::No => Guess::No,
            Likeness::TooShort => Guess::TooShort,
        };
    }
    match looks_like_command(bytes, hint.port == PORT) {
        Likeness::Yes => Guess::Client,
        Likeness::No => Guess::No,
        Likeness::TooShort => Guess::TooShort,
    }
}

/// The first packet of a connection: version 10 and a version text that begins with a digit.
fn looks_like_greeting(bytes: &[u8]) -> Likeness {
    let zero = |at: usize| bytes.get(at).is_none_or(|&byte| byte == 0);
    if bytes.first().is_some_and(|&length| usize::from(length) < SHORTEST_GREETING) || !zero(2) || !zero(3) {
        return Likeness::No;
    }
    if bytes.get(1).is_some_and(|&byte| byte > 1) || bytes.get(HEADER).is_some_and(|&v| v != PROTOCOL_VERSION) {
        return Likeness::No;
    }
    let version = bytes.get(HEADER + 1..).unwrap_or_default();
    if version.first().is_some_and(|byte| !byte.is_ascii_digit()) {
        return Likeness::No;
    }
    let window = version.get(..VERSION).unwrap_or(version);
    match window.iter().position(|byte| !byte.is_ascii_graphic() && *byte != b' ') {
        Some(end) if window.get(end) == Some(&0) => Likeness::Yes,
        Some(_) => Likeness::No,
        None if window.len() == VERSION => Likeness::No,
        None => Likeness::TooShort,
    }
}

/// A packet with sequence number 0, a known command, and arguments that fit it. Statements are recognised by their first
/// word, so that the rest may be missing; anything else must be exactly as long as it says. `relaxed`: other evidence for the
/// protocol exists, so commands that say little about themselves count as well.
pub(super) fn looks_like_command(bytes: &[u8], relaxed: bool) -> Likeness {
    let Some((header, payload)) = Header::parse(bytes) else { return Likeness::TooShort };
    if header.sequence != 0 || header.length == 0 || is_tls_record(bytes) {
        return Likeness::No;
    }
    let exact = payload.len() == header.length;
    let followed = payload.get(header.length..).filter(|rest| !rest.is_empty());
    let payload = payload.get(..header.length).unwrap_or(payload);
    let Some((&code, arguments)) = payload.split_first() else { return Likeness::TooShort };
    let Some(command) = Command::new(code) else { return Likeness::No };
    if let Some(next) = followed {
        // What follows must be a command too.
        if next.get(3).is_some_and(|&sequence| sequence != 0)
            || next.get(4).is_some_and(|&code| Command::new(code).is_none())
        {
            return Likeness::No;
        }
    }
    let complete = exact || followed.is_some();
    let sure = |yes: bool| if yes { Likeness::Yes } else { Likeness::No };
    match command {
        Command::Query | Command::Prepare => {
            let printable = arguments.first().is_some_and(u8::is_ascii_alphabetic);
            if relaxed && exact && printable { Likeness::Yes } else { looks_like_statement(arguments, complete) }
        }
        Command::Execute => {
            if header.length < 10 {
                return Likeness::No;
            }
            // Id, flags, and the iteration count, which is always 1.
            match arguments.get(4..9) {
                Some(&[flags, 1, 0, 0, 0]) => sure(flags <= 0x0F),
                Some(_) => Likeness::No,
                None if complete => Likeness::No,
                None => Likeness::TooShort,
            }
        }
        Command::ResetConnection => sure(exact && header.length == 1),
        Command::Other if code == 0x0E => sure(exact && header.length == 1),
        Command::Close => sure(header.length == 5 && (followed.is_some() || relaxed && exact)),
        Command::InitDb => {
            sure(relaxed && exact && arguments.iter().all(|byte| *byte >= b' ') && !arguments.is_empty())
        }
        Command::Fetch => sure(relaxed && exact && header.length == 9),
        Command::SetOption => sure(relaxed && exact && header.length == 3),
        Command::Statistics => sure(relaxed && exact && header.length == 1),
        Command::BulkExecute => sure(relaxed && matches!(arguments.get(4..6), Some(&[0 | 0x40 | 0x80 | 0xC0, 0]))),
        Command::SendLongData => sure(relaxed && header.length >= 7),
        Command::FieldList => sure(relaxed && exact && arguments.contains(&0)),
        Command::ChangeUser => sure(relaxed && exact && memchr::memchr(0, arguments).is_some()),
        Command::Quit | Command::Stream | Command::ProcessInfo | Command::Other => Likeness::No,
    }
}

/// A TLS record of less than 256 bytes looks like the header of a packet of 197 KB: type, version 3.x, length.
fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
}

/// Whether these are the first bytes of a statement (after attributes and comments).
fn looks_like_statement(arguments: &[u8], complete: bool) -> Likeness {
    let text = if looks_like_attributes(arguments) {
        match after_attributes(arguments) {
            Some(text) => text,
            None => return Likeness::No,
        }
    } else {
        arguments
    };
    let mut text = Reader(text.trim_ascii_start());
    while let Some(b'(' | b' ') = text.0.first() {
        text.take(1);
    }
    if text.0.starts_with(b"/*") || text.0.starts_with(b"-- ") || text.0.starts_with(b"#") {
        return Likeness::Yes;
    }
    let (word, rest) = first_word(text.0);
    if VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb.as_bytes())) {
        return Likeness::Yes;
    }
    let prefix = |verb: &&str| verb.as_bytes().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if !complete && rest.is_empty() && VERBS.iter().any(prefix) {
        return Likeness::TooShort;
    }
    Likeness::No
}
