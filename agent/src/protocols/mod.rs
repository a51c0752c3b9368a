//! Bytes become messages, messages become exchanges.
//!
//! A protocol is pure: no I/O, no clock, no knowledge of sockets or processes, and no input makes it panic. It is one
//! value for each connection, fed by [`crate::streams`], and reports through [`Signals`]. To add one: a file or folder
//! here that implements [`Protocol`], and one line in [`PROTOCOLS`].

pub mod fastcgi;
pub mod held;
mod http;
pub mod http1;
pub mod likeness;
pub mod mysql;
pub mod otlp;
pub mod postgres;
pub mod sql;
#[cfg(test)]
pub(crate) mod testing;

use crate::{
    event::{Address, End, Limits, Time},
    protocols::likeness::Likeness,
    streams::Loss,
    traces::span::{Attribute, Status},
};
use std::borrow::Cow;

/// The protocols, in the order in which a connection's first bytes are offered to them.
#[rustfmt::skip] // one line each
pub static PROTOCOLS: &[Registration] = &[
    http1::REGISTRATION,
    fastcgi::REGISTRATION,
    postgres::REGISTRATION,
    mysql::REGISTRATION,
];

/// How a protocol is found and begun.
#[derive(Debug)]
pub struct Registration {
    /// The name in counters and `--help` (`http`, `fastcgi`, `postgresql`, `mysql`).
    pub name: &'static str,
    /// Recognises the protocol by the first bytes of one direction.
    pub detect: fn(&[u8], Hint) -> Guess,
    /// A parser for a new connection.
    pub start: fn(Connection, &Options) -> Box<dyn Protocol>,
}

/// What else is known when bytes are to be recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// The listening side's port if the socket's origin tells it, else the lower of the two; 0 for Unix sockets.
    pub port: u16,
    /// The connection was seen from its start, and these are its first bytes in this direction. Otherwise they are bytes that
    /// followed a change of direction in the middle of a connection (the likely start of a message).
    pub from_start: bool,
}

/// What the bytes of one direction look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// The sender of these bytes is this protocol's client.
    Client,
    /// The sender of these bytes is this protocol's server.
    Server,
    /// Could be, but too few bytes to tell.
    TooShort,
    /// Not this protocol.
    No,
}

/// An end of a connection in the protocol's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends requests.
    Client,
    /// Sends responses.
    Server,
}

/// What a parser may know about its connection, for attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Which end the observed process is. SQL protocols report nothing on the server's end (one CLIENT span a statement).
    pub local_role: Role,
    /// The observed process's end.
    pub local: Address,
    /// The other end.
    pub peer: Address,
    /// Whether the connection was seen from its first byte (then a parser expects the protocol's start-up).
    pub from_start: bool,
}

/// What the user decided that changes what a protocol reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--sql-text`.
    pub sql_text: SqlText,
    /// Longest SQL text that is looked at, bytes (`--sql-limit`).
    pub sql_limit: usize,
    /// Longest HTTP head that is looked at, bytes (`--head-limit`).
    pub head_limit: usize,
    /// Whether `db.response.returned_rows` is reported.
    pub returned_rows: bool,
    /// Known HTTP methods (`OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` replaces the default).
    pub http_methods: Vec<String>,
    /// Request and response header names (lower case) that become `http.{request,response}.header.*`; empty by default.
    pub http_headers: Vec<String>,
    /// URL query keys whose values are redacted (case-sensitive).
    pub redacted_query_keys: Vec<String>,
    /// Whether a program's requests make spans although it exports its own (`--sdk trace`).
    pub trace_instrumented: bool,
}

/// What `db.query.text` holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SqlText {
    /// Literals replaced by `?`.
    #[default]
    Sanitized,
    /// As sent.
    Raw,
    /// Not reported.
    Off,
}

impl Default for Options {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            sql_text: SqlText::Sanitized,
            sql_limit: Limits::DEFAULT.sql as usize,
            head_limit: Limits::DEFAULT.head as usize,
            returned_rows: false,
            http_methods: owned(&[
                "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
            ]),
            trace_instrumented: false,
            http_headers: Vec::new(),
            redacted_query_keys: owned(&[
                "X-Amz-Signature",
                "X-Amz-Credential",
                "X-Amz-Security-Token",
                "AWSAccessKeyId",
                "Signature",
                "sig",
                "X-Goog-Signature",
            ]),
        }
    }
}

