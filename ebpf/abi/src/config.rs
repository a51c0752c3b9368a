//! What the programs are told before they are loaded, and what they count.

/// How many of a call's first bytes are captured even when the budget is used up: many small messages one way (pipelining,
/// results row by row) stay whole, and a large call that begins a message shows it.
pub const ALWAYS: u32 = 1024;

/// How many messages of the longest kind the budget of one turn holds: a head may follow the rest of another message.
pub const BUDGET_MESSAGES: u32 = 2;

/// How many events may be put together on a CPU at a time: one, and those of threads that interrupt it.
pub const SCRATCHES_OF_A_CPU: u32 = 4;

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
    /// What carries contexts to other hosts: a [`carrier`](crate::propagation::carrier) constant.
    pub propagate: u32,
    /// Makes socket numbers of kernel addresses opaque.
    pub address_key: u64,
}

/// Index of the loss counters.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// The ring buffer had no room for a [`DataEvent`](crate::DataEvent).
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

const _: () = assert!(size_of::<Config>() == MAX_SYSCALLS + size_of::<Offsets>() + 10 * 4 + 8);

// SAFETY: repr(C), Copy, plain integers only, and no padding by the size asserted above.
#[cfg(feature = "std")]
unsafe impl aya::Pod for Config {}
