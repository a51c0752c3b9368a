//! The text of one COM_QUERY: one statement, or several.

use std::sync::Arc;

use super::packet::{Reader, name};
use crate::protocols::{
    Options,
    held::Tally,
    sql::{self, Dialect, Statement},
};

/// What is executed by one command.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// The text taken as one statement.
    pub(super) whole: Part,
    /// The statements of a text that has several.
    pub(super) parts: Vec<Part>,
}

/// One statement.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// What is reported of it.
    pub(super) statement: Arc<Statement>,
    /// It calls a stored procedure: it may give several result sets and ends with an OK packet.
    pub(super) call: bool,
    /// It is `USE` of this database.
    pub(super) database: Option<String>,
}

impl Script {
    /// Understands a text; `several` if the connection allows more than one statement in it.
    pub(super) fn new(text: &[u8], several: bool, options: &Options, tally: &Tally) -> Self {
        let pieces =
            if several && memchr::memchr(b';', text).is_some() { sql::split(text, Dialect::MySql) } else { Vec::new() };
        let parts = if pieces.len() > 1 {
            pieces.into_iter().map(|piece| Part::new(piece, options, tally)).collect()
        } else {
            Vec::new()
        };
        Self { whole: Part::new(text, options, tally), parts }
    }

    /// A prepared statement.
    pub(super) fn prepared(statement: Arc<Statement>) -> Self {
        Self { whole: Part { statement, ..Part::default() }, parts: Vec::new() }
    }

    /// The statement that the result of this index belongs to.
    pub(super) fn part(&self, index: usize) -> &Part {
        self.parts.get(index).unwrap_or(&self.whole)
    }
}

impl Part {
    fn new(text: &[u8], options: &Options, tally: &Tally) -> Self {
        let (word, rest) = first_word(text);
        let database = if word.eq_ignore_ascii_case(b"USE") { used_database(rest) } else { None };
        let name = database.as_ref().map_or(0, String::len);
        let statement = Statement::new(text, Dialect::MySql, options).kept_by(tally, size_of::<Self>() + name);
        Self { statement: Arc::new(statement), call: word.eq_ignore_ascii_case(b"CALL"), database }
    }
}

/// The first word of a statement, and what follows it.
pub(super) fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or_default()
}

/// The name in `USE name` or ``USE `name` ``.
fn used_database(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii();
    if let Some(quoted) = text.strip_prefix(b"`") {
        let end = memchr::memchr(b'`', quoted)?;
        return quoted.get(..end).and_then(name);
    }
    let end = text.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b';').unwrap_or(text.len());
    text.get(..end).and_then(name)
}

/// Whether a query's payload begins with attributes, where the negotiation was not seen: no statement begins with
/// a small number of parameters followed by the number of parameter sets, which is always 1.
pub(super) fn looks_like_attributes(payload: &[u8]) -> bool {
    matches!(payload, [count, 1, ..] if *count < b'\t')
}

/// Passes over the attributes of a query (`CLIENT_QUERY_ATTRIBUTES`: count, sets, then as in COM_STMT_EXECUTE a null bitmap,
/// types with names, and values); `None` if they are cut short.
pub(super) fn after_attributes(payload: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(payload);
    let count = usize::try_from(reader.lenenc()?).ok()?;
    let _sets = reader.lenenc()?;
    if count == 0 {
        return Some(reader.0);
    }
    let nulls = reader.take(count.div_ceil(8))?;
    let _new_types = reader.byte()?;
    // Each type takes two bytes at least, which bounds a hostile count.
    let mut types = Vec::with_capacity(count.min(reader.0.len() / 2));
    for _ in 0..count {
        types.push(reader.int2()?);
        let _name = reader.lenenc_bytes()?;
    }
    for (index, kind) in types.into_iter().enumerate() {
        let null = nulls.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1);
        if !null {
            pass_value(&mut reader, kind)?;
        }
    }
    Some(reader.0)
}

/// Passes over one value of the binary protocol. The type's upper byte only says whether it is signed.
fn pass_value(reader: &mut Reader<'_>, kind: u16) -> Option<()> {
    let fixed = match kind.to_le_bytes()[0] {
        0x06 => 0,                                          // NULL
        0x01 => 1,                                          // TINY
        0x02 | 0x0D => 2,                                   // SHORT, YEAR
        0x03 | 0x04 | 0x09 => 4,                            // LONG, FLOAT, INT24
        0x05 | 0x08 => 8,                                   // DOUBLE, LONGLONG
        0x07 | 0x0A | 0x0B | 0x0C => reader.byte()?.into(), // TIMESTAMP, DATE, TIME, DATETIME
        _ => usize::try_from(reader.lenenc()?).ok()?,
    };
    reader.take(fixed).map(|_| ())
}
