//! Who calls, whether they are observed, and the call they are in.

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_get_current_pid_tgid};
use syspan_abi::{Counter, GoLayout, Observed, selection, watch};

use crate::{
    config::config,
    maps::{PROCESSES, THREADS, count},
    task,
};

/// The thread that makes a call.
#[derive(Clone, Copy)]
pub struct Caller {
    /// Its process (thread group) id.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// The system call's number; at its exit 0, where nobody asks.
    pub number: u32,
    /// [`Observed::watch`].
    pub watch: u32,
    /// [`Observed::go`].
    pub go: GoLayout,
    /// Address of the registers that it entered the system call with; 0 outside of one.
    pub registers: u64,
}

impl Caller {
    /// The calling thread, in a system call that it entered with these registers, of a process that is observed so.
    #[inline(always)]
    pub fn new(observed: Observed, number: u32, registers: u64) -> Self {
        let both = bpf_get_current_pid_tgid();
        let Observed { selection: _, watch, go } = observed;
        Self { pid: (both >> 32) as u32, tid: both as u32, number, watch, go, registers }
    }
}

/// A thread of an observed process.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Thread {
    /// The call under way.
    pub call: Call,
    /// Address of the registers that it enters system calls with: the same for as long as it lives.
    pub registers: u64,
    /// Waits on several files so far.
    pub turn: u32,
    /// How many wake-ups are still told: [`WAKES`] each time it has moved bytes, [`PASSED_WAKES`] or fewer when it was woken.
    pub wakes: u32,
    /// The last that were told since it has moved bytes.
    pub told: [Told; TOLD],
}

/// A wake-up that was told.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Told {
    /// The low half of the address of the futex; 0 for none.
    pub futex: u32,
    /// The thread that was woken.
    pub woken: u32,
}

/// How many are kept: a lock of Python has a mutex and a condition variable, which has two futexes. A power of two.
pub const TOLD: usize = 4;

/// Wake-ups of a thread that are told after each transfer of bytes: whoever has finished a piece of work wakes the one that waits
/// for it, but before perhaps some who wait for the same lock.
const WAKES: u32 = 8;

/// How many at most are told of a thread that was woken by one of which some are still told. They become fewer from one thread to the next.
pub const PASSED_WAKES: u32 = 4;

/// What the exit of a call needs to know of its entry.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Call {
    /// Entry of a call that sends or connects, ns; 0 otherwise.
    pub time: u64,
    /// The socket's inode.
    pub socket: u64,
    /// User address: of the buffer, the iovec array, or the msghdr(s).
    pub address: u64,
    /// Length of the buffer, or number of iovecs or messages.
    pub length: u64,
    /// An [`op`] constant.
    pub op: u32,
    /// The descriptor.
    pub fd: i32,
    /// Position in the stream at entry, where the socket was known then.
    pub position: u32,
    /// Whether it was.
    pub positioned: u32,
    /// The system call's number.
    pub number: u32,
    /// [`Observed::watch`].
    pub watch: u32,
    /// [`Observed::go`].
    pub go: GoLayout,
}

/// [`Call::op`]: how [`Call::address`] is to be read.
pub mod op {
    /// No call under way.
    pub const NONE: u32 = 0;
    /// One buffer.
    pub const BUFFER: u32 = 1;
    /// An array of `struct iovec`.
    pub const VECTOR: u32 = 2;
    /// One `struct msghdr`.
    pub const MESSAGE: u32 = 3;
    /// An array of `struct mmsghdr`.
    pub const MESSAGES: u32 = 4;
    /// No user memory: only the length counts (sendfile, splice).
    pub const LENGTH: u32 = 5;
    /// connect.
    pub const CONNECT: u32 = 6;
    /// accept.
    pub const ACCEPT: u32 = 7;
    /// listen.
    pub const LISTEN: u32 = 8;
    /// epoll_create.
    pub const EPOLL_CREATE: u32 = 9;
    /// epoll_ctl that removes a descriptor; the address is the instance's.
    pub const EPOLL_DELETE: u32 = 10;
    /// Added when the call receives; without it, it sends.
    pub const READ: u32 = 16;
}

/// How a process is observed, if it is.
#[inline(always)]
pub fn observed(pid: u32) -> Option<Observed> {
    // SAFETY: a map value, of which each word can be believed by itself.
    match unsafe { PROCESSES.get(pid) } {
        Some(observed) if observed.selection == selection::SELECTED => Some(*observed),
        None if config!(all) != 0 => Some(Observed::default()),
        _ => None,
    }
}

/// Whether the calling thread is in a 32-bit system call of a 64-bit kernel.
#[inline(always)]
pub fn is_compat() -> bool {
    task::member::<u32>(config!(offsets.task_compat)) & config!(offsets.compat_mask) != 0
}

/// The calling thread's entry, made when it is missing.
#[inline(always)]
pub fn current(tid: u32) -> Option<*mut Thread> {
    if let Some(thread) = THREADS.get_ptr_mut(tid) {
        return Some(thread);
    }
    if THREADS.insert(tid, Thread::default(), BPF_ANY as u64).is_err() {
        count(Counter::MapFull);
    }
    THREADS.get_ptr_mut(tid)
}

/// The calling thread's turn.
#[inline(always)]
pub fn turn(tid: u32) -> u32 {
    match THREADS.get_ptr_mut(tid) {
        // SAFETY: the thread's own entry.
        Some(thread) => unsafe { (*thread).turn },
        None => 0,
    }
}

/// Keeps a call until its exit.
#[inline(always)]
pub fn begin(caller: Caller, call: &Call) {
    if let Some(thread) = current(caller.tid) {
        // SAFETY: only the thread itself writes its entry, one call at a time.
        unsafe {
            (*thread).call = *call;
            (*thread).call.number = caller.number;
            (*thread).call.watch = caller.watch;
            (*thread).call.go = caller.go;
            (*thread).registers = caller.registers;
        }
    }
}

/// Forgets a kept call: its exit was missed.
#[inline(always)]
pub fn forget(tid: u32) {
    if let Some(thread) = THREADS.get_ptr_mut(tid) {
        // SAFETY: as in `begin`.
        unsafe { (*thread).call.op = op::NONE };
    }
}

/// The calling thread has moved bytes: whom it wakes next may go on with them.
#[inline(always)]
pub fn has_moved(caller: Caller) {
    if caller.watch & watch::WAKES != 0
        && let Some(thread) = THREADS.get_ptr_mut(caller.tid)
    {
        // SAFETY: as in `begin`.
        unsafe {
            (*thread).wakes = WAKES;
            (*thread).told = [Told::default(); TOLD];
        }
    }
}

impl Thread {
    /// Whether the thread has lately woken another one than this by the same futex. So nobody waits there for a thing of his own: it is a lock that
    /// threads take in turn, and who is next is no news. (Python's interpreter lock goes from thread to thread at each call that blocks.)
    #[inline(always)]
    pub fn is_shared(&self, futex: u64, woken: u32) -> bool {
        for told in &self.told {
            if told.futex == futex as u32 && told.woken != woken {
                return futex != 0;
            }
        }
        false
    }
}

/// Takes the kept call that the calling thread is leaving, with its turn.
#[inline(always)]
pub fn finish(tid: u32) -> Option<(u32, Call)> {
    let thread = THREADS.get_ptr_mut(tid)?;
    // SAFETY: as in `begin`.
    unsafe {
        if (*thread).call.op == op::NONE {
            return None;
        }
        let call = (*thread).call;
        (*thread).call.op = op::NONE;
        Some(((*thread).turn, call))
    }
}
