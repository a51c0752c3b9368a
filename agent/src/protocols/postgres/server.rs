//! The server's direction: answers, in the order of the requests.

use super::{
    Postgres,
    client::Place,
    message::{Failure, Frame, HEADER, Header, READY, backend, is_ready, rows, text},
    session::{Outcome, Step},
};
use crate::{
    event::Time,
    protocols::{Input, Missing, Signal, Signals, Taken},
    streams::Loss,
};

/// Longest command tag (`COMPLETION_TAG_BUFSIZE`).
const TAG: usize = 64;

/// Bytes of an ErrorResponse in which the SQLSTATE is looked for: it is the third field, after two severities.
const FAILURE: usize = 256;

/// Bytes of a ParameterStatus that are looked at.
const PARAMETER: usize = 512;

/// The server's direction.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// Message boundaries are lost.
    pub(super) lost: bool,
    /// The last message was a ReadyForQuery.
    pub(super) idle: bool,
    /// Boundaries are lost, and what the server says next in its turn answers what the client has just sent.
    pub(super) turn_expected: bool,
    /// Boundaries are lost, and answers to requests that were given up may still come before those that are waited for.
    pub(super) behind: bool,
    /// Boundaries are lost: the last bytes that were passed over, for a ReadyForQuery that two calls share.
    pub(super) passed: Vec<u8>,
}

/// A message makes no sense where it stands.
struct OutOfPlace;

impl Postgres {
    pub(super) fn read_server(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        if matches!(self.place, Place::Asked) {
            return self.read_encryption_answer(input, signals);
        }
        if self.server.lost {
            if !(self.server.turn_expected && input.turned) {
                return self.seek_ready(input, signals);
            }
            match backend(input.bytes) {
                Frame::TooShort => return Taken::More,
                Frame::Invalid => return self.seek_ready(input, signals),
                Frame::Message(_) => self.server = Server::default(),
            }
        }
        let header = match backend(input.bytes) {
            Frame::Message(header) => header,
            Frame::TooShort => return Taken::More,
            Frame::Invalid => return self.out_of_place(Loss::Malformed, input, signals),
        };
        let body = input.bytes.get(HEADER..).unwrap_or_default();
        let body = body.get(..header.body).unwrap_or(body);
        let wanted = match header.kind {
            b'C' => TAG,
            b'E' => FAILURE,
            b'S' => PARAMETER,
            b'Z' => 1,
            _ => 0,
        };
        if body.len() < header.body.min(wanted) {
            return Taken::More;
        }
        if self.answer(header, body, input.last, signals).is_err() {
            return self.out_of_place(Loss::Unmatched, input, signals);
        }
        if !matches!(header.kind, b'N' | b'A' | b'S') {
            self.server.idle = header.kind == b'Z';
            // An answer that was owed when the client took its turn: it was not lost, it came later.
            self.session.overlapping |= std::mem::take(&mut self.session.ahead);
        }
        Taken::past(HEADER, header.body)
    }

    /// The byte that accepts or declines encryption (55.2.10). An error instead means a server older than the request.
    fn read_encryption_answer(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match input.bytes.first() {
            Some(b'N') => {
                self.place = Place::Opening;
                Taken::Bytes(1)
            }
            Some(b'S' | b'G') => self.over(Signal::Abandon(Loss::Tls), input.last, signals),
            Some(b'E') => {
                self.place = Place::Opening;
                self.read_server(input, signals)
            }
            _ => self.over(Signal::Abandon(Loss::Malformed), input.last, signals),
        }
    }

