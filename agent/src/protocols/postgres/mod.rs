//! PostgreSQL's protocol, version 3, as its client uses it (PostgreSQL documentation, "Frontend/Backend Protocol").
//!
//! - [`message`] has the framing, [`detect`] recognises either side.
//! - [`client`] reads requests, [`server`] answers, message by message; rows, COPY data and passwords are passed over unread.
//! - [`session`] holds the answers that the server owes, in order. An answer that does not fit the first of them means that
//!   something was missed: then everything open is given up, for a response must never count for another statement.
//! - [`statements`] knows prepared statements and portals by name.
//!
//! Where bytes are missing, the server's direction resumes at a ReadyForQuery that ends a call's bytes, or with the answer to the
//! client's next turn; the client's resumes at its next turn after a ReadyForQuery. Where whole calls of the server are missing, requests
//! in between may be too: all that is open is given up, and a client that was seen not to wait for its answers is given up for good. A
//! connection that is older than the agent begins as one that lost both.

mod client;
mod detect;
mod message;
mod server;
mod session;
mod statements;
#[cfg(test)]
mod tests;

use self::{
    client::Place,
    server::Server,
    session::{Beginning, Session},
};
use super::{
    Connection, ExchangeId, FOREVER, Input, Missing, Options, Protocol, Registration, Role, Signal, Signals, Taken,
};
use crate::{
    event::{End, Time},
    streams::Loss,
};

/// How the protocol is found and begun.
pub const REGISTRATION: Registration = Registration {
    name: "postgresql",
    detect: detect::detect,
    start: |connection, options| Box::new(Postgres::new(connection, options)),
};

/// The parser of one connection.
#[derive(Debug)]
struct Postgres {
    session: Session,
    place: Place,
    server: Server,
    /// Where the messages began that lead to the next Execute.
    group: Option<Beginning>,
    /// The statement of which the rest of the text is still being sent.
    sending: Option<ExchangeId>,
    /// Nothing more is read.
    over: bool,
}

impl Postgres {
    fn new(connection: Connection, options: &Options) -> Self {
        let from_start = connection.from_start;
        Self {
            session: Session::new(connection, options),
            place: if from_start { Place::Opening } else { Place::Lost },
            server: Server { lost: !from_start, ..Server::default() },
            group: None,
            sending: None,
            over: false,
        }
    }
}

impl Protocol for Postgres {
    fn read(&mut self, from: Role, input: Input<'_>, signals: &mut Signals) -> Taken {
        if self.over {
            return Taken::Skip { bytes: 0, skip: FOREVER };
        }
        if self.session.connection.local_role == Role::Server {
            // A statement is one CLIENT span, which the other end reports.
            return self.over(Signal::Switched, input.last, signals);
        }
        match from {
            Role::Client => self.read_client(input, signals),
            Role::Server => self.read_server(input, signals),
        }
    }

    fn skipped(&mut self, from: Role, _time: Time, signals: &mut Signals) {
        if from == Role::Client {
            let sent = self.sending.take().filter(|sent| self.session.is_open(*sent));
            signals.extend(sent.map(Signal::Requested));
        }
    }

    fn lost(&mut self, from: Role, missing: Missing, time: Time, signals: &mut Signals) {
        match from {
            _ if self.over => {}
            _ if missing == Missing::Calls && self.session.overlapping => {
                self.over(Signal::Abandon(Loss::Gap), time, signals);
            }
            Role::Client => self.lost_client(time, signals),
            Role::Server => self.lost_server(missing, time, signals),
        }
    }

    fn end(&mut self, from: Role, end: End, time: Time, signals: &mut Signals) {
        if from == Role::Client || self.over {
            return;
        }
        if self.server.lost {
            return self.session.give_up(time, signals);
        }
        self.session.fail_all(end.error_type(), time, signals);
    }

    fn held(&self) -> usize {
        let collected = if let Place::Text(text) = &self.place { text.held() } else { 0 };
        self.session.held() + collected
    }
}
