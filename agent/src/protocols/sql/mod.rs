//! What PostgreSQL and MySQL share: sanitised text, summary, and the span of one executed statement.

use std::borrow::Cow;

use crate::{
    event::Time,
    protocols::{Connection, Exchange, Options},
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
}

impl Statement {
    /// Sanitises and summarises one statement's text. `text` may be cut short anywhere and need not be UTF-8.
    /// `parameterised`: it was sent for execution with bound parameters, so its text is reported as it is
    /// (OpenTelemetry: parameterised text is not sanitised) unless it has literals of its own.
    #[must_use]
    pub fn new(text: &[u8], parameterised: bool, dialect: Dialect, options: &Options) -> Self {
        let _ = (text, parameterised, dialect, options);
        Self::default()
    }
}

/// Where each statement of a multi-statement text ends: the texts between top-level semicolons, empty ones left out.
#[must_use]
pub fn split(text: &[u8], dialect: Dialect) -> Vec<&[u8]> {
    let _ = dialect;
    vec![text]
}

/// One executed statement, as both databases describe it.
#[derive(Debug, Clone)]
pub struct Execution<'a> {
    /// `postgresql`, `mysql` or `mariadb`.
    pub system: &'static str,
    /// Its default port: another one is reported.
    pub default_port: u16,
    /// `db.namespace`.
    pub namespace: Option<String>,
    /// What was executed.
    pub statement: &'a Statement,
    /// First byte of the request.
    pub start: Time,
    /// Last byte of the response.
    pub end: Time,
    /// `db.response.status_code`, if the database sent one that is not plain success.
    pub status_code: Option<String>,
    /// `error.type`: the status code of an error, or `connection_reset`, `timeout`, ….
    pub error: Option<Cow<'static, str>>,
    /// Rows, if known; reported only when the user opted in.
    pub rows: Option<u64>,
    /// `db.operation.batch.size`, if 2 or more.
    pub batch: Option<u64>,
}

impl Execution<'_> {
    /// The exchange, named and with attributes by the database conventions.
    #[must_use]
    pub fn exchange(self, connection: &Connection, options: &Options) -> Exchange {
        let _ = (connection, options);
        Exchange {
            name: Cow::Borrowed(self.system),
            start: self.start,
            end: self.end,
            attributes: Vec::new(),
            status: crate::traces::span::Status::Unset,
        }
    }
}
