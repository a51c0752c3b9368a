//! One socket: its protocol is recognised, then both directions are fed to the protocol's parser.

use crate::{
    event::{Address, Data, Direction, End, Origin, Socket, Time},
    protocols::{self, Guess, Hint, Missing, Options, PROTOCOLS, Protocol, Registration, Role, Signal, Signals},
    streams::{
        Loss,
        flow::{Flow, Piece},
    },
};

/// Beginnings of messages that are tried before a socket is given up, when its first bytes were seen: one for each side.
const ATTEMPTS_FROM_START: u16 = 2;

/// The same for a connection older than the agent: several messages may be under way, and a budget may have cut them. And for HTTP/2, which
/// is not read: both sides say how they want to be spoken to before its first call shows whether spans are exported by it.
const ATTEMPTS_MIDWAY: u16 = 16;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes from the middle of a message say little: so many pieces of it (1 MiB in reads of 4 KiB) count as one beginning.
const PIECES: u16 = 256;

/// Bytes that a recogniser may ask for before it is told no.
const RECOGNISE_LIMIT: usize = 512;

/// A TLS record's first bytes: handshake (22), version 3.x (RFC 8446 §5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// A followed socket.
pub struct Connection {
    /// What the kernel told of it.
    pub socket: Socket,
    flows: [Flow; 2],
    last: Option<Direction>,
    stage: Stage,
    /// The observed process's role, once it is known.
    role: Option<Role>,
}

enum Stage {
    /// Not recognised yet.
    Sniffing {
        /// Beginnings that no protocol wanted.
        attempts: u16,
        /// How many of them there may be.
        limit: u16,
        /// Pieces since then that begin nothing.
        pieces: u16,
    },
    /// Fed to a parser.
    Parsing {
        /// The parser.
        protocol: Box<dyn Protocol>,
        /// Which protocol.
        name: &'static str,
        /// The observed process's role.
        local: Role,
        /// How often an end was told, by role.
        ended: [bool; 2],
    },
    /// Given up.
    Over,
}

