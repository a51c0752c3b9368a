//! What the engine is told: one value for each thing that happened on the host, in one order, with its own time.
//!
//! Live, the events come from the eBPF programs (kernel facts) and from `/proc` (who a process is). A recording is the
//! same sequence written down, one event a line (docs/recording.md), which is why every type here serialises.

use std::{net::IpAddr, num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::processes::Process;

/// Nanoseconds of the kernel's monotonic clock (`CLOCK_MONOTONIC`, `bpf_ktime_get_ns`).
///
/// Converted to wall time once for a whole run, see [`Event::Start`].
pub type Time = u64;

/// A process (thread group) id in the host's pid namespace.
pub type Pid = u32;

/// A socket, for as long as it lives: the inode number of the kernel's socket, the one `ss` and `/proc/PID/fd` show.
pub type SocketId = u64;

/// Who did something, and how far its event loop had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    /// Process (thread group) id.
    pub pid: Pid,
    /// Thread id.
    pub tid: u32,
    /// How many times this thread has waited for several files at once (epoll, poll, select) since it was first seen.
    /// Two operations with the same number happened without such a wait in between.
    pub turn: u32,
    /// The goroutine that the thread was running (the low 32 bits of its id); `None` in other programs, and where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goroutine: Option<Goroutine>,
    /// The coroutine that the thread was running, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coroutine: Option<Coroutine>,
}

/// A goroutine: Go's own line of execution, which moves between threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Goroutine {
    /// Its id, the low 32 bits.
    pub id: u32,
    /// The goroutine for which it works now: the one whose request it writes (net/http's connections have goroutines of their own that
    /// write what others hand them), or else the one that started it; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub works_for: Option<WorksFor>,
}

/// How a goroutine is known to work for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorksFor {
    /// This goroutine started it.
    StartedBy(u32),
    /// This goroutine handed it what it now writes.
    HandedBy(u32),
}

/// What a thread runs a piece of, between other ones, until it waits for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coroutine {
    /// It has a number that no other one ever gets (the low 32 bits of it): a line of execution like a goroutine.
    Task(u32),
    /// It is known by where its context is (Python's `contextvars`; the low 32 bits of the address without its last four). Another one has the
    /// same address as soon as it has ended, and what it waits for may be read in another context (asyncio).
    Context(u32),
}

/// A coroutine in which another one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its context ([`Coroutine::Context`]).
    pub context: u32,
    /// When it began itself; `None`: that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
}

/// A line of execution: what happens on one happens one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strand {
    /// A thread of a process.
    Thread(Pid, u32),
    /// A goroutine of a process, on whatever thread.
    Goroutine(Pid, u32),
    /// A coroutine of a process, likewise.
    Coroutine(Pid, u32),
}

impl Strand {
    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        match self {
            Strand::Thread(pid, _) | Strand::Goroutine(pid, _) | Strand::Coroutine(pid, _) => pid,
        }
    }
}

/// What a strand does between two waits for several files. A goroutine or coroutine waits for one thing at a time: it has a single turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Whose.
    pub strand: Strand,
    /// Which, counted up.
    pub number: u32,
}

impl Task {
    /// A thread in this turn.
    #[must_use]
    pub const fn thread(pid: Pid, tid: u32, turn: u32) -> Self {
        Self { pid, tid, turn, goroutine: None, coroutine: None }
    }

    /// The line of execution that did it.
    #[must_use]
    pub fn strand(&self) -> Strand {
        match (self.goroutine, self.coroutine) {
            (Some(goroutine), _) => Strand::Goroutine(self.pid, goroutine.id),
            (None, Some(Coroutine::Task(id))) => Strand::Coroutine(self.pid, id),
            (None, Some(Coroutine::Context(_)) | None) => Strand::Thread(self.pid, self.tid),
        }
    }

    /// The context in which the thread, an event loop's, did it. One that never waits for several files has a single context for all that
    /// it does: that says no more than the thread.
    #[must_use]
    pub fn context(&self) -> Option<Strand> {
        match self.coroutine {
            Some(Coroutine::Context(id)) if self.turn > 0 => Some(Strand::Coroutine(self.pid, id)),
            _ => None,
        }
    }

    /// The goroutine for which this one works, if it is known to work for one, as its turn.
    #[must_use]
    pub fn works_for(&self) -> Option<(Turn, WorksFor)> {
        let how = self.goroutine?.works_for?;
        let (WorksFor::StartedBy(id) | WorksFor::HandedBy(id)) = how;
        Some((Turn { strand: Strand::Goroutine(self.pid, id), number: 0 }, how))
    }

