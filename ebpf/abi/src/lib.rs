//! The event and map types shared by syspan's eBPF programs and its agent.
//!
//! Every type is `repr(C)`, has no implicit padding (asserted below), and is read from a ring buffer record or written
//! into a map or global as it stands. Numbers are in host byte order, times in ns of `bpf_ktime_get_ns`
//! (`CLOCK_MONOTONIC`).

#![cfg_attr(not(feature = "std"), no_std)]

pub mod propagation;

/// Longest payload prefix of one event, bytes; a power of two, so that a mask can bound copies for the verifier.
pub const MAX_HEAD: usize = 32 * 1024;

/// How many of a call's first bytes are captured even when the budget is used up: many small messages one way (pipelining,
/// results row by row) stay whole, and a large call that begins a message shows it.
pub const ALWAYS: u32 = 1024;

/// How many messages of the longest kind the budget of one turn holds: a head may follow the rest of another message.
pub const BUDGET_MESSAGES: u32 = 2;

/// How many of a call's last bytes are captured where its middle is not: enough for the message that ends a response
/// (PostgreSQL's CommandComplete and ReadyForQuery, MySQL's OK, HTTP's last chunk).
pub const MAX_TAIL: usize = 64;

/// How many events may be put together on a CPU at a time: one, and those of threads that interrupt it.
pub const SCRATCHES_OF_A_CPU: u32 = 4;

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
    /// [`propagation::ContextEvent`].
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

/// Value of the process table.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// A [`selection`] constant.
    pub selection: u32,
    /// [`watch`] flags.
    pub watch: u32,
    /// Where it has its goroutines.
    pub go: GoLayout,
}

/// [`Observed::watch`]: what else is told of the process.
pub mod watch {
    /// Which of its threads wakes or starts which.
    pub const WAKES: u32 = 1;
    /// Which of its goroutines hands which one a request to write.
    pub const HANDOVERS: u32 = 2;
    /// In which of Python's contexts its threads are ([`PythonLayout`](super::PythonLayout)).
    pub const CONTEXTS: u32 = 4;
    /// Which Tokio task its threads poll: the task's id is at [`GoLayout::g`](super::GoLayout::g) from the thread pointer.
    pub const TASKS: u32 = 8;
    /// Which of Java's virtual threads its threads carry ([`JavaLayout`](super::JavaLayout)).
    pub const VIRTUAL_THREADS: u32 = 16;
    /// Any of those that tell which coroutine its threads run.
    pub const COROUTINES: u32 = CONTEXTS | TASKS | VIRTUAL_THREADS;
    /// Which of Python's contexts are made as copies of which.
    pub const COPIES: u32 = 32;
}

/// Where a process that runs CPython keeps what is read of a thread's context: its threads' states are a list.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PythonLayout {
    /// Address of the pointer to the main interpreter's state.
    pub interpreter: u64,
    /// In an interpreter's state: the pointer to the first thread's.
    pub threads: u32,
    /// In a thread's state: the pointer to the next one's.
    pub next: u32,
    /// The thread's `pthread_t`, which with the C libraries of x86-64 is its thread pointer.
    pub thread_id: u32,
    /// The pointer to its context.
    pub context: u32,
    /// In the registers of a thread that has just made a copy of its context, where the program is put: that with the copy's address.
    pub copy: u32,
    /// Zero.
    pub reserved: u32,
}

/// Processes whose Python contexts are told at a time.
pub const MAX_PYTHONS: u32 = 4096;

