//! What PostgreSQL and MySQL share: sanitised text, summary, and the span of one executed statement.

mod lexer;
mod sanitize;
mod span;
mod split;
mod summary;
#[cfg(test)]
mod tests;

pub use span::Execution;
pub use split::split;

use crate::protocols::{
    Options, SqlText,
    held::{Held, Tally},
    likeness::Likeness,
};

/// How a database's SQL differs where sanitising has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `"x"` is an identifier, `$1` a parameter, `$tag$…$tag$` and `E'…'` are strings, comments nest.
    PostgreSql,
    /// `"x"` is a string, backquotes quote identifiers, `#` begins a comment, backslash escapes.
    MySql,
}

/// What is known of a statement's text when it is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// `db.query.text`, already sanitised (or raw, or absent) as the options say.
    pub text: Option<String>,
    /// `db.query.summary`, at most 255 characters.
    pub summary: Option<String>,
    /// What sort of statement it is.
    pub likeness: Likeness,
    held: Held,
}

impl Statement {
    /// Sanitises and summarises one statement's text, of which [`Options::sql_limit`] bytes are looked at. `text` may be cut
    /// short anywhere and need not be UTF-8. Sanitising leaves parameters alone, so a parameterised text is reported
    /// as it was sent (OpenTelemetry's rule) unless it has literals or comments of its own.
    #[must_use]
    pub fn new(text: &[u8], dialect: Dialect, options: &Options) -> Self {
        let text = text.get(..options.sql_limit).unwrap_or(text);
        let reported = match options.sql_text {
            SqlText::Sanitized => Some(sanitize::sanitize(text, dialect)),
            SqlText::Raw => Some(String::from_utf8_lossy(text).into_owned()),
            SqlText::Off => None,
        };
        Self {
            text: reported.filter(|text| !text.is_empty()),
            summary: summary::summarize(text, dialect),
            likeness: Likeness::of_sql(text),
            held: Held::default(),
        }
    }

    /// Counts it among what a parser keeps, with `more` bytes that are kept as long as it is.
    #[must_use]
    pub fn kept_by(mut self, tally: &Tally, more: usize) -> Self {
        let texts = [&self.text, &self.summary].into_iter().flatten().map(String::len).sum::<usize>();
        self.held = tally.hold(size_of::<Self>() + texts + more);
        self
    }
}
