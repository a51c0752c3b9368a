//! A request whose response is awaited.

use super::Begin;
use crate::{
    event::Time,
    protocols::{
        Connection, ExchangeId, Options, Role, Signal,
        held::Tally,
        http::{Call, Request, fields::Fields},
    },
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
    /// The client sent the request without a word from the server since the one before it.
    ahead: bool,
    method: Method,
    call: Call,
    /// The final response's head was lost.
    missed: bool,
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
        request: &Request<'_>,
        connection: &Connection,
        options: &Options,
    ) -> Self {
        let method = match request.method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let call = Call::new(request, begin.first, connection, options);
        Self { id, ahead: !begin.turned, method, call, missed: false }
    }

    /// Counts it among what the parser keeps.
    pub(super) fn kept_by(self, tally: &Tally) -> Self {
        Self { call: self.call.kept_by(tally, size_of::<Self>()), ..self }
    }

    pub(super) fn method(&self) -> Method {
        self.method
    }

    /// Whether the client sent the request without a word from the server since the one before it.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// Whether the head of the final response was seen.
    pub(super) fn is_answered(&self) -> bool {
        self.call.is_answered()
    }

    /// Whether a response's head whose first byte was sent or received at this time can be this exchange's: one that
    /// began before the request is the end of what was asked before.
    pub(super) fn awaits_answer(&self, began: Time) -> bool {
        !self.is_begun() && began >= self.call.start()
    }

    /// Whether the head of the final response has been sent, seen or not.
    pub(super) fn is_begun(&self) -> bool {
        self.is_answered() || self.missed
    }

    /// The head of the final response will not be seen, unless it already was.
    pub(super) fn miss(&mut self) {
        self.missed = true;
    }

    /// The head of the final response was seen, or the part of it that was captured.
    pub(super) fn answer(&mut self, status: u16, fields: &Fields<'_>, options: &Options) {
        self.call.answer(status, fields, options);
    }

    pub(super) fn close(self, outcome: Outcome, end: Time, local_role: Role) -> Signal {
        let failure = match outcome {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Complete | Outcome::Incomplete => None,
        };
        Signal::Closed(self.id, Box::new(self.call.close(failure, end, local_role)))
    }
}
