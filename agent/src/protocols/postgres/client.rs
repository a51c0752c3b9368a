//! The client's direction: requests, and what they will be answered with.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Postgres,
    detect::{self, Opening},
    message::{Frame, HEADER, Header, frontend, text},
    session::{Beginning, Session, Step},
};
use crate::{
    event::Time,
    protocols::{
        FOREVER, Guess, Input, Signal, Signals, Taken,
        sql::{self, Dialect, Statement},
    },
    streams::Loss,
};

/// Bytes of a body in which names are looked for; PostgreSQL cuts names at 63.
const NAMES: usize = 512;

/// Where the client's direction is.
#[derive(Debug)]
pub(super) enum Place {
    /// Before a start-up packet.
    Opening,
    /// Encryption was asked for: one byte of the server decides.
    Asked,
    /// Before a message.
    Message,
    /// In a text that is collected.
    Text(Text),
    /// Message boundaries are lost.
    Lost,
}

/// A Query or Parse of which the text is being collected.
#[derive(Debug)]
pub(super) struct Text {
    kind: u8,
    begun: Beginning,
    bytes: Vec<u8>,
    /// Bytes of the body that are looked at, at most.
    wanted: usize,
    /// Bytes of the body after them.
    rest: usize,
}

impl Text {
    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }
}

impl Postgres {
    pub(super) fn read_client(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match self.place {
            Place::Opening => self.read_opening(input, signals),
            Place::Asked => Taken::More,
            Place::Message => self.read_request(input, signals),
            Place::Text(_) => self.read_text(input, signals),
            Place::Lost => self.seek_request(input, signals),
        }
    }

    fn read_opening(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match detect::opening(input.bytes) {
            Opening::TooShort => Taken::More,
            Opening::Encryption => {
                self.place = Place::Asked;
                Taken::Bytes(8)
            }
            Opening::Startup { length } => {
                let Some(packet) = input.bytes.get(8..length) else { return Taken::More };
                self.settings(packet);
                self.place = Place::Message;
                self.session.wait(Step::Startup, input.last, signals);
                Taken::Bytes(length)
            }
            Opening::Cancel => self.over(Signal::Switched, input.last, signals),
            Opening::Invalid => self.over(Signal::Abandon(Loss::Malformed), input.last, signals),
        }
    }

    /// The settings of a start-up packet. The database's name is the user's unless it is given.
    fn settings(&mut self, mut packet: &[u8]) {
        let (mut user, mut database) = (None, None);
        while let Some((name, value, rest)) =
            text(packet).and_then(|(name, rest)| text(rest).map(|(value, rest)| (name, value, rest)))
        {
            match name {
                b"user" => user = Some(value),
                b"database" => database = Some(value).filter(|value| !value.is_empty()),
                b"search_path" => self.session.set_search_path(value),
                _ => {}
            }
            packet = rest;
        }
        self.session.database = database.or(user).map(|name| String::from_utf8_lossy(name).into_owned());
    }

