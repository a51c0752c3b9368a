//! Which virtual thread a thread of a Java process carries (JEP 444). Its id is never used again, and stays the same wherever the collector moves
//! what describes it. The agent says where it is (`JavaLayout`).
//!
//! Java knows its threads by a list. The agent could not tell new ones in time, so they are looked up here, once each; what was found
//! is believed as long as it has the calling thread's id.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::map,
    maps::LruHashMap,
};
use syspan_abi::{JavaLayout, MAX_JAVAS};

use crate::{goroutine::user, task};

/// Threads of the list that are looked at in one search: the verifier walks through as many. The next one goes on behind them.
const THREADS_A_SEARCH: u32 = 128;

/// How often a thread is looked up in vain: those of native code are not in the list, and it may change while it is read.
const MAX_SEARCHES: u32 = 16;

/// Set in the numbers of virtual threads of which nothing but that they are others is known. Java would have to start some
/// thousand millions before it has such a number.
const UNKNOWN: u64 = 1 << 31;

/// Process (thread group) id -> where it has its virtual threads. Filled by the agent.
#[map]
pub static JAVAS: LruHashMap<u32, JavaLayout> = LruHashMap::with_max_entries(MAX_JAVAS, 0);

/// What is known of a thread of such a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct JavaThread {
    /// Where Java describes it, an address; 0: it is not known.
    address: u64,
    /// How often it was looked up.
    searches: u32,
    /// Whether it was seen to carry a virtual thread.
    carries: u32,
}

/// Process and thread id (`bpf_get_current_pid_tgid`) -> that.
#[map]
static JAVA_THREADS: LruHashMap<u64, JavaThread> = LruHashMap::with_max_entries(16_384, 0);

/// The virtual thread that the calling thread carries: the low 32 bits of its id; 0: none, or it is not known.
#[inline(always)]
pub fn virtual_thread() -> u64 {
    let both = bpf_get_current_pid_tgid();
    // SAFETY: a map value that only the agent writes.
    let Some(layout) = (unsafe { JAVAS.get((both >> 32) as u32) }) else { return 0 };
    let Some(thread) = java_thread(both, layout) else { return 0 };
    // SAFETY: a map value; the thread's own entry.
    let address = unsafe { (*thread).address };
    if layout.id == 0 {
        return if user(address.wrapping_add(layout.carries as u64)) == 0 {
            0
        } else {
            user(address.wrapping_add(layout.current as u64))
        };
    }
    let own = user(user(address.wrapping_add(layout.carries as u64)));
    let current = user(user(address.wrapping_add(layout.current as u64)));
    if current == own {
        return 0;
    }
    // An object may not be where it is said to be while all are moved: the calling thread does not run Java now, so nothing waits for it. It is
    // asked afterwards whether they are, for a collection takes far longer than this.
    let id = user(current.wrapping_add(layout.id as u64));
    if user(layout.collecting) as u8 != 0 {
        // SAFETY: a map value, and a plain helper.
        return unsafe { if (*thread).carries == 0 { 0 } else { UNKNOWN | (bpf_ktime_get_ns() & (UNKNOWN - 1)) } };
    }
    // SAFETY: the thread's own entry.
    unsafe { (*thread).carries = 1 };
    id & u32::MAX as u64
}

/// The calling thread's entry, if it is one of Java's.
#[inline(always)]
fn java_thread(both: u64, layout: &JavaLayout) -> Option<*mut JavaThread> {
    let own = task::own_id();
    let mut searches = 0;
    if let Some(known) = JAVA_THREADS.get_ptr_mut(both) {
        // SAFETY: a map value.
        let JavaThread { address, searches: before, .. } = unsafe { *known };
        if address != 0 && system_id(address, layout) == own {
            return Some(known);
        }
        if before >= MAX_SEARCHES {
            return None;
        }
        searches = before;
    }
    let found = JavaThread { address: search(layout, own, searches), searches: searches + 1, carries: 0 };
    // It cannot fail for want of room.
    let _ = JAVA_THREADS.insert(both, found, BPF_ANY as u64);
    if found.address == 0 { None } else { JAVA_THREADS.get_ptr_mut(both) }
}

/// Where the thread of this id is described; 0 if it is not found by this search. The youngest are at the end of the list, which is where it
/// begins: those that carry virtual threads are started when they are needed.
#[inline(always)]
fn search(layout: &JavaLayout, own: u32, searches: u32) -> u64 {
    let list = user(layout.threads);
    let length = user(list.wrapping_add(layout.length as u64)) as u32;
    let array = user(list.wrapping_add(layout.array as u64));
    let passed = searches * THREADS_A_SEARCH;
    let rest = if passed < length { length - passed } else { length };
    for number in 0..THREADS_A_SEARCH {
        // Read again each time, or the compiler makes one limit of both, in which older verifiers see no end.
        // SAFETY: a variable on the stack.
        if number >= unsafe { (&raw const rest).read_volatile() } {
            break;
        }
        let address = user(array.wrapping_add((rest - 1 - number) as u64 * 8));
        if system_id(address, layout) == own {
            return address;
        }
    }
    0
}

/// The id that the system gives to a thread.
#[inline(always)]
fn system_id(thread: u64, layout: &JavaLayout) -> u32 {
    let system = user(thread.wrapping_add(layout.system as u64));
    user(system.wrapping_add(layout.system_id as u64)) as u32
}
