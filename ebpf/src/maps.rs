//! The tables, and the loss counters.

use core::arch::asm;

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use syspan_abi::{COUNTERS, Counter, MAX_HEAD, MAX_TAIL, Observed, SocketState};

use crate::thread::Thread;

/// Process (thread group) id -> whether and how it is observed. Filled by the agent and by fork.
#[map]
pub static PROCESSES: HashMap<u32, Observed> = HashMap::with_max_entries(65_536, 0);

/// Thread id -> its call under way and its count of waits; removed when the thread ends.
#[map]
pub static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(65_536, 0);

/// Socket inode -> what is known of it. The least recently used is dropped: it is announced again when it is used again.
#[map]
pub static SOCKETS: LruHashMap<u64, SocketState> = LruHashMap::with_max_entries(65_536, 0);

/// Kernel address of an epoll instance's file -> number of descriptors it watches, for those created while observed.
#[map]
pub static EPOLLS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16_384, 0);

/// Events to the agent; resized at load (`--ring-size`).
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(1 << 23, 0);

/// Loss counters, see [`Counter`].
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// Room for an event while it is put together: the header, then `head` and `tail` at any masked offset.
#[repr(C)]
pub struct Scratch {
    /// How many programs want it; the one that finds itself alone has it.
    pub users: u64,
    /// Bytes of the record.
    pub bytes: [u8; SCRATCH],
    /// While buffers are gathered: bytes copied so far.
    pub got: u64,
    /// The same: bytes of the buffers that are done with.
    pub passed: u64,
}

/// Twice the longest head, so that `offset (masked) + length (bounded)` is inside for every value.
pub const SCRATCH: usize = 128 + 2 * MAX_HEAD + MAX_TAIL;

/// [`SCRATCHES_OF_A_CPU`] for each CPU (not a per-CPU array: those hold at most 32 KiB); resized at load to the number of CPUs.
#[map]
pub static SCRATCHES: Array<Scratch> = Array::with_max_entries(1, 0);

/// Counts one loss.
#[inline(always)]
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Counts several.
#[inline(always)]
pub fn add(counter: Counter, losses: u64) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        add_to(value, losses);
    }
}

/// Adds to a word of a map as one instruction, which an interruption does not split. (`BPF_XADD`, in assembly because Rust has
/// no such operation for this target; it gives no result, as those that do are newer than Linux 5.10.)
#[inline(always)]
pub fn add_to(word: *mut u64, number: u64) {
    // SAFETY: an aligned word of a map value, which the verifier checks.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {number}", word = in(reg) word, number = in(reg) number) };
}
