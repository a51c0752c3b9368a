//! The MySQL and MariaDB client/server protocol, as its client uses it.
//!
//! Sources of the rules: MySQL's "Client/Server Protocol" (dev.mysql.com/doc/dev/mysql-server, page PROTOCOL) and MariaDB's
//! (mariadb.com/docs, "Clients & Utilities: Server Client Protocol").
//!
//! - `packet` has the framing and the packets of one form, `handshake` the start-up, `command` the list of commands.
//! - `client` reads the client's direction, `server` the server's, packet by packet; rows are passed over unread.
//! - `session` pairs commands with responses, which come in the order of the commands, and makes the exchanges: one
//!   for each executed statement.
//!
//! Nothing has to be known of the negotiation to find a response's end. An EOF packet has 5 bytes, the OK packet that takes its
//! place where EOF is deprecated at least 7, and the packet with the number of columns says by its own length whether it tells
//! about left-out definitions. So connections that were open before they were seen are read by the same rules: they begin like
//! a connection whose packet boundaries were lost, at the next command that the client sends in its turn.

mod client;
mod command;
mod detect;
mod handshake;
mod packet;
mod script;
mod server;
mod session;
mod statements;
#[cfg(test)]
mod tests;

use self::{client::Client, server::Server, session::Session};
use super::{Connection, FOREVER, Input, Missing, Options, Protocol, Registration, Role, Signal, Signals, Taken};
use crate::{
    event::{End, Time},
    streams::Loss,
};

/// How the protocol is found and begun.
pub const REGISTRATION: Registration = Registration {
    name: "mysql",
    detect: detect::detect,
    start: |connection, options| Box::new(MySql::new(connection, options)),
};

/// The parser of one connection.
#[derive(Debug)]
struct MySql {
    session: Session,
    client: Client,
    server: Server,
    /// Nothing more is read.
    over: bool,
}

impl MySql {
    fn new(connection: Connection, options: &Options) -> Self {
        let from_start = connection.from_start;
        Self {
            session: Session::new(connection, options),
            client: Client::new(from_start),
            server: Server::new(from_start),
            over: false,
        }
    }

    /// The connection cannot be understood any further.
    fn abandon(&mut self, loss: Loss, signals: &mut Signals) -> Taken {
        self.over = true;
        self.session.give_up(usize::MAX, self.server.last(), signals);
        signals.push(Signal::Abandon(loss));
        Taken::Skip { bytes: 0, skip: FOREVER }
    }

    /// The connection serves another purpose from here on.
    fn switch(&mut self, time: Time, signals: &mut Signals) -> Taken {
        self.over = true;
        self.session.give_up(usize::MAX, time, signals);
        signals.push(Signal::Switched);
        Taken::Skip { bytes: 0, skip: FOREVER }
    }
}

impl Protocol for MySql {
    fn read(&mut self, from: Role, input: Input<'_>, signals: &mut Signals) -> Taken {
        if self.over {
            return Taken::Skip { bytes: 0, skip: FOREVER };
        }
        if self.session.connection.local_role == Role::Server {
            // A statement is one CLIENT span, which the other end reports.
            return self.switch(input.last, signals);
        }
        match from {
            Role::Client => self.read_client(input, signals),
            Role::Server => self.read_server(input, signals),
        }
    }

    fn skipped(&mut self, from: Role, time: Time, signals: &mut Signals) {
        match from {
            _ if self.over => {}
            Role::Client => self.skipped_client(signals),
            Role::Server => self.skipped_server(time, signals),
        }
    }

    fn lost(&mut self, from: Role, missing: Missing, time: Time, signals: &mut Signals) {
        match from {
            _ if self.over => {}
            _ if missing == Missing::Calls && self.session.overlapping => _ = self.abandon(Loss::Gap, signals),
            Role::Client => self.lost_client(time, signals),
            Role::Server => self.lost_server(missing, time, signals),
        }
    }

    fn end(&mut self, from: Role, end: End, time: Time, signals: &mut Signals) {
        if from == Role::Client || self.over {
            return;
        }
        if self.server.is_lost() {
            self.session.give_up(usize::MAX, time, signals);
            return;
        }
        self.session.fail_all(end.error_type(), time, signals);
    }

    fn held(&self) -> usize {
        self.session.held() + self.client.held()
    }
}
