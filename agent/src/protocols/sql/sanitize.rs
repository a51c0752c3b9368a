//! `db.query.text` without values: every literal becomes `?`, comments go, the rest stays as it was written.

use super::{
    Dialect,
    lexer::{Kind, Lexer},
};

/// How often a text is gone through: where a comment was, what is left may end in one (MySQL's `--#` is two minus signs, until
/// the `#` and what follows are gone). Twice is enough for all that was ever seen.
const PASSES: usize = 8;

/// The text with literals replaced. Parameters (`$1`, `?`) stay, so a fully parameterised text without comments is unchanged.
pub(super) fn sanitize(text: &[u8], dialect: Dialect) -> String {
    let (mut sanitized, mut comments) = pass(text, dialect);
    for _ in 1..PASSES {
        if !comments {
            break;
        }
        (sanitized, comments) = pass(sanitized.as_bytes(), dialect);
    }
    sanitized
}

/// Goes through it once; says whether there were comments.
fn pass(text: &[u8], dialect: Dialect) -> (String, bool) {
    let mut comments = false;
    let mut out = Vec::with_capacity(text.len());
    let mut removed = false;
    for token in Lexer::new(text, dialect) {
        match token.kind {
            Kind::Comment => {
                (removed, comments) = (true, true);
                // Of a row of minus signs MySQL takes the last two for a comment; those before would be the next one.
                if out.ends_with(b"--") {
                    let signs = out.iter().rev().take_while(|byte| **byte == b'-').count();
                    out.truncate(out.len() - signs);
                }
                continue;
            }
            Kind::Literal => out.push(b'?'),
            Kind::Word | Kind::Quoted => {
                // `a/**/b` are two words, and must not become one.
                if removed && out.last().is_some_and(|byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_') {
                    out.push(b' ');
                }
                out.extend_from_slice(token.text);
            }
            Kind::Symbol => {
                // `-/**/-` begins no comment, and must not do so afterwards.
                if removed
                    && let (Some(last), Some(next)) = (out.last(), token.text.first())
                    && joined(*last, *next)
                {
                    out.push(b' ');
                }
                out.extend_from_slice(token.text);
            }
            Kind::Space | Kind::Parameter => out.extend_from_slice(token.text),
        }
        removed = false;
    }
    (String::from_utf8_lossy(out.trim_ascii()).into_owned(), comments)
}

/// Whether two symbols side by side would begin or end a comment.
fn joined(last: u8, next: u8) -> bool {
    matches!((last, next), (b'-', b'-') | (b'/', b'*') | (b'*', b'/'))
}