    /// The turn in which it was done.
    #[must_use]
    pub fn in_turn(&self) -> Turn {
        let strand = self.strand();
        Turn { strand, number: if matches!(strand, Strand::Thread(..)) { self.turn } else { 0 } }
    }
}

/// Version of the recording format (docs/recording.md).
pub const RECORDING_VERSION: u32 = 1;

/// How much of a message is looked at. The kernel's side copies no more than this needs, and the engine reads no more, so that the same
/// events give the same spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest HTTP head, bytes.
    pub head: u32,
    /// Longest SQL text, bytes.
    pub sql: u32,
}

impl Limits {
    /// Those of a run that was told nothing else: what common servers accept (nginx and Apache take 8 KiB a line), and more than
    /// most statements of programs have.
    pub const DEFAULT: Self = Self { head: 16 * 1024, sql: 8 * 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which way the bytes went, seen from the process that made the system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The process received the bytes.
    Read,
    /// The process sent the bytes.
    Write,
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// TCP over IPv4 or IPv6 (IPv4-mapped IPv6 addresses are given as IPv4).
    Inet(IpAddr, u16),
    /// A Unix stream socket: an opaque number of the socket (equal on both sides) and the path it is bound to, if any
    /// (abstract names begin with `@`).
    Unix(u64, Option<String>),
}

/// How a socket came to be connected, as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// This process called `connect`.
    Connected,
    /// This process called `accept`.
    Accepted,
    /// The connection is older than the agent, or came by another way (a passed descriptor).
    Unknown,
}

/// A connected stream socket, told before the first [`Event::Data`] of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// The socket.
    pub id: SocketId,
    /// When it was connected or accepted, or first seen.
    pub time: Time,
    /// Who connected or accepted it, or used it first.
    pub task: Task,
    /// The own end.
    pub local: Address,
    /// The other end.
    pub peer: Address,
    /// The network namespace's inode number: loopback addresses are only comparable within one.
    pub netns: u32,
    /// How it was connected.
    pub origin: Origin,
    /// Positions of the first bytes that it will read and write, counted as [`Data::position`] is, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<[u32; 2]>,
}

impl Socket {
    /// Whether the other end is on this host for certain: a Unix socket, or TCP to the host itself.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match (&self.local, &self.peer) {
            (Address::Inet(local, _), Address::Inet(peer, _)) => peer.is_loopback() || local == peer,
            _ => true,
        }
    }
}

/// Bytes that one system call moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The socket.
    pub socket: SocketId,
    /// Who called.
    pub task: Task,
    /// Sent or received.
    pub direction: Direction,
    /// When the bytes began to matter: entry of a write, exit of a read.
    pub time: Time,
    /// Position of the first byte in its direction: the TCP sequence number (low 32 bits; equal on both ends), or for Unix sockets
    /// a count from the first byte that was seen. A jump means bytes that were not seen.
    pub position: u32,
    /// How many bytes were moved; 0 for a read means end of stream.
    pub length: u64,
    /// The first captured bytes, at most `length`.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Bytes::is_empty")]
    pub head: Bytes,
    /// The last bytes, where not everything was captured: `head.len() + tail.len() <= length`.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Bytes::is_empty")]
    pub tail: Bytes,
}

/// The context of a request, known before any span of it (`--propagate`, docs/propagation.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The socket that the request is sent or received on.
    pub socket: SocketId,
    /// Who sends or has received its first bytes.
    pub task: Task,
    /// Sent or received.
    pub direction: Direction,
    /// When: before the [`Data`] with its first bytes.
    pub time: Time,
    /// Position of its first byte, counted as [`Data::position`] is. Bytes that begin no request may have one too: the kernel's
    /// side does not know protocols.
    pub position: u32,
    /// The trace. Sent or arrived, it is what stands on the wire; otherwise it is the one that the kernel's side will send for what
    /// this request causes.
    #[serde(with = "hexadecimal")]
    pub trace_id: [u8; 16],
    /// Of a request that is sent the id of its own span, of one that is received the id of its parent. `None`: it was received
    /// without a context.
    #[serde(with = "hexadecimal::option", default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<[u8; 8]>,
}

/// Why a direction of a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The process closed its last descriptor of the socket: both directions end.
    Closed,
    /// The process shut down its sending direction.
    ShutWrite,
    /// The peer will send no more (a read gave 0): the receiving direction ends.
    PeerClosed,
    /// ECONNRESET or EPIPE: both directions end.
    Reset,
    /// ETIMEDOUT: both directions end.
    TimedOut,
}

