//! Where one statement of a multi-statement text ends and the next begins.

use super::{
    Dialect,
    lexer::{Kind, Lexer},
};

/// The statements of a text: what stands between top-level semicolons, white space trimmed, those that hold nothing but
/// white space and comments left out. Semicolons in strings, comments, parentheses (`CREATE RULE`) and PostgreSQL's
/// `BEGIN ATOMIC … END` do not separate.
#[must_use]
pub fn split(text: &[u8], dialect: Dialect) -> Vec<&[u8]> {
    let mut statements = Vec::new();
    let (mut start, mut at) = (0, 0);
    let (mut parentheses, mut blocks) = (0_usize, 0_usize);
    let (mut holds_something, mut after_begin) = (false, false);
    let mut push = |from: usize, to: usize| statements.extend(text.get(from..to).map(<[u8]>::trim_ascii));
    for token in Lexer::new(text, dialect) {
        let end = at + token.text.len();
        if token.symbol(b';') && parentheses == 0 && blocks == 0 {
            if holds_something {
                push(start, at);
            }
            start = end;
            holds_something = false;
        } else if !matches!(token.kind, Kind::Space | Kind::Comment) {
            holds_something = true;
            if token.symbol(b'(') {
                parentheses += 1;
            } else if token.symbol(b')') {
                parentheses = parentheses.saturating_sub(1);
            } else if (after_begin && token.is("atomic")) || (blocks > 0 && token.is("case")) {
                blocks += 1;
            } else if token.is("end") {
                blocks = blocks.saturating_sub(1);
            }
            after_begin = token.is("begin");
        }
        at = end;
    }
    if holds_something {
        push(start, at);
    }
    statements
}
