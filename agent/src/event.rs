//! What the engine is told: one value for each thing that happened on the host, in one order, with its own time.
//!
//! Live, the events come from the eBPF programs (kernel facts) and from `/proc` (who a process is). A recording is the
//! same sequence written down, one event a line (docs/recording.md), which is why every type here serialises.

mod encoding;
mod task;

use std::{net::IpAddr, num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::encoding::{base64_bytes, hexadecimal};
pub use self::task::{Ancestor, Coroutine, Goroutine, Strand, Task, Turn, WorksFor};
use crate::processes::Process;

/// Nanoseconds of the kernel's monotonic clock (`CLOCK_MONOTONIC`, `bpf_ktime_get_ns`).
///
/// Converted to wall time once for a whole run, see [`Event::Start`].
pub type Time = u64;

/// A process (thread group) id in the host's pid namespace.
pub type Pid = u32;

/// A socket, for as long as it lives: the inode number of the kernel's socket, the one `ss` and `/proc/PID/fd` show.
pub type SocketId = u64;

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