/// Where a Java process (HotSpot) keeps what is read of the virtual thread that a thread carries. Its threads are a list; the one that calls is found
/// by the id that the system gives it. Offsets are in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JavaLayout {
    /// Address of the pointer to the list of threads.
    pub threads: u64,
    /// Address of the byte that is not 0 while a collection of garbage moves objects and all threads that run Java wait for it.
    pub collecting: u64,
    /// In the list: how many threads there are.
    pub length: u32,
    /// In the list: the pointer to the array of pointers to them.
    pub array: u32,
    /// In a thread: the pointer to what the system knows of it.
    pub system: u32,
    /// There: its id in its own pid namespace.
    pub system_id: u32,
    /// In a thread: the word that is not 0 while it carries a virtual thread; with `id`, the pointer to the one to its own object.
    pub carries: u32,
    /// In a thread: the id of the thread that it runs, a virtual one or itself; with `id`, the pointer to the one to that thread's object.
    pub current: u32,
    /// In an object of `java.lang.Thread`: its id. 0: the object is not asked.
    pub id: u32,
    /// Zero.
    pub reserved: u32,
}

/// Processes whose virtual threads are told at a time.
pub const MAX_JAVAS: u32 = 4096;

/// Where a Go program keeps what is read of the goroutine that a thread is running.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GoLayout {
    /// From the thread pointer to the address of the goroutine's `runtime.g` (where a register does not have it).
    pub g: i32,
    /// Of its `goid`; 0: the program is not Go.
    pub id: u16,
    /// Of its `parentGoid`; 0: it has none.
    pub parent: u16,
}

/// [`Observed::selection`].
pub mod selection {
    /// Observed, and its children with it.
    pub const SELECTED: u32 = 1;
    /// Never observed, even with `all` (the agent itself).
    pub const EXCLUDED: u32 = 2;
    /// Never observed, but its children are (`syspan exec`).
    pub const PARENT: u32 = 3;
}

/// Value of [`SocketState::verdict`], which the agent may write.
pub mod verdict {
    /// Not known yet, or HTTP: heads up to [`Config::head_limit`](super::Config).
    pub const FOLLOW: u32 = 0;
    /// SQL: up to [`Config::sql_limit`](super::Config).
    pub const SQL: u32 = 1;
    /// Not followed any more.
    pub const IGNORE: u32 = 2;
}

/// What the kernel keeps of one socket.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SocketState {
    /// Address of the kernel's inode: tells a socket from a file of another file system with the same number.
    pub inode: u64,
    /// Address of the kernel's `struct sock`, for its sequence numbers; 0 for Unix sockets.
    pub tcp: u64,
    /// A [`verdict`] constant.
    pub verdict: u32,
    /// The direction of the last bytes + 1, 0 at first: a change renews the other direction's budget.
    pub last: u32,
    /// Captured bytes since the direction changed, by direction.
    pub used: [u32; 2],
    /// Bytes moved, by direction: the position in a Unix socket's streams.
    pub moved: [u32; 2],
    /// Whether a [`SocketEvent`] reached the ring buffer.
    pub announced: u32,
    /// An [`origin`] constant.
    pub origin: u32,
}

