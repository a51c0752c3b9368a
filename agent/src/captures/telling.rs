//! What is seen of connections, told as events.

use std::collections::VecDeque;

use super::{
    connection::{Connection, other},
    parties::{Parties, Party},
    reassembly::Piece,
};
use crate::{
    event::{Address, Data, Direction, End, Event, Pid, Socket, SocketId, Task},
    protocols::Role,
    streams::Losses,
};

/// The two ends of a connection as the engine knows them: each has a socket and a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    client: (SocketId, Pid),
    server: (SocketId, Pid),
}

impl Ends {
    fn of(self, role: Role) -> (SocketId, Pid) {
        match role {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }
}

/// Makes events.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// Those that nobody has taken yet.
    pub(super) events: VecDeque<Event>,
    /// What could not be told.
    pub(super) losses: Losses,
    pub(super) parties: Parties,
    sockets: SocketId,
    turn: u32,
}

impl Telling {
    /// A connection, unless it was told before.
    pub(super) fn connection(&mut self, connection: &mut Connection) {
        if connection.ends.is_some() {
            return;
        }
        let mut end = |role| {
            let (local, peer, party) = match role {
                Role::Client => (&connection.client, &connection.server, Party::Client(connection.client.address.ip())),
                Role::Server => (&connection.server, &connection.client, Party::Server(connection.server.address)),
            };
            let (pid, process) = self.parties.enter(party);
            self.sockets += 1;
            let address = |address: std::net::SocketAddr| Address::Inet(address.ip(), address.port());
            let socket = Socket {
                id: self.sockets,
                time: connection.time,
                task: self.task(pid),
                local: address(local.address),
                peer: address(peer.address),
                netns: 0, // one wire is one network
                origin: connection.origin(role),
                positions: None, // holes are told as such
            };
            let end = (socket.id, pid);
            self.events.extend(process);
            self.events.push_back(Event::Socket(socket));
            end
        };
        let (client, server) = (end(Role::Client), end(Role::Server));
        connection.ends = Some(Ends { client, server });
    }

    /// Bytes went over the wire: written by their sender, then read by the receiver.
    pub(super) fn bytes(&mut self, connection: &Connection, from: Role, piece: &Piece) {
        let Some(ends) = connection.ends else { return };
        for (role, direction) in [(from, Direction::Write), (other(from), Direction::Read)] {
            let (socket, pid) = ends.of(role);
            let data = Data {
                socket,
                task: self.task(pid),
                direction,
                time: connection.time,
                position: piece.sequence,
                length: piece.length,
                head: piece.bytes.clone(),
                tail: bytes::Bytes::new(),
            };
            self.events.push_back(Event::Data(data));
        }
    }

    /// An end closed, shut down or lost its side of the connection.
    pub(super) fn end(&mut self, connection: &Connection, of: Role, end: End) {
        let Some(ends) = connection.ends else { return };
        let (socket, pid) = ends.of(of);
        let task = self.task(pid);
        self.events.push_back(Event::End { socket, task, time: connection.time, end, positions: None });
    }

    /// Nothing more will be told of a connection.
    pub(super) fn forget(&mut self, connection: &Connection) {
        if connection.ends.is_some() {
            let parties = [Party::Client(connection.client.address.ip()), Party::Server(connection.server.address)];
            for party in parties {
                self.events.extend(self.parties.leave(party, connection.time));
            }
        }
    }

    /// Who did something. The wire does not show threads: a turn of its own for each event claims that nothing belongs together.
    fn task(&mut self, pid: Pid) -> Task {
        self.turn = self.turn.wrapping_add(1);
        Task::thread(pid, pid, self.turn)
    }
}
