//! Bytes as a conversation on one connection: who sends what, where a call is cut, what is never seen, how it ends.
//!
//! Two bytes of settings, then steps of three bytes and their payload, so that a fuzzer which changes a byte changes one
//! thing, and a recorded conversation can be written down as a first input ([`Conversation::to_bytes`]).

use bytes::Bytes;
use syspan::{
    event::{Address, Data, Direction, End, Origin, Socket, SocketId, Task, Time},
    protocols::{Options, Registration, Role, Signal, Signals},
    streams::Connection,
};

/// The client is the observed process.
const CLIENT: u8 = 1;
/// The connection is older than the agent.
const OLDER: u8 = 2;

/// In a step's first byte: the server sends it.
const SERVER: u8 = 1;
/// In a step's first byte: what happens, in three bits; other values are whole calls.
const CUT: u8 = 5 << 1;
const GAP: u8 = 6 << 1;
const END: u8 = 7 << 1;
const KIND: u8 = 7 << 1;

/// Longest tail of a call that was cut, as the eBPF programs send it.
const TAIL: usize = 64;

/// A connection and what happens on it.
#[derive(Debug, Clone)]
pub struct Conversation<'a> {
    /// The observed process's role.
    pub own: Role,
    /// Whether the connection is seen from its start.
    pub from_start: bool,
    /// The length of the pieces that calls are cut into when that must not matter; at least 1.
    pub piece: usize,
    /// What happens.
    pub steps: Vec<Step<'a>>,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A call moves bytes, `missing` of which between head and tail are not captured.
    Call {
        /// Who sends them.
        from: Role,
        /// The first bytes.
        head: &'a [u8],
        /// How many follow that are not captured.
        missing: u64,
        /// The last bytes; empty if nothing is missing.
        tail: &'a [u8],
    },
    /// Bytes are sent that nobody sees.
    Gap {
        /// Who sends them.
        from: Role,
        /// How many.
        length: u32,
    },
    /// A direction or both end.
    End(End),
}

impl Step<'_> {
    /// Whether bytes are not seen.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Step::Call { missing: 1.., .. } | Step::Gap { .. })
    }
}

impl<'a> Conversation<'a> {
    /// Reads a conversation; all bytes are one.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        let (settings, mut rest) = bytes.split_at_checked(2).unwrap_or((&[0, 0], &[]));
        let own = if settings[0] & CLIENT > 0 { Role::Client } else { Role::Server };
        let mut conversation =
            Self { own, from_start: settings[0] & OLDER == 0, piece: usize::from(settings[1]) + 1, steps: Vec::new() };
        while let Some((&[kind, low, high], after)) = rest.split_first_chunk() {
            let from = if kind & SERVER > 0 { Role::Server } else { Role::Client };
            let length = u16::from_le_bytes([low, high]);
            let (payload, next) = after.split_at(usize::from(length).min(after.len()));
            rest = next;
            conversation.steps.push(match kind & KIND {
                CUT => {
                    let (head, rest) = payload.split_at(payload.len() / 2);
                    Step::Call { from, head, missing: u64::from(length) + 1, tail: &rest[..rest.len().min(TAIL)] }
                }
                GAP => {
                    rest = after; // only the length counts
                    Step::Gap { from, length: u32::from(length) + 1 }
                }
                END => {
                    rest = after;
                    Step::End(
                        [End::PeerClosed, End::ShutWrite, End::Closed, End::Reset, End::TimedOut]
                            [usize::from(length) % 5],
                    )
                }
                _ => Step::Call { from, head: payload, missing: 0, tail: &[] },
            });
        }
        conversation
    }

    /// Writes whole calls down; what else may happen is the fuzzer's to find.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let older = if self.from_start { 0 } else { OLDER };
        let own = if self.own == Role::Client { CLIENT } else { 0 };
        let mut bytes = vec![own | older, u8::try_from(self.piece - 1).unwrap_or(u8::MAX)];
        for step in &self.steps {
            let Step::Call { from, head, .. } = step else { continue };
            for part in head.chunks(usize::from(u16::MAX)) {
                bytes.push(if *from == Role::Server { SERVER } else { 0 });
                bytes.extend_from_slice(&(part.len() as u16).to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }
}

/// Plays a conversation to a connection.
pub(crate) struct Player {
    pub(crate) connection: Connection,
    /// All that was signalled.
    pub(crate) signals: Signals,
    own: Role,
    options: Options,
    positions: [u32; 2],
    time: Time,
}

impl Player {
    pub(crate) fn new(conversation: &Conversation<'_>, registration: &Registration) -> Self {
        let origin = match (conversation.from_start, conversation.own) {
            (false, _) => Origin::Unknown,
            (true, Role::Client) => Origin::Connected,
            (true, Role::Server) => Origin::Accepted,
        };
        let options = Options::default();
        let connection = Connection::speaking(socket(1, origin), registration, conversation.own, &options);
        // One of them wraps soon.
        Self {
            connection,
            signals: Signals::new(),
            own: conversation.own,
            options,
            positions: [7, u32::MAX - 99],
            time: 0,
        }
    }

    /// The next step, its bytes in pieces of this length; all of them at one time.
    pub(crate) fn play(&mut self, step: &Step<'_>, piece: usize) {
        self.time += 10;
        match *step {
            Step::Call { from, head, missing: 0, .. } => {
                head.chunks(piece).for_each(|part| self.call(from, part, 0, &[]));
            }
            Step::Call { from, head, missing, tail } => self.call(from, head, missing, tail),
            Step::Gap { from, length } => {
                let position = &mut self.positions[usize::from(from == Role::Server)];
                *position = position.wrapping_add(length);
            }
            Step::End(end) => self.step(|connection, time, _, signals| connection.end(end, time, signals)),
        }
    }

    fn call(&mut self, from: Role, head: &[u8], missing: u64, tail: &[u8]) {
        let position = &mut self.positions[usize::from(from == Role::Server)];
        let length = head.len() as u64 + missing + tail.len() as u64;
        let data = Data {
            socket: self.connection.socket.id,
            task: self.connection.socket.task,
            direction: if from == self.own { Direction::Write } else { Direction::Read },
            time: self.time,
            position: *position,
            length,
            head: Bytes::copy_from_slice(head),
            tail: Bytes::copy_from_slice(tail),
        };
        *position = position.wrapping_add(length as u32);
        self.step(|connection, _, options, signals| connection.data(&data, options, signals));
    }

    /// As the engine does, which takes the signals after each step.
    fn step(&mut self, act: impl FnOnce(&mut Connection, Time, &Options, &mut Signals)) {
        let mut signals = Signals::new();
        act(&mut self.connection, self.time, &self.options, &mut signals);
        self.signals.append(&mut signals);
    }

    /// Whether something was lost or given up so far.
    pub(crate) fn has_lost(&self) -> bool {
        self.signals.iter().any(|signal| matches!(signal, Signal::Lost(_) | Signal::Incomplete(_) | Signal::Abandon(_)))
    }
}

/// A TCP connection; its ports tell no protocol.
pub(crate) fn socket(id: SocketId, origin: Origin) -> Socket {
    let address = |last, port| Address::Inet([192, 0, 2, last].into(), port);
    let task = Task::thread(1, 1, 0);
    Socket { id, time: 0, task, local: address(1, 40_000), peer: address(2, 40_001), netns: 1, positions: None, origin }
}