/// Byte offsets of kernel structure members, from BTF.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "each is the kernel member it names")]
pub struct Offsets {
    /// The word of the task that tells a 32-bit system call (`thread_info.status` or `.flags`).
    pub task_compat: u32,
    /// Its bits that say so.
    pub compat_mask: u32,
    pub task_signal: u32,
    pub task_tgid: u32,
    pub task_files: u32,
    pub files_fdt: u32,
    pub fdt_max_fds: u32,
    pub fdt_fd: u32,
    pub file_inode: u32,
    pub file_private: u32,
    /// `file.f_count`, or `file.f_ref` since 6.13.
    pub file_refs: u32,
    /// What `file_refs` holds while one descriptor is left: 1 for `f_count`, 0 for `f_ref`.
    pub file_refs_last: u32,
    pub inode_ino: u32,
    pub inode_mode: u32,
    pub socket_type: u32,
    pub socket_sk: u32,
    pub sk_family: u32,
    pub sk_state: u32,
    pub sk_dport: u32,
    pub sk_num: u32,
    pub sk_daddr: u32,
    pub sk_rcv_saddr: u32,
    pub sk_v6_daddr: u32,
    pub sk_v6_rcv_saddr: u32,
    pub sk_net: u32,
    /// `sock.sk_cookie`, which is 0 until somebody asks for it.
    pub sk_cookie: u32,
    /// `sock.sk_protocol`: a 16-bit member since 5.6.
    pub sk_protocol: u32,
    pub net_inum: u32,
    pub tcp_copied_seq: u32,
    pub tcp_write_seq: u32,
    /// `tcp_sock.snd_una`: everything before it is acknowledged.
    pub tcp_snd_una: u32,
    /// `inet_connection_sock.icsk_ulp_ops`: a protocol above TCP in the kernel (TLS).
    pub sk_ulp: u32,
    pub unix_peer: u32,
    pub unix_addr: u32,
    pub unix_addr_len: u32,
    pub unix_addr_name: u32,
    /// `signal_struct.live`: how many threads of a process have not ended.
    pub signal_live: u32,
    /// Where in `pt_regs` the eight words begin among which are a system call's arguments.
    pub regs_arguments: u32,
    /// Which of those words the arguments are, in order.
    pub argument: [u32; 6],
    /// Where it has the system call's number.
    pub regs_number: u32,
    /// Where it has the register that holds the address of Go's `runtime.g`; 0 where that is in thread-local storage.
    pub regs_goroutine: u32,
    /// In the registers of a program that is probed: that of a method's receiver in Go's internal ABI.
    pub regs_receiver: u32,
    /// The same: that of the address of the running goroutine's `runtime.g`.
    pub regs_running: u32,
    /// The thread pointer (`task_struct.thread.fsbase`), where Go uses it.
    pub task_thread_pointer: u32,
    /// A thread's id (`task_struct.pid`).
    pub task_tid: u32,
    /// Its ids in all its pid namespaces (`task_struct.thread_pid`, a `struct pid`).
    pub task_ids: u32,
    /// `pid.level`: how many namespaces its own one is inside of.
    pub pid_level: u32,
    /// `pid.numbers[0].nr`: its id in the outermost one.
    pub pid_number: u32,
    /// From there to that in the next one.
    pub pid_next: u32,
}

/// What a system call is to the programs; its number's entry in [`Config::syscalls`].
pub mod syscall {
    /// Of no interest.
    pub const OTHER: u8 = 0;
    /// `read`.
    pub const READ: u8 = 1;
    /// `readv`.
    pub const READV: u8 = 2;
    /// `recvfrom`.
    pub const RECVFROM: u8 = 3;
    /// `recvmsg`.
    pub const RECVMSG: u8 = 4;
    /// `recvmmsg`.
    pub const RECVMMSG: u8 = 5;
    /// `write`, `sendto`.
    pub const WRITE: u8 = 6;
    /// `writev`.
    pub const WRITEV: u8 = 7;
    /// `sendmsg`.
    pub const SENDMSG: u8 = 8;
    /// `sendmmsg`.
    pub const SENDMMSG: u8 = 9;
    /// `sendfile`.
    pub const SENDFILE: u8 = 10;
    /// `splice`.
    pub const SPLICE: u8 = 11;
    /// `connect`.
    pub const CONNECT: u8 = 12;
    /// `accept`, `accept4`.
    pub const ACCEPT: u8 = 13;
    /// `listen`.
    pub const LISTEN: u8 = 14;
    /// `shutdown`.
    pub const SHUTDOWN: u8 = 15;
    /// `close`.
    pub const CLOSE: u8 = 16;
    /// `close_range`.
    pub const CLOSE_RANGE: u8 = 17;
    /// `dup2`, `dup3`.
    pub const DUP: u8 = 18;
    /// `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.
    pub const EPOLL_WAIT: u8 = 19;
    /// `epoll_create`, `epoll_create1`.
    pub const EPOLL_CREATE: u8 = 20;
    /// `epoll_ctl`.
    pub const EPOLL_CTL: u8 = 21;
    /// `poll`, `ppoll`.
    pub const POLL: u8 = 22;
    /// `select`, `pselect6`.
    pub const SELECT: u8 = 23;
    /// `io_uring_setup`.
    pub const IO_URING_SETUP: u8 = 24;
    /// `futex`: only asked for by its number ([`Config::futex`](super::Config)), so that no futex of the host costs more than others.
    pub const FUTEX: u8 = 25;
}