/// The parser of one connection.
///
/// The stream calls [`Protocol::read`] with all bytes of one direction that were not taken yet, again and again until
/// it answers [`Taken::More`], and once more when more bytes came. It never offers an empty slice.
pub trait Protocol: Send {
    /// Looks at the bytes that `from` sent and takes what it understands.
    fn read(&mut self, from: Role, input: Input<'_>, signals: &mut Signals) -> Taken;

    /// The bytes that an earlier [`Taken::Skip`] asked to pass over have all been sent; the last of them at `time`.
    fn skipped(&mut self, from: Role, time: Time, signals: &mut Signals);

    /// Bytes that `from` sent are missing where they were needed: message boundaries in this direction are lost. Bytes that
    /// were offered and not taken are gone too. The next input is to be searched for a boundary: [`Input::turned`] marks a likely one,
    /// and a response's end may stand at the end of the input (the last bytes of a call are captured even when its middle is not).
    ///
    /// A response must never be given to another request. After [`Missing::Calls`] of the server, therefore, nothing that is open may
    /// be paired with what comes.
    fn lost(&mut self, from: Role, missing: Missing, time: Time, signals: &mut Signals);

    /// `from` will send nothing more. On [`End::Closed`], [`End::Reset`] and [`End::TimedOut`] it is called for both roles,
    /// the observed process's own first; every exchange that is still open must be closed in the second call.
    fn end(&mut self, from: Role, end: End, time: Time, signals: &mut Signals);

    /// About how many bytes it keeps in tables, queues and collected parts of messages; asked after every call, so it is to be
    /// known without counting ([`held::Tally`]). The engine gives connections up that keep too much.
    fn held(&self) -> usize;
}

/// Bytes of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Contiguous bytes from the first that was not taken.
    pub bytes: &'a [u8],
    /// When the first of them was sent (entry of the write) or received (exit of the read).
    pub first: Time,
    /// The same for the last of them.
    pub last: Time,
    /// Position of the first in its direction, see [`crate::event::Data::position`].
    pub position: u32,
    /// The first byte is the first that this side sent after the other side had sent something.
    pub turned: bool,
}

/// What is missing between the bytes of one side that were seen and those that come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Whole calls: any number of messages and turns. Where the server's are missing, so may be requests that the client sent in
    /// between, which shows only when the client's next bytes come.
    Calls,
    /// A part of one call, or of a message that was too long to be kept: both sides' turns are known.
    Part,
}

/// What a parser did with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing yet: the bytes are an incomplete message; offer them again with more. The stream keeps at most
    /// [`crate::streams::BUFFER_LIMIT`] bytes; beyond, it says `lost`.
    More,
    /// This many bytes (more than 0) were understood; offer the rest.
    Bytes(usize),
    /// This many bytes (0 is allowed) were understood, and the next `skip` (more than 0) need not be seen: they may be missing.
    /// [`Protocol::skipped`] is called when they have passed; [`FOREVER`] never ends.
    Skip {
        /// Bytes of the input that were understood.
        bytes: usize,
        /// Bytes after them that are passed over, in the input or still to come.
        skip: u64,
    },
}

impl Taken {
    /// `bytes` were understood, and the `skip` after them (perhaps none) are passed over.
    #[must_use]
    pub fn past(bytes: usize, skip: usize) -> Self {
        match skip as u64 {
            0 => Self::Bytes(bytes),
            skip => Self::Skip { bytes, skip },
        }
    }
}

/// Skip everything that this side still sends (a body that ends with the connection, a tunnel).
pub const FOREVER: u64 = u64::MAX;

/// Names an exchange within its connection; a parser counts them up.
pub type ExchangeId = u64;

/// What a parser tells the traces.
#[derive(Debug, PartialEq)]
pub enum Signal {
    /// A request has been recognised (an HTTP head is complete; a statement is to be executed).
    Opened {
        /// Its name until `Closed`.
        exchange: ExchangeId,
        /// When its first byte was sent or received.
        start: Time,
        /// Position of its first byte, to match the two ends of a connection.
        position: u32,
        /// The `traceparent` and `tracestate` header values that came with it, as they stand.
        context: IncomingContext,
        /// What sort of request it is, as far as it is known by now.
        likeness: Likeness,
    },
    /// The request has been sent or received completely.
    Requested(ExchangeId),
    /// The response is complete (or will never be): the exchange is done.
    Closed(ExchangeId, Box<Exchange>),
    /// The response was not, and will not be, seen completely: `Closed` follows, with what is known. Counted as a loss.
    Incomplete(ExchangeId),
    /// The request was never executed, because one before it failed: no span, and nothing was lost.
    Dropped(ExchangeId),
    /// The start-up of a connection (greeting, authentication) is done; requests may follow. Protocols without a start-up never say it.
    Ready,
    /// Something could not be understood or was never seen.
    Lost(Loss),
    /// The connection is not worth following any more (TLS, compression, a tunnel, not this protocol after all).
    Abandon(Loss),
    /// The connection becomes another protocol or a tunnel after this exchange; nothing was lost.
    Switched,
}

/// Signals in the order in which they happened.
pub type Signals = Vec<Signal>;

/// The values of the `traceparent` and `tracestate` headers of one request, unparsed, one for each header line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncomingContext {
    /// `traceparent` lines: more than one makes all invalid.
    pub traceparent: Vec<String>,
    /// `tracestate` lines, to be combined in order.
    pub tracestate: Vec<String>,
}

/// A request and its response, as the span of the observed process's end describes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Span name.
    pub name: Cow<'static, str>,
    /// When the request's first byte was sent or received.
    pub start: Time,
    /// When the exchange ended: the last byte of the response on both ends, or the failure.
    pub end: Time,
    /// Attributes, unique keys; `error.type` among them if it failed.
    pub attributes: Vec<Attribute>,
    /// Span status.
    pub status: Status,
}
