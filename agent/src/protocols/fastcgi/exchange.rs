//! A request from its first record on.

use super::{
    params::Variables,
    record::{Ending, RequestId},
};
use crate::{
    event::Time,
    protocols::{
        Connection, ExchangeId, Input, Options, Role, Signal,
        held::Tally,
        http::{
            Call, Request,
            fields::{Fields, Lines, find_end},
        },
    },
};

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With its end record.
    Ended(Ending),
    /// Its client had enough of the response.
    Left,
    /// Without a response, for this reason (`error.type`).
    Failed(&'static str),
    /// In a way that was not seen.
    Incomplete,
}

/// A request whose variables are being sent.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) id: RequestId,
    /// When its first byte was sent or received.
    pub(super) first: Time,
    /// Position of its first byte.
    pub(super) position: u32,
    /// The content of its `FCGI_PARAMS` so far.
    pub(super) params: Vec<u8>,
    /// There were more than are kept.
    pub(super) cut: bool,
}

impl Begun {
    pub(super) fn new(id: RequestId, input: &Input<'_>) -> Self {
        Self { id, first: input.first, position: input.position, params: Vec::new(), cut: false }
    }

    /// Keeps what there is room for; says whether it was all.
    pub(super) fn add(&mut self, bytes: &[u8], limit: usize) -> bool {
        let room = limit.saturating_sub(self.params.len());
        self.params.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.cut |= bytes.len() > room;
        !self.cut
    }

    pub(super) fn variables(&self) -> Variables<'_> {
        Variables::parse(&self.params)
    }
}

/// A request whose end is awaited.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: RequestId,
    pub(super) exchange: ExchangeId,
    call: Call,
    /// The request's last byte has passed.
    requested: bool,
    head: Head,
}

/// The header of a response (RFC 3875 §6.2).
#[derive(Debug)]
enum Head {
    /// What was sent of it.
    Part(Vec<u8>),
    /// It was seen, or never will be.
    Over,
}

impl Open {
    pub(super) fn new(
        begun: &Begun,
        exchange: ExchangeId,
        request: &Request<'_>,
        connection: &Connection,
        options: &Options,
    ) -> Self {
        let call = Call::new(request, begun.first, connection, options);
        Self { id: begun.id, exchange, call, requested: false, head: Head::Part(Vec::new()) }
    }

    /// Counts it among what the parser keeps.
    pub(super) fn kept_by(self, tally: &Tally) -> Self {
        Self { call: self.call.kept_by(tally, size_of::<Self>()), ..self }
    }

    /// Bytes kept of the response's header.
    pub(super) fn held(&self) -> usize {
        match &self.head {
            Head::Part(bytes) => bytes.len(),
            Head::Over => 0,
        }
    }

    /// The request is complete: whether that is new.
    pub(super) fn request_sent(&mut self) -> bool {
        !std::mem::replace(&mut self.requested, true)
    }

    /// Whether the response's header was seen.
    pub(super) fn is_answered(&self) -> bool {
        self.call.is_answered()
    }

    /// Whether more of the response's header is to come.
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.head, Head::Part(_))
    }

    /// More of the response.
    pub(super) fn add(&mut self, bytes: &[u8], options: &Options) -> Added {
        let Head::Part(head) = &mut self.head else { return Added::Complete };
        let searched = head.len();
        head.extend_from_slice(bytes);
        let end = if head.starts_with(b"\n") || head.starts_with(b"\r\n") { Some(0) } else { find_end(head, searched) };
        let Some(end) = end else {
            if head.len() < options.head_limit {
                return Added::More;
            }
            self.miss(options);
            return Added::TooLong;
        };
        let head = std::mem::take(head);
        let fields = Fields::of_lines(Lines(head.get(..end).unwrap_or_default()));
        self.head = Head::Over;
        // RFC 3875 §6.2.3: a redirect may come without a status; §6.3.3: nothing else has to say that it is well.
        let redirected = fields.value("location").map_or(200, |_| 302);
        self.call.answer(status(&fields).unwrap_or(redirected), &fields, options);
        Added::Complete
    }

    /// The rest of the response's header will not be seen: what was is believed if the status is there.
    pub(super) fn miss(&mut self, options: &Options) {
        let Head::Part(head) = std::mem::replace(&mut self.head, Head::Over) else { return };
        let fields = Fields::of_lines(Lines(&head));
        if let Some(status) = status(&fields) {
            self.call.answer(status, &fields, options);
        }
    }

    pub(super) fn close(self, outcome: Outcome, end: Time, local_role: Role) -> Signal {
        let silent = matches!(&self.head, Head::Part(head) if head.is_empty());
        let failure = match outcome {
            Outcome::Ended(ending) if silent && ending.application != 0 => Some(ending.refusal().unwrap_or("_OTHER")),
            Outcome::Ended(ending) => ending.refusal(),
            Outcome::Failed(reason) => Some(reason),
            Outcome::Left | Outcome::Incomplete => None,
        };
        Signal::Closed(self.exchange, Box::new(self.call.close(failure, end, local_role)))
    }
}

/// What became of a part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// The header is not complete.
    More,
    /// Nothing more has to be seen of the response.
    Complete,
    /// The header is longer than what is kept.
    TooLong,
}

/// `Status: 404 Not Found`.
fn status(fields: &Fields<'_>) -> Option<u16> {
    let code = fields.value("status")?.split(|&byte| byte == b' ').next()?;
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    (100..1000).contains(&code).then_some(code)
}
