//! Python: in which coroutine another one was begun. Each has a context of its own (`contextvars`, PEP 567), made as a copy of the one that is
//! current then: by `asyncio.create_task`, `loop.call_soon`, `asyncio.to_thread`, gevent's `spawn`.
//!
//! `PyContext_CopyCurrent` makes them all. The program is put where it has the new one in a register (user-space probes, since 3.5), and the
//! current one is still the other. (A probe that the kernel itself sets at returns would change the return address on the stack, which greenlets
//! copy away and back, and on some kernels make a system call that sandboxes refuse.) Most copies never move bytes, so they are only kept here, and
//! told when they are first seen to.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_ANY,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use syspan_abi::{ANCESTORS, Ancestor, CoroutineEvent, Header, Kind, watch, works_for};

use crate::{
    emit,
    python::{self, are_alike, python_context, told},
    socket::kernel,
    thread,
};

/// A context of a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Context {
    pid: u32,
    /// Its address as it is told.
    address: u32,
}

/// The coroutine whose context it is.
#[repr(C)]
#[derive(Clone, Copy)]
struct Coroutine {
    event: CoroutineEvent,
    /// Whether the event reached the ring buffer.
    told: u64,
}

/// Those of all processes. The least recently used is dropped: it is then like one whose beginning was not seen.
#[map]
static COROUTINES: LruHashMap<Context, Coroutine> = LruHashMap::with_max_entries(16_384, 0);

/// In `PyContext_CopyCurrent() -> PyObject *`, where it has made the copy.
#[uprobe]
pub fn python_copied(registers: ProbeContext) -> u32 {
    let both = bpf_get_current_pid_tgid();
    let (pid, tid) = ((both >> 32) as u32, both as u32);
    if thread::observed(pid).is_none_or(|observed| observed.watch & watch::COPIES == 0) {
        return 0;
    }
    let Some(register) = python::copy_register(pid) else { return 0 };
    let copy: u64 = kernel(registers.as_ptr() as u64, register);
    let current = python_context();
    // Where it fails there is nothing, and in code that it shares with other functions there may be something else.
    if copy == 0 || current == 0 || copy == current || !are_alike(copy, current) {
        return 0;
    }
    // SAFETY: plain helper.
    let time = unsafe { bpf_ktime_get_ns() };
    let (kind, relation) = (Kind::Coroutine as u16, works_for::CONTEXT);
    let header = Header { kind, relation, pid, tid, time, goroutine: told(copy), ..Header::default() };
    let parent = told(current);
    let mut ancestors = [Ancestor::default(); ANCESTORS];
    ancestors[0].context = parent;
    // SAFETY: a map value, which is written only while the interpreter's lock is held, as it is now.
    if let Some(begun) = unsafe { COROUTINES.get(Context { pid, address: parent }) } {
        ancestors[0].began = begun.event.header.time;
        ancestors[1..].copy_from_slice(&begun.event.ancestors[..ANCESTORS - 1]);
    }
    let new = Coroutine { event: CoroutineEvent { header, ancestors }, told: 0 };
    let key = Context { pid, address: header.goroutine };
    match COROUTINES.get_ptr_mut(key) {
        // SAFETY: as above. Addresses are soon used again, and this costs less than another insertion.
        Some(before) => unsafe { *before = new },
        None => _ = COROUTINES.insert(key, new, BPF_ANY as u64),
    }
    0
}

/// A coroutine is about to be told of: who began it is told before, once.
///
/// A function of its own with plain numbers as arguments, so that the verifier checks it once and not for each way to it.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_coroutine(pid: u64, context: u64) -> u64 {
    let Some(coroutine) = COROUTINES.get_ptr_mut(Context { pid: pid as u32, address: context as u32 }) else {
        return 0;
    };
    // SAFETY: a map value, which nobody else uses while the coroutine runs.
    unsafe {
        if (*coroutine).told == 0 && emit::notice(&raw const (*coroutine).event) {
            (*coroutine).told = 1;
        }
    }
    0
}
