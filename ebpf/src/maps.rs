//! The tables, and the loss counters.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use syspan_abi::{COUNTERS, Counter, MAX_HEAD, MAX_TAIL, SocketState};

use crate::thread::Thread;

/// Process (thread group) id -> a `selection`. Filled by the agent and by fork.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(65_536, 0);

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
    /// Bytes of the record.
    pub bytes: [u8; SCRATCH],
    /// While buffers are gathered: bytes copied so far.
    pub got: u64,
    /// The same: bytes of the buffers that are done with.
    pub passed: u64,
}

/// Twice the longest head, so that `offset (masked) + length (bounded)` is inside for every value.
pub const SCRATCH: usize = 128 + 2 * MAX_HEAD + MAX_TAIL;

/// One for each CPU (not a per-CPU array: those hold at most 32 KiB); resized at load to the number of CPUs. A program
/// is not preempted by another of these on its CPU.
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
        // SAFETY: a map value of this CPU.
        unsafe { *value += losses };
    }
}
