//! Who calls, whether they are observed, and the call they are in.

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_get_current_pid_tgid};
use syspan_abi::{Counter, selection};

use crate::{
    config::config,
    maps::{PROCESSES, THREADS, count},
};

/// A thread of an observed process.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Thread {
    /// The call under way.
    pub call: Call,
    /// Waits on several files so far.
    pub turn: u32,
    /// Zero.
    pub reserved: u32,
}

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
    /// epoll_create.
    pub const EPOLL_CREATE: u32 = 7;
    /// epoll_ctl that removes a descriptor; the address is the instance's key.
    pub const EPOLL_DELETE: u32 = 8;
    /// Added when the call receives; without it, it sends.
    pub const READ: u32 = 16;
}

/// The calling thread, if its process is observed: (process id, thread id).
#[inline(always)]
pub fn observed() -> Option<(u32, u32)> {
    let both = bpf_get_current_pid_tgid();
    let pid = (both >> 32) as u32;
    if is_observed(pid) { Some((pid, both as u32)) } else { None }
}

/// Whether a process is observed.
#[inline(always)]
pub fn is_observed(pid: u32) -> bool {
    // SAFETY: the value is one word, replaced as a whole.
    match unsafe { PROCESSES.get(pid) } {
        Some(&selection) => selection == selection::SELECTED,
        None => config!(all) != 0,
    }
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

/// Keeps a call until its exit.
#[inline(always)]
pub fn begin(tid: u32, call: &Call) {
    if let Some(thread) = current(tid) {
        // SAFETY: only the thread itself writes its entry, one call at a time.
        unsafe { (*thread).call = *call };
    }
}

/// Takes the call that the calling thread is leaving if it is an `op`, with its turn: (pid, tid, turn, call).
#[inline(always)]
pub fn finish(op: u32) -> Option<(u32, u32, u32, Call)> {
    let both = bpf_get_current_pid_tgid();
    let tid = both as u32;
    let thread = THREADS.get_ptr_mut(tid)?;
    // SAFETY: as in `begin`.
    unsafe {
        if (*thread).call.op != op {
            return None;
        }
        let call = (*thread).call;
        (*thread).call.op = op::NONE;
        Some(((both >> 32) as u32, tid, (*thread).turn, call))
    }
}
