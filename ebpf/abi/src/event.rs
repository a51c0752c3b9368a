//! What the programs tell: records of the ring buffer.

/// Longest payload prefix of one event, bytes; a power of two, so that a mask can bound copies for the verifier.
pub const MAX_HEAD: usize = 32 * 1024;

/// How many of a call's last bytes are captured where its middle is not: enough for the message that ends a response
/// (PostgreSQL's CommandComplete and ReadyForQuery, MySQL's OK, HTTP's last chunk).
pub const MAX_TAIL: usize = 64;

/// Longest path of a Unix socket (`sun_path`).
pub const MAX_PATH: usize = 108;

/// What an event is; the first field of its header.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`SocketEvent`].
    Socket = 1,
    /// [`DataEvent`], followed by its head and tail bytes.
    Data = 2,
    /// [`EndEvent`].
    End = 3,
    /// [`ProcessEvent`]: the process executed another program.
    Exec = 4,
    /// [`ProcessEvent`]: the process made a child, `other`.
    Fork = 5,
    /// [`ProcessEvent`]: the process ended.
    Exit = 6,
    /// [`ProcessEvent`]: the process listens on a socket.
    Listen = 7,
    /// [`ProcessEvent`]: the process used io_uring, whose traffic no system call shows.
    IoUring = 8,
    /// [`ProcessEvent`]: the thread woke another one of its process, `other`.
    Wake = 9,
    /// [`ProcessEvent`]: the thread started another one, `other`.
    Thread = 10,
    /// [`ProcessEvent`]: the goroutine that the thread was running is about to have a request sent by another one.
    Goroutine = 11,
    /// [`CoroutineEvent`].
    Coroutine = 12,
    /// [`ContextEvent`](crate::propagation::ContextEvent).
    Context = 16,
}

/// Begins every event.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u16,
    /// A [`works_for`] constant.
    pub relation: u16,
    /// Thread group id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's count of waits on several files.
    pub turn: u32,
    /// When, ns.
    pub time: u64,
    /// The socket's inode number, 0 where there is none.
    pub socket: u64,
    /// The goroutine (or coroutine, by `relation`) that the thread was running, the low 32 bits of its id; 0 where there is none.
    pub goroutine: u32,
    /// The goroutine for which that one works, likewise.
    pub works_for: u32,
}

/// [`Header::relation`]: how the goroutine is known to work for the other one, or that it is no goroutine.
pub mod works_for {
    /// It was started by it, or there is no other one.
    pub const STARTED: u16 = 0;
    /// It was handed what it now writes.
    pub const HANDED: u16 = 1;
    /// It is a coroutine with a number that is never used again.
    pub const TASK: u16 = 2;
    /// It is a coroutine, by the address of its context without the last four bits.
    pub const CONTEXT: u16 = 3;
}

/// A socket that is followed from now on.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SocketEvent {
    /// Header.
    pub header: Header,
    /// An [`origin`] constant.
    pub origin: u32,
    /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
    pub family: u32,
    /// Own port, host order.
    pub local_port: u32,
    /// Peer's port, host order.
    pub peer_port: u32,
    /// Own address; for Unix sockets the first 8 bytes are an opaque number of the socket.
    pub local: [u8; 16],
    /// Peer's address; for Unix sockets the first 8 bytes are an opaque number of the peer.
    pub peer: [u8; 16],
    /// Network namespace inode.
    pub netns: u32,
    /// Bytes of `path` in use.
    pub path_length: u32,
    /// A Unix socket's own path, or the peer's; abstract names begin with NUL.
    pub path: [u8; MAX_PATH],
    /// Which end the path names: 0 the own, 1 the peer's.
    pub path_of_peer: u32,
    /// The process's command name, for those that end before anybody can ask who they were.
    pub comm: [u8; 16],
    /// Of the first bytes that it will read and write.
    pub positions: Positions,
    /// Zero.
    pub reserved: u32,
}

/// Where both streams of a socket stand, counted as [`DataEvent::position`] is.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Positions {
    /// Of the next byte, by [`direction`].
    pub next: [u32; 2],
    /// 0: not known.
    pub known: u32,
}

/// [`SocketEvent::origin`].
pub mod origin {
    /// First seen when it was used.
    pub const UNKNOWN: u32 = 0;
    /// `connect`.
    pub const CONNECTED: u32 = 1;
    /// `accept`.
    pub const ACCEPTED: u32 = 2;
}

/// Bytes that one call moved. `head` and then `tail` bytes follow the struct.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DataEvent {
    /// Header; `time` is the entry of a write, the exit of a read.
    pub header: Header,
    /// Bytes moved.
    pub length: u64,
    /// Position of the first byte: TCP sequence number, or a count.
    pub position: u32,
    /// A [`direction`] constant.
    pub direction: u32,
    /// Captured bytes from the start.
    pub head: u32,
    /// Captured bytes up to the end.
    pub tail: u32,
}

/// [`DataEvent::direction`], and the index of per-direction state.
pub mod direction {
    /// Received.
    pub const READ: u32 = 0;
    /// Sent.
    pub const WRITE: u32 = 1;
}

/// A direction of a socket ended.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EndEvent {
    /// Header.
    pub header: Header,
    /// An [`end`] constant.
    pub end: u32,
    /// Where the streams ended. A FIN counts as a byte.
    pub positions: Positions,
}

/// [`EndEvent::end`].
pub mod end {
    /// The last descriptor was closed.
    pub const CLOSED: u32 = 0;
    /// `shutdown` of the sending direction.
    pub const SHUT_WRITE: u32 = 1;
    /// A read returned 0.
    pub const PEER_CLOSED: u32 = 2;
    /// ECONNRESET or EPIPE.
    pub const RESET: u32 = 3;
    /// ETIMEDOUT.
    pub const TIMED_OUT: u32 = 4;
}

/// Something happened to a process.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProcessEvent {
    /// Header.
    pub header: Header,
    /// The child of a fork, or the other thread.
    pub other: u32,
    /// 1: the other thread waited as for a lock of glibc's; 0 elsewhere.
    pub lock: u32,
    /// User address of the futex by which the other thread was woken; 0 where it is none.
    pub futex: u64,
}

/// How many coroutines above a new one are told: the tasks that a request's task waits for begin others of their own, seldom more than two or three
/// deep.
pub const ANCESTORS: usize = 4;

/// A coroutine of Python has begun: its context was made as a copy of the one that was current.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CoroutineEvent {
    /// Header: the new one is its `goroutine`, and `time` when it began.
    pub header: Header,
    /// In which it began, in which that one began, and so on.
    pub ancestors: [Ancestor; ANCESTORS],
}

/// A coroutine, by its context.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Ancestor {
    /// When it began, ns; 0: that was not seen.
    pub began: u64,
    /// The address of its context as in [`Header::goroutine`]; 0: there is none.
    pub context: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Header>() == 40);
const _: () = assert!(size_of::<DataEvent>() == 40 + 24);
const _: () = assert!(size_of::<SocketEvent>() == 40 + 16 + 32 + 8 + MAX_PATH + 4 + 16 + 16);
const _: () = assert!(size_of::<EndEvent>() == 40 + 16);
const _: () = assert!(size_of::<ProcessEvent>() == 40 + 16);
const _: () = assert!(size_of::<CoroutineEvent>() == 40 + ANCESTORS * 16);
