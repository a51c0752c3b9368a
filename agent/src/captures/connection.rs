//! One TCP connection: its segments become events of both of its ends.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    packet::Segment,
    reassembly::{Piece, Stream},
    telling::{Ends, Telling},
};
use crate::{
    event::{End, Origin, Time},
    protocols::Role,
    streams::Loss,
};

/// A connection and what is known of it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Side,
    pub(super) server: Side,
    /// Whether its SYN was seen.
    from_start: bool,
    /// Its ends, once it has carried bytes.
    pub(super) ends: Option<Ends>,
    /// Time of the latest event: a connection's events are told in the order of its bytes, whatever the packets' times are.
    pub(super) time: Time,
    /// It is to be looked at again, because it lacks bytes that were received.
    pub(super) watched: bool,
    /// It was reset.
    reset: bool,
}

/// One end of a connection and what it sends.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) address: SocketAddr,
    stream: Stream,
    /// Sequence number of its first byte, if its SYN was seen.
    first: Option<u32>,
    /// That it will send no more was told.
    ended: bool,
}

impl Side {
    fn new(address: SocketAddr) -> Self {
        Self { address, stream: Stream::default(), first: None, ended: false }
    }
}

impl Connection {
    /// A connection of which nothing was seen.
    pub(super) fn new(client: SocketAddr, server: SocketAddr, from_start: bool) -> Self {
        let (client, server) = (Side::new(client), Side::new(server));
        Self { client, server, from_start, ends: None, time: 0, watched: false, reset: false }
    }

    /// How the connection came to be, as an end of it would know.
    pub(super) fn origin(&self, of: Role) -> Origin {
        match (self.from_start, of) {
            (false, _) => Origin::Unknown,
            (true, Role::Client) => Origin::Connected,
            (true, Role::Server) => Origin::Accepted,
        }
    }

    /// Memory that its segments take up while they wait.
    pub(super) fn held(&self) -> usize {
        self.client.stream.held() + self.server.stream.held()
    }

    /// Whether nothing more can come.
    pub(super) fn is_over(&self) -> bool {
        self.reset || (self.client.ended && self.server.ended)
    }

    /// Whether bytes are missing that were received: they will not come any more, unless the capture has them late.
    pub(super) fn lacks_acknowledged(&self) -> bool {
        self.client.stream.lacks_acknowledged() || self.server.stream.lacks_acknowledged()
    }

    /// A SYN was seen: whether it can be this connection's.
    pub(super) fn open(&mut self, from: SocketAddr, role: Role, first: u32) -> bool {
        let of = self.role(from);
        let side = self.side(of);
        if side.first == Some(first) {
            return true; // sent again
        }
        let fits = of == role && side.first.is_none() && side.stream.begin(first);
        if fits {
            side.first = Some(first);
        }
        fits
    }

    /// A segment of it was seen.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, time: Time, telling: &mut Telling) {
        self.time = self.time.max(time);
        let from = self.role(segment.source);
        if segment.rst {
            self.skip_all(telling);
            telling.end(self, from, End::Closed);
            telling.end(self, other(from), End::Reset);
            self.reset = true;
            return;
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        if let Some(acknowledged) = segment.acknowledged {
            self.side(other(from)).stream.acknowledge(acknowledged);
        }
        if segment.length > 0 {
            // Who answers has read what it acknowledges.
            self.skip_holes(other(from), telling, Stream::lacks_acknowledged);
            telling.connection(self);
            let bytes = Bytes::copy_from_slice(segment.payload);
            self.side(from).stream.push(Piece { sequence: first, bytes, length: segment.length });
        }
        if segment.fin {
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are the low 32 bits")]
            self.side(from).stream.push_end(first.wrapping_add(segment.length as u32));
        }
        self.deliver(telling);
    }

    /// The same addresses are used for another connection.
    pub(super) fn replaced(&mut self, telling: &mut Telling) {
        self.skip_all(telling);
        if !self.is_over() {
            telling.end(self, Role::Client, End::Closed);
            telling.end(self, Role::Server, End::Closed);
        }
    }

    /// Goes on behind bytes that were received and that the capture lacks.
    pub(super) fn skip_acknowledged(&mut self, telling: &mut Telling) {
        for role in BOTH {
            self.skip_holes(role, telling, Stream::lacks_acknowledged);
        }
    }

    /// Goes on behind missing bytes while so much waits behind them.
    pub(super) fn skip_beyond(&mut self, limit: usize, telling: &mut Telling) {
        for role in BOTH {
            self.skip_holes(role, telling, |stream| stream.held() > limit);
        }
    }

    /// Goes on behind everything that is missing.
    pub(super) fn skip_all(&mut self, telling: &mut Telling) {
        for role in BOTH {
            self.skip_holes(role, telling, |_| true);
        }
    }

    fn skip_holes(&mut self, of: Role, telling: &mut Telling, wanted: impl Fn(&Stream) -> bool) {
        while wanted(&self.side(of).stream) && self.side(of).stream.skip_hole() {
            telling.losses.count(Loss::PacketMissing);
            self.deliver(telling);
        }
    }

    /// Tells what has become deliverable.
    fn deliver(&mut self, telling: &mut Telling) {
        for from in BOTH {
            while let Some(piece) = self.side(from).stream.pop() {
                telling.bytes(self, from, &piece);
            }
            let side = self.side(from);
            if side.stream.has_ended() && !std::mem::replace(&mut side.ended, true) {
                telling.end(self, from, End::ShutWrite);
                telling.end(self, other(from), End::PeerClosed);
                if self.is_over() {
                    telling.end(self, Role::Client, End::Closed);
                    telling.end(self, Role::Server, End::Closed);
                }
            }
        }
    }

    fn role(&self, address: SocketAddr) -> Role {
        if address == self.client.address { Role::Client } else { Role::Server }
    }

    fn side(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }
}

/// Both ends.
const BOTH: [Role; 2] = [Role::Client, Role::Server];

/// The other end.
pub(super) fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}
