//! Which goroutine a thread is running, or which coroutine ([`crate::python`], [`crate::java`]). Go keeps its description (`runtime.g`) where the thread finds it at once, on x86-64 in
//! thread-local storage and on arm64 in a register, and its id in that description. The agent says where (`GoLayout`).

use aya_ebpf::helpers::generated;
use syspan_abi::{GoLayout, watch, works_for};

use crate::{
    config::config,
    hooks::{copy::tell_coroutine, handover::handed_by},
    java::virtual_thread,
    python::{self, python_context},
    socket::kernel,
    task,
    thread::Caller,
};

/// The goroutine that a thread is running.
pub struct Current {
    /// Its id, the low 32 bits; 0: none.
    pub id: u32,
    /// The one for which it works, likewise.
    pub works_for: u32,
    /// How that is known: a [`syspan_abi::works_for`] constant.
    pub relation: u16,
}

/// The calling thread's.
#[inline(always)]
pub fn current(caller: Caller) -> Current {
    if caller.watch & watch::COROUTINES != 0 {
        let told = coroutine(caller.watch as u64, caller.go.g as i64 as u64);
        if caller.watch & watch::COPIES != 0 && told as u32 != 0 {
            tell_coroutine(caller.pid as u64, told & u32::MAX as u64);
        }
        return Current { id: told as u32, works_for: 0, relation: (told >> 32) as u16 };
    }
    if caller.go.id == 0 {
        return Current { id: 0, works_for: 0, relation: works_for::STARTED };
    }
    let go = caller.go;
    let ids = goroutine(go.g as i64 as u64, go.id as u64, go.parent as u64, caller.registers);
    let (id, started_by) = (ids as u32, (ids >> 32) as u32);
    let handed_by =
        if caller.watch & watch::HANDOVERS != 0 { handed_by(caller.pid as u64, id as u64) as u32 } else { 0 };
    if handed_by != 0 {
        return Current { id, works_for: handed_by, relation: works_for::HANDED };
    }
    Current { id, works_for: started_by, relation: works_for::STARTED }
}

/// A goroutine and the one that started it, by the low 32 bits of their ids; 0: none.
pub struct Parentage {
    pub id: u32,
    pub started_by: u32,
}

/// What a `runtime.g` says.
#[inline(always)]
pub fn parentage(g: u64, go: GoLayout) -> Parentage {
    let word = |member: u16| if member == 0 { 0 } else { user(g.wrapping_add(member as u64)) as u32 };
    Parentage { id: word(go.id), started_by: word(go.parent) }
}

/// The id of the calling thread's goroutine, and above it that of the goroutine that started it. (The runtime's own work is done by
/// `g0`, whose id is 0.)
///
/// A function of its own with plain numbers as arguments, so that the verifier checks it once and not for each way to it.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn goroutine(offset: u64, id: u64, parent: u64, registers: u64) -> u64 {
    let g: u64 = if config!(offsets.regs_goroutine) != 0 {
        kernel(registers, config!(offsets.regs_goroutine))
    } else {
        user(task::member::<u64>(config!(offsets.task_thread_pointer)).wrapping_add(offset))
    };
    if g == 0 {
        return 0;
    }
    let started_by = if parent == 0 { 0 } else { user(g.wrapping_add(parent)) };
    user(g.wrapping_add(id)) as u32 as u64 | started_by << 32
}

/// Which coroutine the calling thread runs, by what is watched of its process: what tells it apart (0: it runs none), and above that the
/// [`works_for`] constant that says what that is.
///
/// A function of its own, as [`goroutine`]; one for all, so that what comes after it is not followed once for each.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn coroutine(watched: u64, offset: u64) -> u64 {
    let watched = watched as u32;
    if watched & watch::TASKS != 0 {
        return told(polled(offset), works_for::TASK);
    }
    if watched & watch::CONTEXTS != 0 {
        return told(python::told(python_context()) as u64, works_for::CONTEXT);
    }
    told(virtual_thread(), works_for::TASK)
}

#[inline(always)]
fn told(id: u64, relation: u16) -> u64 {
    id & u32::MAX as u64 | (relation as u64) << 32
}

/// The id of the Tokio task that the calling thread polls: a word at this distance from its thread pointer; 0 while it polls none.
#[inline(always)]
fn polled(offset: u64) -> u64 {
    user(task::member::<u64>(config!(offsets.task_thread_pointer)).wrapping_add(offset))
}

/// A word of the program's memory, 0 where it cannot be read.
#[inline(always)]
pub fn user(address: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper checks the source and clears the destination when it fails; the destination is a word.
    unsafe { generated::bpf_probe_read_user((&raw mut word).cast(), size_of::<u64>() as u32, address as *const _) };
    word
}