    fn answer(&mut self, header: Header, body: &[u8], time: Time, signals: &mut Signals) -> Result<(), OutOfPlace> {
        let session = &mut self.session;
        // Notices, notifications and settings come at any time.
        match header.kind {
            b'N' | b'A' => return Ok(()),
            b'S' => {
                if let Some((b"search_path", rest)) = text(body) {
                    session.set_search_path(text(rest).map_or(rest, |(value, _)| value));
                }
                return Ok(());
            }
            _ => {}
        }
        if matches!(session.steps.front(), Some(Step::Unknown)) {
            return Ok(());
        }
        let expected = match (header.kind, session.steps.front()) {
            (b'E', _) => {
                let failure = Failure::read(body).unwrap_or(Failure { code: None, fatal: false });
                session.failed(&failure, time, signals);
                true
            }
            (b'C', _) => {
                let tag = text(body).map_or(body, |(tag, _)| tag);
                session.completed(time, Outcome { rows: rows(tag), ..Outcome::default() }, signals)
            }
            (b'I' | b's', _) => session.completed(time, Outcome::default(), signals),
            (b'Z', _) => session.ready(signals),
            (b'1', Some(Step::Parse { .. }))
            | (b'2', Some(Step::Bind { .. }))
            | (b'3', Some(Step::Close))
            | (b'T' | b'n', Some(Step::Describe { .. })) => {
                session.steps.pop_front();
                true
            }
            (b'G' | b'W', Some(Step::Execute(_) | Step::Query { .. })) => {
                session.copies_in();
                true
            }
            (b't', Some(Step::Describe { .. }))
            | (b'T', Some(Step::Query { .. }))
            | (b'D' | b'H' | b'd' | b'c', Some(Step::Execute(_) | Step::Query { .. }))
            | (b'V', Some(Step::Function))
            | (b'R' | b'K' | b'v', Some(Step::Startup)) => true,
            _ => false,
        };
        if expected { Ok(()) } else { Err(OutOfPlace) }
    }

    /// The answers do not fit the requests: something was missed without being noticed.
    fn out_of_place(&mut self, loss: Loss, input: Input<'_>, signals: &mut Signals) -> Taken {
        signals.push(Signal::Lost(loss));
        self.unpair(input.last, signals);
        self.server = Server { lost: true, ..Server::default() };
        self.seek_ready(input, signals)
    }

    /// Message boundaries are lost. Where whole calls are missing, what comes next may answer a request that was not seen.
    pub(super) fn lost_server(&mut self, missing: Missing, time: Time, signals: &mut Signals) {
        if missing == Missing::Calls {
            self.unpair(time, signals);
        }
        self.server = Server { lost: true, ..Server::default() };
    }

    /// Nothing that was sent so far can be told to be answered by what comes. The first ReadyForQuery ends a start-up all the same.
    fn unpair(&mut self, time: Time, signals: &mut Signals) {
        let starting = matches!(self.session.steps.front(), Some(Step::Startup));
        // The server speaks: what was seen of a text is all.
        if matches!(self.place, Place::Text(_)) {
            self.lost_client(time, signals);
        }
        self.session.give_up(time, signals);
        if starting {
            self.session.steps.push_back(Step::Startup);
        }
    }

    /// Looks for a ReadyForQuery at the end of what one call moved: there the next message begins.
    fn seek_ready(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let everything = Taken::Bytes(input.bytes.len());
        self.server.idle = false;
        let (before, end) = input.bytes.split_at(input.bytes.len().saturating_sub(READY));
        let passed = &mut self.server.passed;
        passed.extend_from_slice(end);
        passed.drain(..passed.len().saturating_sub(READY));
        if is_ready(passed) {
            self.server.idle = true;
            let resumes = if self.server.behind {
                self.session.give_up(input.last, signals);
                false
            } else {
                self.session.steps.is_empty() || self.session.resume(last_outcome(before), input.last, signals)
            };
            if resumes {
                self.server = Server { idle: true, ..Server::default() };
            }
        }
        everything
    }
}

/// How the last statement before a ReadyForQuery ended: the message that ends exactly there, if there is just one way to read it.
fn last_outcome(before: &[u8]) -> Option<Outcome> {
    let mut found = (0..before.len()).filter_map(|at| {
        let message = before.get(at..)?;
        let Frame::Message(header) = backend(message) else { return None };
        let body = message.get(HEADER..)?;
        if body.len() != header.body {
            return None;
        }
        match header.kind {
            b'C' => {
                let (tag, after) = text(body)?;
                let words = tag.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ');
                let valid = after.is_empty() && words && tag.first()?.is_ascii_uppercase();
                valid.then(|| Outcome { rows: rows(tag), ..Outcome::default() })
            }
            b's' | b'I' => Some(Outcome::default()),
            b'E' if body.first() == Some(&b'S') && body.ends_with(&[0, 0]) => {
                Failure::read(body).filter(|failure| failure.code.is_some()).map(|failure| Outcome::from(&failure))
            }
            _ => None,
        }
    });
    found.next().filter(|_| found.next().is_none())
}