impl End {
    /// `error.type` of an exchange that this cut short.
    #[must_use]
    pub fn error_type(self) -> &'static str {
        match self {
            End::Reset => "connection_reset",
            End::TimedOut => "timeout",
            End::Closed | End::ShutWrite | End::PeerClosed => "connection_closed",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event: how to convert times and make ids.
    Start {
        /// Version of the recording format.
        version: u32,
        /// Nanoseconds to add to a [`Time`] for Unix time; one value for a whole run, so that spans never cross.
        wall_offset: i64,
        /// 32 random bytes, hexadecimal: the source of this run's trace and span ids.
        seed: String,
        /// How much of a message is looked at.
        #[serde(default)]
        limits: Limits,
    },
    /// Who a process is; told before anything else of it, and again when it has executed another program or more is known.
    Process(Arc<Process>),
    /// A process ended.
    Exit {
        /// When.
        time: Time,
        /// Which.
        pid: Pid,
    },
    /// A thread that had moved bytes woke another thread of its process, which was blocked.
    Wake {
        /// When.
        time: Time,
        /// Who.
        task: Task,
        /// The thread that goes on.
        woken: u32,
        /// Address, in the process's memory, of the futex in which that one was blocked. `None`: it waited for a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        futex: Option<NonZeroU64>,
        /// It waited there as threads do for a lock of glibc's.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lock: bool,
    },
    /// A thread of an observed process started another one.
    Thread {
        /// When.
        time: Time,
        /// Who.
        task: Task,
        /// The new one.
        started: u32,
    },
    /// A goroutine is about to have another one send a request for it. It may not have been seen before.
    Goroutine {
        /// When.
        time: Time,
        /// Which, and who started it.
        task: Task,
    },
    /// A coroutine that is known by its context is first seen to do something: since when it is this one that has the address, and in which others
    /// it was begun.
    Coroutine {
        /// When it began: its context was made.
        time: Time,
        /// The thread that did it, and the new coroutine.
        task: Task,
        /// Whose context was copied, in which that one began, and so on; not all, if there are many.
        ancestors: Vec<Ancestor>,
    },
    /// A socket was connected, accepted, or seen for the first time.
    Socket(Socket),
    /// Bytes were moved.
    Data(Data),
    /// A request's context is known.
    Context(Context),
    /// A socket's direction, or the whole of it, ended.
    End {
        /// The socket.
        socket: SocketId,
        /// Who did or saw it.
        task: Task,
        /// When.
        time: Time,
        /// How.
        end: End,
        /// Where the two directions stand, read and write, counted as [`Data::position`] is: bytes before it that no event
        /// told of were not seen. `None` where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        positions: Option<[u32; 2]>,
    },
    /// Events were lost on the way to the agent, or something could not be captured. `count` more of them than last said.
    Lost {
        /// When it was noticed.
        time: Time,
        /// A [`crate::streams::Loss`] name.
        cause: String,
        /// How many.
        count: u64,
    },
    /// Nothing happened up to this time: lets the engine finish what waits.
    Tick {
        /// Now.
        time: Time,
    },
}

impl Event {
    /// The time the event is ordered by; `None` for those that are acted on at once.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        match self {
            Event::Start { .. } | Event::Process(_) => None,
            Event::Socket(Socket { time, .. })
            | Event::Data(Data { time, .. })
            | Event::Context(Context { time, .. })
            | Event::Wake { time, .. }
            | Event::Thread { time, .. }
            | Event::Goroutine { time, .. }
            | Event::Coroutine { time, .. }
            | Event::Exit { time, .. }
            | Event::End { time, .. }
            | Event::Lost { time, .. }
            | Event::Tick { time } => Some(*time),
        }
    }
}

/// Ids as the hexadecimal digits that a traceparent has.
mod hexadecimal {
    use std::fmt::Write as _;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer, const N: usize>(id: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * N);
        for byte in id {
            let _ = write!(text, "{byte:02x}"); // into memory: it does not fail
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok()).collect();
        bytes
            .filter(|_| rest.is_empty())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom(format!("an id has {} hexadecimal digits", 2 * N)))
    }

    /// The same where there may be none.
    pub(super) mod option {
        use serde::{Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer, const N: usize>(
            id: &Option<[u8; N]>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match id {
                Some(id) => super::serialize(id, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
            deserializer: D,
        ) -> Result<Option<[u8; N]>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

/// Captured bytes as base64 strings.
mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}
