//! In which context a thread of CPython runs: the interpreter keeps a state for each of its threads, and in it the current context
//! (`contextvars`, PEP 567). Every task of asyncio and every greenlet of gevent has its own. The agent says where (`PythonLayout`).

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::LruHashMap};
use syspan_abi::{MAX_PYTHONS, PythonLayout};

use crate::{config::config, goroutine::user, task};

/// Threads of an interpreter that are looked at. The youngest come first, so the main thread of a program with more is not found.
const MAX_THREADS: u32 = 64;

/// Process (thread group) id -> where it has its contexts. Filled by the agent.
#[map]
pub static PYTHONS: LruHashMap<u32, PythonLayout> = LruHashMap::with_max_entries(MAX_PYTHONS, 0);

/// The address of the calling thread's context; 0: none, or it is not known.
///
/// The thread is looked up by its id, for the interpreter knows which one runs only while that holds its lock, and not in a system call.
#[inline(always)]
pub fn python_context() -> u64 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a map value that only the agent writes.
    let Some(layout) = (unsafe { PYTHONS.get(pid) }) else { return 0 };
    let own: u64 = task::member(config!(offsets.task_thread_pointer));
    let mut thread = user(user(layout.interpreter).wrapping_add(layout.threads as u64));
    for _ in 0..MAX_THREADS {
        if thread == 0 {
            break;
        }
        if user(thread.wrapping_add(layout.thread_id as u64)) == own {
            return user(thread.wrapping_add(layout.context as u64));
        }
        thread = user(thread.wrapping_add(layout.next as u64));
    }
    0
}

/// [`PythonLayout::copy`] of a process.
#[inline(always)]
pub fn copy_register(pid: u32) -> Option<u32> {
    // SAFETY: a map value that only the agent writes.
    unsafe { PYTHONS.get(pid) }.map(|layout| layout.copy)
}

/// A context as it is told: the low 32 bits of its address without the last four, which are 0.
#[inline(always)]
pub fn told(address: u64) -> u32 {
    (address >> 4) as u32
}

/// Whether two objects of the interpreter are of one type, which stands behind their counts of references.
#[inline(always)]
pub fn are_alike(one: u64, other: u64) -> bool {
    const TYPE: u64 = 8;
    user(one.wrapping_add(TYPE)) == user(other.wrapping_add(TYPE))
}
