//! A request whose response is awaited.

use std::borrow::Cow;

use super::{
    Begin,
    head::{Head, RequestLine},
    span,
};
use crate::{
    event::Time,
    protocols::{
        Connection, Exchange, ExchangeId, Options, Role, Signal,
        held::{Held, Tally},
    },
    traces::span::{Attribute, Value},
};

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With the last byte of its response.
    Complete,
    /// Without it, for this reason (`error.type`).
    Failed(&'static str),
    /// In a way that was not seen.
    Incomplete,
}

/// An exchange from the end of its request's head on.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: ExchangeId,
    begin: Begin,
    name: Cow<'static, str>,
    attributes: Vec<Attribute>,
    method: Method,
    /// The code of the final response, once its head was seen.
    status: Option<u16>,
    /// The final response's head was lost.
    missed: bool,
    held: Held,
}

/// The methods that change how a response is framed (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

impl Open {
    pub(super) fn new(
        id: ExchangeId,
        begin: Begin,
        line: &RequestLine<'_>,
        head: &Head<'_>,
        connection: &Connection,
        options: &Options,
    ) -> Self {
        let method = match line.method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let attributes = span::of_request(line, head, connection, options);
        Self {
            id,
            begin,
            name: span::name(line.method, options),
            attributes,
            method,
            status: None,
            missed: false,
            held: Held::default(),
        }
    }

    /// Counts it among what the parser keeps; the few attributes of its response are not worth counting.
    pub(super) fn kept_by(mut self, tally: &Tally) -> Self {
        let bytes = |(_, value): &Attribute| match value {
            Value::String(text) => text.len(),
            Value::Strings(texts) => texts.iter().map(|text| text.len() + size_of::<String>()).sum(),
            Value::Int(_) | Value::Bool(_) | Value::Double(_) => 0,
        };
        let attributes: usize = self.attributes.iter().map(bytes).sum();
        self.held = tally.hold(size_of::<Self>() + self.attributes.len() * size_of::<Attribute>() + attributes);
        self
    }

    pub(super) fn method(&self) -> Method {
        self.method
    }

    /// Whether the client sent the request without a word from the server since the one before it.
    pub(super) fn is_ahead(&self) -> bool {
        !self.begin.turned
    }

    /// Whether the head of the final response was seen.
    pub(super) fn is_answered(&self) -> bool {
        self.status.is_some()
    }

    /// Whether a response's head whose first byte was sent or received at this time can be this exchange's: one that
    /// began before the request is the end of what was asked before.
    pub(super) fn awaits_answer(&self, began: Time) -> bool {
        !self.is_begun() && began >= self.begin.first
    }

    /// Whether the head of the final response has been sent, seen or not.
    pub(super) fn is_begun(&self) -> bool {
        self.status.is_some() || self.missed
    }

    /// The head of the final response will not be seen, unless it already was.
    pub(super) fn miss(&mut self) {
        self.missed = true;
    }

    /// The head of the final response was seen, or the part of it that was captured.
    pub(super) fn answer(&mut self, status: u16, head: &Head<'_>, options: &Options) {
        self.status = Some(status);
        self.attributes.extend(span::of_response(status, head, options));
    }

    pub(super) fn close(mut self, outcome: Outcome, end: Time, local_role: Role) -> Signal {
        let failure = match outcome {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Complete | Outcome::Incomplete => None,
        };
        let (error, status) = span::verdict(self.status, failure, local_role);
        self.attributes.extend(error);
        let Self { id, begin: Begin { first: start, .. }, name, attributes, method: _, status: _, missed: _, held: _ } =
            self;
        Signal::Closed(id, Box::new(Exchange { name, start, end: end.max(start), attributes, status }))
    }
}