    fn read_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let header = match frontend(input.bytes) {
            Frame::Message(header) => header,
            Frame::TooShort => return Taken::More,
            Frame::Invalid => {
                signals.push(Signal::Lost(Loss::Malformed));
                self.lost_client(input.last, signals);
                return Taken::Bytes(input.bytes.len());
            }
        };
        let request = !matches!(header.kind, b'd' | b'c' | b'f' | b'p' | b'X');
        if input.turned && request && !self.server.lost && !self.session.steps.is_empty() && !self.session.skipping {
            self.session.ahead = true;
        }
        if input.turned && request && self.server.lost {
            self.client_takes_turn(input.last, signals);
        } else if input.turned && request && self.server.idle && self.session.is_uncertain() {
            self.session.give_up(input.last, signals);
        }
        let begun = Beginning { time: input.first, position: input.position };
        if matches!(header.kind, b'Q' | b'P') {
            let wanted = header.body.min(self.session.options.sql_limit.saturating_sub(HEADER));
            let bytes = Vec::with_capacity(wanted.min(input.bytes.len()));
            self.place = Place::Text(Text { kind: header.kind, begun, bytes, wanted, rest: header.body - wanted });
            return Taken::Bytes(HEADER);
        }
        let body = input.bytes.get(HEADER..).unwrap_or_default();
        let body = body.get(..header.body).unwrap_or(body);
        if !self.request(header, body, begun, input.last, signals) {
            return Taken::More;
        }
        Taken::past(HEADER, header.body)
    }

    /// Understands a request by what is there of its body. `false`: more is needed.
    fn request(&mut self, header: Header, body: &[u8], begun: Beginning, time: Time, signals: &mut Signals) -> bool {
        let step = match header.kind {
            b'B' => {
                let Some((portal, statement)) =
                    text(body).and_then(|(portal, rest)| text(rest).map(|(name, _)| (portal, name)))
                else {
                    return self.unnamed(header, body, time, signals);
                };
                let statement = self.session.statements.get(statement);
                if self.session.statements.bind(portal, statement.clone(), &self.session.tally) {
                    signals.push(Signal::Lost(Loss::Evicted));
                }
                Step::Bind { statement, begun: *self.group.get_or_insert(begun) }
            }
            b'E' => {
                let Some((portal, _)) = text(body) else { return self.unnamed(header, body, time, signals) };
                let begun = self.group.take().unwrap_or(begun);
                if self.session.skipping {
                    return true;
                }
                let statement = self.session.statements.portal(portal);
                if statement.is_none() {
                    signals.push(Signal::Lost(Loss::UnknownStatement));
                }
                Step::Execute(self.session.open(statement, begun, signals))
            }
            b'D' | b'C' => {
                let Some((what, name)) = body.split_first().and_then(|(what, rest)| Some((what, text(rest)?.0))) else {
                    return self.unnamed(header, body, time, signals);
                };
                match (header.kind, what) {
                    (b'D', b'S') => Step::Describe { statement: self.session.statements.get(name), begun },
                    (b'D', _) => Step::Describe { statement: self.session.statements.portal(name), begun },
                    (_, b'S') => {
                        self.session.statements.forget(name);
                        Step::Close
                    }
                    _ => {
                        self.session.statements.close_portal(name);
                        Step::Close
                    }
                }
            }
            b'S' => {
                self.group = None;
                Step::Sync
            }
            b'F' => Step::Function,
            b'c' | b'f' => {
                self.session.copying_in = false;
                return true;
            }
            // Flush has no answer of its own; CopyData, passwords and Terminate have none at all.
            _ => return true,
        };
        self.session.wait(step, time, signals);
        true
    }

    /// The names of a message are not there (yet). `false`: they may come.
    fn unnamed(&mut self, header: Header, body: &[u8], time: Time, signals: &mut Signals) -> bool {
        let come = body.len() < header.body.min(NAMES);
        if !come {
            signals.push(Signal::Lost(Loss::Malformed));
            self.session.wait(Step::Unknown, time, signals);
        }
        !come
    }

    fn read_text(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let Place::Text(collected) = &mut self.place else { return Taken::More };
        let missing = collected.wanted.saturating_sub(collected.bytes.len());
        let part = input.bytes.get(..missing).unwrap_or(input.bytes);
        collected.bytes.extend_from_slice(part);
        if collected.bytes.len() < collected.wanted {
            return Taken::Bytes(part.len());
        }
        let (taken, rest) = (part.len(), collected.rest);
        self.finish_text(rest > 0, input.last, signals);
        Taken::past(taken, rest)
    }

    /// The text is there as far as it will be looked at; `more` of it is to be passed over.
    fn finish_text(&mut self, more: bool, time: Time, signals: &mut Signals) {
        let Place::Text(collected) = std::mem::replace(&mut self.place, Place::Message) else { return };
        let Text { kind, begun, bytes, .. } = collected;
        if kind == b'Q' {
            self.query(&bytes, more, begun, time, signals);
        } else {
            self.parse(&bytes, begun, time, signals);
        }
    }

    fn query(&mut self, body: &[u8], more: bool, begun: Beginning, time: Time, signals: &mut Signals) {
        if self.session.skipping {
            return;
        }
        let sql = text(body).map_or(body, |(sql, _)| sql);
        let Session { options, tally, .. } = &self.session;
        let statement = |sql: &[u8]| Arc::new(Statement::new(sql, Dialect::PostgreSql, options).kept_by(tally, 0));
        let mut parts: VecDeque<_> = sql::split(sql, Dialect::PostgreSql).into_iter().map(statement).collect();
        let first = parts.pop_front();
        let run = self.session.announce(first, begun, signals);
        if more {
            self.sending = Some(run.exchange);
        } else {
            signals.push(Signal::Requested(run.exchange));
        }
        self.group = None;
        self.session.wait(Step::Query { run: Some(run), parts, failed: false, begun }, time, signals);
    }

    fn parse(&mut self, body: &[u8], begun: Beginning, time: Time, signals: &mut Signals) {
        let Some((name, rest)) = text(body) else {
            signals.push(Signal::Lost(Loss::Malformed));
            return self.session.wait(Step::Unknown, time, signals);
        };
        let sql = text(rest).map_or(rest, |(sql, _)| sql);
        let Session { options, tally, .. } = &self.session;
        // Its name is in two tables.
        let statement = Statement::new(sql, Dialect::PostgreSql, options).kept_by(tally, 2 * name.len());
        let statement = Arc::new(statement);
        let begun = *self.group.get_or_insert(begun);
        if self.session.skipping {
            return;
        }
        let (replaced, evicted) = self.session.statements.prepare(name, Arc::clone(&statement));
        signals.extend((0..evicted).map(|_| Signal::Lost(Loss::Evicted)));
        self.session.wait(Step::Parse { name: name.into(), statement, replaced, begun }, time, signals);
    }

    /// Message boundaries are lost. What was sent before is still answered in order; then come answers to what was not seen.
    pub(super) fn lost_client(&mut self, time: Time, signals: &mut Signals) {
        match &self.place {
            Place::Text(collected) if !collected.bytes.is_empty() => self.finish_text(false, time, signals),
            // Without the start-up packet there is nothing to wait for but the first ReadyForQuery.
            Place::Opening | Place::Asked => self.session.wait(Step::Startup, time, signals),
            _ => {}
        }
        self.group = None;
        self.place = Place::Lost;
        if !matches!(self.session.steps.back(), Some(Step::Unknown)) {
            self.session.steps.push_back(Step::Unknown);
        }
    }

    /// Looks for a request where the client takes its turn after the server has said that it is ready.
    fn seek_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let everything = Taken::Bytes(input.bytes.len());
        if !input.turned || !(self.server.lost || self.server.idle) {
            return everything;
        }
        match detect::requests(input.bytes, true) {
            Guess::TooShort => Taken::More,
            Guess::Client => {
                self.session.give_up(input.last, signals);
                self.place = Place::Message;
                self.read_request(input, signals)
            }
            Guess::Server | Guess::No => everything,
        }
    }

    /// The client sends a request while the place in the server's answers is unknown: what it sent before was answered, unless it
    /// is a client that does not wait for answers.
    fn client_takes_turn(&mut self, time: Time, signals: &mut Signals) {
        self.session.give_up(time, signals);
        self.server.behind = self.session.overlapping && !self.server.idle;
        self.server.turn_expected = !self.server.behind;
    }

    /// Nothing more is read of this connection.
    pub(super) fn over(&mut self, signal: Signal, time: Time, signals: &mut Signals) -> Taken {
        self.over = true;
        self.session.give_up(time, signals);
        signals.push(signal);
        Taken::Skip { bytes: 0, skip: FOREVER }
    }
}