/// System call numbers that are looked at: a power of two, beyond the last one of every architecture so far (some 470).
pub const MAX_SYSCALLS: usize = 512;

/// The programs' settings: one global, written before loading.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// A [`syscall`] constant for each number.
    pub syscalls: [u8; MAX_SYSCALLS],
    /// Where kernel members are.
    pub offsets: Offsets,
    /// 1: the verifier lets programs load members of the current task directly (`bpf_get_current_task_btf`, since 5.11).
    pub typed_task: u32,
    /// 1: a program at a system call may be interrupted by the same program, which the kernel then does not run (since 7.0).
    pub preemptible: u32,
    /// 1: every process that is not excluded is observed.
    pub all: u32,
    /// 1: tell of every program execution, not only of observed processes (`--exe`).
    pub watch_exec: u32,
    /// 1: tell of every process that begins to listen (`--port`).
    pub watch_listen: u32,
    /// Longest message that is captured, HTTP or unknown, bytes.
    pub head_limit: u32,
    /// The same for SQL.
    pub sql_limit: u32,
    /// Bytes in the ring buffer from which the agent is woken; below, it comes by itself.
    pub wake_at: u32,
    /// The number of `futex`.
    pub futex: u32,
    /// What carries contexts to other hosts: a [`propagation::carrier`] constant.
    pub propagate: u32,
    /// Makes socket numbers of kernel addresses opaque.
    pub address_key: u64,
}

/// Index of the loss counters.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// The ring buffer had no room for a [`DataEvent`].
    RingFull = 0,
    /// A table had no room.
    MapFull = 1,
    /// User memory could not be read.
    UserFault = 2,
    /// More buffers in a call, or messages, than are looked at.
    Budget = 3,
    /// The ring buffer had no room for another event.
    NoticeLost = 4,
    /// A descriptor was closed while the first call on its socket was under way.
    DescriptorGone = 5,
    /// More programs were interrupted on a CPU than there is room for ([`SCRATCHES_OF_A_CPU`]).
    Preempted = 6,
}

/// Number of [`Counter`]s.
pub const COUNTERS: u32 = 7;

const _: () = assert!(size_of::<Header>() == 40);
const _: () = assert!(size_of::<DataEvent>() == 40 + 24);
const _: () = assert!(size_of::<SocketEvent>() == 40 + 16 + 32 + 8 + MAX_PATH + 4 + 16 + 16);
const _: () = assert!(size_of::<EndEvent>() == 40 + 16);
const _: () = assert!(size_of::<ProcessEvent>() == 40 + 16);
const _: () = assert!(size_of::<Observed>() == 4 + 4 + 8);
const _: () = assert!(size_of::<PythonLayout>() == 8 + 6 * 4);
const _: () = assert!(size_of::<JavaLayout>() == 8 + 8 + 8 * 4);
const _: () = assert!(size_of::<SocketState>() == 8 + 8 + 8 + 8 + 8 + 8);
const _: () = assert!(size_of::<CoroutineEvent>() == 40 + ANCESTORS * 16);
const _: () = assert!(size_of::<Config>() == MAX_SYSCALLS + size_of::<Offsets>() + 10 * 4 + 8);

/// aya's marker for values that may be copied into and out of maps and globals as bytes.
#[cfg(feature = "std")]
mod pod {
    // SAFETY: repr(C), Copy, plain integers only, and no padding by the sizes asserted above.
    unsafe impl aya::Pod for super::SocketState {}
    // SAFETY: the same.
    unsafe impl aya::Pod for super::Observed {}
    // SAFETY: the same.
    unsafe impl aya::Pod for super::PythonLayout {}
    // SAFETY: the same.
    unsafe impl aya::Pod for super::JavaLayout {}
    // SAFETY: the same.
    unsafe impl aya::Pod for super::Config {}
}