impl Connection {
    /// A socket of which no byte was seen yet.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        let limit = if socket.origin == Origin::Unknown { ATTEMPTS_MIDWAY } else { ATTEMPTS_FROM_START };
        let [read, write] = socket.positions.map_or([None; 2], |positions| positions.map(Some));
        Self {
            socket,
            flows: [Flow::starting_at(read), Flow::starting_at(write)],
            last: None,
            stage: Stage::Sniffing { attempts: 0, limit, pieces: 0 },
            role: None,
        }
    }

    /// A connection whose protocol and roles are known before any byte of it is seen.
    #[must_use]
    pub fn speaking(socket: Socket, registration: &Registration, local: Role, options: &Options) -> Self {
        let mut connection = Self::new(socket);
        connection.begin(registration, local, options);
        connection
    }

    /// The protocol's name, once it is known.
    #[must_use]
    pub fn protocol(&self) -> Option<&'static str> {
        match &self.stage {
            Stage::Parsing { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The observed process's role, once it is known; also when the connection was given up since.
    #[must_use]
    pub fn local_role(&self) -> Option<Role> {
        self.role
    }

    /// Whether nothing more can come of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether messages were seen of it and no protocol wanted them, so far.
    #[must_use]
    pub fn is_unrecognised(&self) -> bool {
        matches!(self.stage, Stage::Sniffing { attempts: 1.., .. })
    }

    /// Bytes held in memory: unfinished messages, and what the parser keeps.
    #[must_use]
    pub fn held(&self) -> usize {
        let parser = match &self.stage {
            Stage::Parsing { protocol, .. } => protocol.held(),
            Stage::Sniffing { .. } | Stage::Over => 0,
        };
        self.flows.iter().map(Flow::held).sum::<usize>() + parser
    }

    /// Gives the connection up and frees what it holds.
    pub fn give_up(&mut self) {
        self.flows = [Flow::default(), Flow::default()];
        self.stage = Stage::Over;
    }

    /// Bytes were moved.
    pub fn data(&mut self, data: &Data, options: &Options, signals: &mut Signals) {
        if self.is_over() {
            return;
        }
        let direction = data.direction;
        let turned = self.last != Some(direction);
        self.last = Some(direction);
        let flow = flow(&mut self.flows, direction);
        // No byte of a Unix socket comes twice. The kernel counts them, and a verdict that is written meanwhile sets the count back.
        if matches!(self.socket.local, Address::Unix(..)) && flow.has_passed(data.position) {
            flow.rebase();
        }
        let (missing, seen) = flow.advance(data.position, data.length);
        let needed = self.miss(direction, (missing.into(), Missing::Calls), data.time, signals);
        if needed {
            signals.push(Signal::Lost(Loss::Gap));
        }
        let (head, middle, tail) = unseen(data, seen);
        #[expect(clippy::cast_possible_truncation, reason = "positions wrap at 32 bits")]
        let before = |end: u64, bytes: &[u8]| data.position.wrapping_add(end as u32).wrapping_sub(bytes.len() as u32);
        let (first, last) = (before(data.head.len() as u64, head), before(data.length, tail));
        let time = data.time;
        // What a parser passes over belongs to the message before: what follows begins a turn all the same.
        let turned = turned && (missing == 0 || self.protocol().is_some() && !needed);
        self.bytes(direction, Piece { bytes: head, position: first, time, turned }, options, signals);
        // Of a call without any captured byte only its length is known: it may stand for several.
        let kind = if data.head.is_empty() && data.tail.is_empty() { Missing::Calls } else { Missing::Part };
        self.miss(direction, (middle, kind), time, signals);
        self.bytes(direction, Piece { bytes: tail, position: last, time, turned: false }, options, signals);
    }

    /// The kernel had forgotten the socket. Nothing was moved in between, but a Unix socket's positions begin again.
    pub fn announced_again(&mut self) {
        if matches!(self.socket.local, Address::Unix(..)) {
            self.flows.iter_mut().for_each(Flow::rebase);
        }
    }

    /// The directions stand at these positions (read, write): what no event told of was not seen.
    pub fn reached(&mut self, positions: [u32; 2], time: Time, signals: &mut Signals) {
        for (direction, position) in [Direction::Read, Direction::Write].into_iter().zip(positions) {
            let missing = flow(&mut self.flows, direction).reach(position);
            // A FIN takes a number of its own (RFC 9293 §3.4).
            if missing > 1 && self.miss(direction, (missing.into(), Missing::Calls), time, signals) {
                signals.push(Signal::Lost(Loss::Gap));
            }
        }
    }

    /// Nobody knows what was moved since.
    pub fn lose(&mut self, time: Time, signals: &mut Signals) {
        let Stage::Parsing { protocol, .. } = &mut self.stage else { return };
        self.flows.iter_mut().for_each(Flow::drop_held);
        signals.push(Signal::Lost(Loss::Gap));
        for role in [Role::Client, Role::Server] {
            protocol.lost(role, Missing::Calls, time, signals);
        }
        self.settle(signals);
    }

    /// A direction, or both, ended.
    pub fn end(&mut self, end: End, time: Time, signals: &mut Signals) {
        let unrecognised = self.is_unrecognised();
        let Stage::Parsing { protocol, local, ended, .. } = &mut self.stage else {
            if matches!(end, End::Closed | End::Reset | End::TimedOut) {
                if unrecognised {
                    signals.push(Signal::Lost(Loss::UnknownProtocol));
                }
                self.give_up();
            }
            return;
        };
        let (local, peer) = (*local, other(*local));
        let roles: &[Role] = match end {
            End::Closed | End::Reset | End::TimedOut => &[local, peer],
            End::ShutWrite => &[local],
            End::PeerClosed => &[peer],
        };
        for &role in roles {
            let Some(told) = ended.get_mut(usize::from(role == Role::Server)) else { continue };
            // A direction that has ended does not end again, unless now both do.
            if !std::mem::replace(told, true) || roles.len() == 2 {
                protocol.end(role, end, time, signals);
            }
        }
        if roles.len() == 2 {
            self.give_up();
        } else {
            self.settle(signals);
        }
    }

    fn bytes(&mut self, direction: Direction, piece: Piece<'_>, options: &Options, signals: &mut Signals) {
        if piece.bytes.is_empty() {
            return;
        }
        let flow = flow(&mut self.flows, direction);
        match &mut self.stage {
            Stage::Parsing { protocol, local, .. } => {
                flow.offer(protocol.as_mut(), sender(*local, direction), piece, signals);
            }
            Stage::Sniffing { .. } => {
                flow.hold(piece);
                self.sniff(direction, piece.time, options, signals);
            }
            Stage::Over => {}
        }
        self.settle(signals);
    }

    /// Bytes are missing: whether some of them were needed. Those that were left out on purpose are no loss by themselves: what
    /// a parser cannot do without them it says.
    fn miss(&mut self, direction: Direction, missing: (u64, Missing), time: Time, signals: &mut Signals) -> bool {
        if missing.0 == 0 {
            return false;
        }
        let flow = flow(&mut self.flows, direction);
        let needed = match &mut self.stage {
            Stage::Parsing { protocol, local, .. } => {
                flow.miss(protocol.as_mut(), sender(*local, direction), missing, time, signals)
            }
            Stage::Sniffing { .. } => {
                flow.drop_held();
                false
            }
            Stage::Over => false,
        };
        self.settle(signals);
        needed
    }

    /// Tries to recognise the protocol by the bytes held of a direction.
    fn sniff(&mut self, direction: Direction, time: Time, options: &Options, signals: &mut Signals) {
        let from_start = self.socket.origin != Origin::Unknown;
        let hint = Hint { port: self.service_port(), from_start };
        let (held, turned) = flow(&mut self.flows, direction).beginning();
        let mut too_short = false;
        let mut found: Option<(&Registration, Role)> = None;
        if turned {
            for registration in PROTOCOLS {
                match (registration.detect)(held, hint) {
                    Guess::Client => found = Some((registration, Role::Client)),
                    Guess::Server => found = Some((registration, Role::Server)),
                    Guess::TooShort => too_short |= held.len() < RECOGNISE_LIMIT,
                    Guess::No => {}
                }
                if found.is_some() {
                    break;
                }
            }
        }
        if found.is_none() && held.starts_with(&TLS_HANDSHAKE) && turned {
            signals.push(Signal::Abandon(Loss::Tls));
            return;
        }
        let Some((registration, from)) = found else {
            if !too_short {
                if let Stage::Sniffing { limit, .. } = &mut self.stage
                    && held.starts_with(HTTP2_PREFACE)
                {
                    *limit = ATTEMPTS_MIDWAY;
                }
                flow(&mut self.flows, direction).drop_held();
                self.refuse(from_start, turned, signals);
            }
            return;
        };
        let local_role = if direction == Direction::Write { from } else { other(from) };
        self.begin(registration, local_role, options);
        let Stage::Parsing { protocol, .. } = &mut self.stage else { return };
        // The other side may have said something that was too short to tell.
        let [read, write] = &mut self.flows;
        let mut held = [(&mut *read, sender(local_role, Direction::Read)), (write, local_role)];
        held.sort_by_key(|(flow, _)| flow.held_since());
        for (flow, from) in held {
            if flow.held() > 0 {
                let nothing = Piece { bytes: &[], position: flow.held_end(), time, turned: false };
                flow.offer(protocol.as_mut(), from, nothing, signals);
            }
        }
    }

    /// A parser takes over.
    fn begin(&mut self, registration: &Registration, local: Role, options: &Options) {
        let context = protocols::Connection {
            local_role: local,
            local: self.socket.local.clone(),
            peer: self.socket.peer.clone(),
            from_start: self.socket.origin != Origin::Unknown,
        };
        self.role = Some(local);
        let protocol = (registration.start)(context, options);
        self.stage = Stage::Parsing { protocol, name: registration.name, local, ended: [false; 2] };
    }

    /// Nobody wanted the beginning of a message.
    fn refuse(&mut self, from_start: bool, turned: bool, signals: &mut Signals) {
        let Stage::Sniffing { attempts, limit, pieces } = &mut self.stage else { return };
        if !turned {
            *pieces += u16::from(!from_start);
            if *pieces < PIECES {
                return;
            }
        }
        *pieces = 0;
        *attempts += 1;
        if *attempts >= *limit {
            signals.push(Signal::Abandon(Loss::UnknownProtocol));
        }
    }

    /// The listening side's port as far as it is known.
    fn service_port(&self) -> u16 {
        match (&self.socket.local, &self.socket.peer) {
            (Address::Inet(_, local), Address::Inet(_, peer)) => match self.socket.origin {
                Origin::Connected => *peer,
                Origin::Accepted => *local,
                Origin::Unknown => *local.min(peer),
            },
            _ => 0,
        }
    }

    /// Acts on a parser's wish to stop.
    fn settle(&mut self, signals: &Signals) {
        if signals.iter().any(|signal| matches!(signal, Signal::Abandon(_) | Signal::Switched)) {
            self.give_up();
        }
    }
}

/// The parts of captured bytes that were not seen before, `seen` bytes from the start having been: head, missing, tail.
fn unseen(data: &Data, seen: u64) -> (&[u8], u64, &[u8]) {
    let head = data.head.len() as u64;
    let tail = data.tail.len() as u64;
    let middle = data.length.saturating_sub(head + tail);
    let from = |bytes: &'_ bytes::Bytes, n: u64| usize::try_from(n).map_or(bytes.len(), |n| n.min(bytes.len()));
    let head_cut = from(&data.head, seen);
    let middle_cut = seen.saturating_sub(head).min(middle);
    let tail_cut = from(&data.tail, seen.saturating_sub(head + middle));
    (data.head.get(head_cut..).unwrap_or_default(), middle - middle_cut, data.tail.get(tail_cut..).unwrap_or_default())
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

fn flow(flows: &mut [Flow; 2], direction: Direction) -> &mut Flow {
    let [read, write] = flows;
    match direction {
        Direction::Read => read,
        Direction::Write => write,
    }
}

/// Who sent the bytes that the observed process read or wrote.
fn sender(local: Role, direction: Direction) -> Role {
    match direction {
        Direction::Write => local,
        Direction::Read => other(local),
    }
}

#[cfg(test)]
mod tests;
