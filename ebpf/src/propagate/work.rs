//! For which request a thread works, as far as that is certain at the moment of a call: the trace id that leaves with it cannot
//! be taken back.
//!
//! The engine decides parents later and from more; this knows what has happened so far on this host. The rules are those of
//! docs/how-parents-are-found.md, at their strictest: the thread read the request, or the response to a call that was made for it, and has not
//! waited for several files since; and the request is the only one that its process has open, or the process has shown that
//! its threads keep to their requests. Otherwise the call gets a trace of its own.

use aya_ebpf::{bindings::BPF_ANY, macros::map, maps::LruHashMap};

use super::TraceId;
use crate::{maps::add_to, thread::Caller};

/// What a thread works for.
#[repr(C)]
#[derive(Clone, Copy)]
struct Work {
    /// The request's trace.
    trace: TraceId,
    /// The socket that it was read from.
    request: u64,
    /// The thread's turn in which that was so.
    turn: u32,
    /// 1: the turn began with the response to a call, not with the request.
    resumed: u32,
}

/// A request that was read from a socket.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    trace: TraceId,
    /// The span that its own header names; 0 without one.
    header: u64,
    /// Who read it.
    pid: u32,
    tid: u32,
    /// 1: its response has not begun.
    open: u32,
    /// 1: nor has it made a call. It may be waiting for a connection that another one gives back.
    starved: u32,
    /// The trace's flags.
    flags: u32,
    reserved: u32,
}

/// The flags of a trace that begins here.
pub const SAMPLED: u32 = 1;

/// The last request that was sent on a socket.
#[repr(C)]
#[derive(Clone, Copy)]
struct Made {
    trace: TraceId,
    /// The socket of the request that it was made for.
    request: u64,
    /// 1: nothing was sent yet, the socket was connected for it.
    opened: u64,
}

/// The requests of a process together.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Crowd {
    /// Open ones.
    open: u64,
    /// Those of them that are starved.
    starved: u64,
    /// Requests that were open together with others and were answered by the thread that had read them.
    kept: u64,
    /// Requests that another thread answered.
    moved: u64,
}

/// So many requests, each open together with others, show how a process works.
const ENOUGH: u64 = 32;

/// Resized at load, like the others.
#[map]
static WORK: LruHashMap<u32, Work> = LruHashMap::with_max_entries(1, 0);
#[map]
static REQUESTS: LruHashMap<u64, Request> = LruHashMap::with_max_entries(1, 0);
#[map]
static MADE: LruHashMap<u64, Made> = LruHashMap::with_max_entries(1, 0);
#[map]
static CROWDS: LruHashMap<u32, Crowd> = LruHashMap::with_max_entries(1, 0);

/// Whether a message's first bytes are those of an HTTP/1 request: one at a time on its connection. Of what cannot be read (TLS) or is
/// several at once (HTTP/2), nothing is certain.
#[inline(always)]
pub fn is_request(first: u64) -> bool {
    let method = first as u32;
    const METHODS: [&[u8; 4]; 7] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"PATC", b"OPTI"];
    method == u32::from_ne_bytes(*METHODS[0])
        || method == u32::from_ne_bytes(*METHODS[1])
        || method == u32::from_ne_bytes(*METHODS[2])
        || method == u32::from_ne_bytes(*METHODS[3])
        || method == u32::from_ne_bytes(*METHODS[4])
        || method == u32::from_ne_bytes(*METHODS[5])
        || method == u32::from_ne_bytes(*METHODS[6])
}

/// The caller has read a request, which belongs to this trace. `header`: the span that its own header names.
#[inline(always)]
pub fn request(socket: u64, caller: Caller, trace: TraceId, header: u64, flags: u32) {
    if let Some(before) = REQUESTS.get_ptr_mut(socket) {
        close(before);
    }
    let Caller { pid, tid, .. } = caller;
    let request = Request { trace, header, pid, tid, open: 0, starved: 0, flags, reserved: 0 };
    let _ = REQUESTS.insert(socket, request, BPF_ANY as u64);
}

/// The caller begins to work for the request that it has read.
#[inline(always)]
pub fn begin(socket: u64, caller: Caller, turn: u32) {
    if CROWDS.get_ptr_mut(caller.pid).is_none() {
        let _ = CROWDS.insert(caller.pid, Crowd::default(), BPF_ANY as u64);
    }
    let Some(crowd) = CROWDS.get_ptr_mut(caller.pid) else { return };
    let Some(request) = REQUESTS.get_ptr_mut(socket) else { return };
    // SAFETY: words of map values.
    let trace = unsafe {
        (*request).open = 1;
        (*request).starved = 1;
        add_to(&raw mut (*crowd).open, 1);
        add_to(&raw mut (*crowd).starved, 1);
        (*request).trace
    };
    let _ = WORK.insert(caller.tid, Work { trace, request: socket, turn, resumed: 0 }, BPF_ANY as u64);
}

/// The caller sends a request: the trace it belongs to, where that is certain.
#[inline(always)]
pub fn call(socket: u64, caller: Caller, turn: u32) -> Option<TraceId> {
    let made = match opened_for(socket, caller) {
        Some(opener) => Some(opener),
        None => made_for(caller, turn),
    };
    match made {
        Some((trace, request, certain)) => {
            let _ = MADE.insert(socket, Made { trace, request, opened: 0 }, BPF_ANY as u64);
            if certain { Some(trace) } else { None }
        }
        None => {
            let _ = MADE.remove(socket);
            None
        }
    }
}

/// The caller connects a socket.
#[inline(always)]
pub fn open(socket: u64, caller: Caller, turn: u32) {
    match made_for(caller, turn) {
        Some((trace, request, _)) => {
            let _ = MADE.insert(socket, Made { trace, request, opened: 1 }, BPF_ANY as u64);
        }
        None => {
            let _ = MADE.remove(socket);
        }
    }
}

/// The request that a socket was connected for, of which nothing was sent yet, and whether that is certain.
#[inline(always)]
fn opened_for(socket: u64, caller: Caller) -> Option<(TraceId, u64, bool)> {
    // SAFETY: copied at once.
    let made = *unsafe { MADE.get(socket) }?;
    // SAFETY: map values.
    unsafe {
        let request = REQUESTS.get_ptr_mut(made.request)?;
        let is_same = (*request).trace[0] == made.trace[0] && (*request).trace[1] == made.trace[1];
        if made.opened == 0 || !is_same || (*request).open == 0 || (*request).pid != caller.pid {
            return None;
        }
        let crowd = CROWDS.get_ptr_mut(caller.pid)?;
        if (*crowd).starved.wrapping_sub((*request).starved as u64) != 0 {
            return None; // one of them may have been given this connection
        }
        Some((made.trace, made.request, is_certain(crowd)))
    }
}

/// Whether a thread's calls are certainly its request's: there is no other one, or the process has shown it.
#[inline(always)]
unsafe fn is_certain(crowd: *const Crowd) -> bool {
    // SAFETY: words of a map value.
    unsafe { (*crowd).open == 1 || ((*crowd).kept >= ENOUGH && (*crowd).moved == 0) }
}

/// The request that the caller works for, and whether that is certain.
#[inline(always)]
fn made_for(caller: Caller, turn: u32) -> Option<(TraceId, u64, bool)> {
    // SAFETY: entries of this thread's request, copied at once; one that was dropped meanwhile has another trace.
    unsafe {
        let work = *WORK.get(caller.tid)?;
        let request = REQUESTS.get_ptr_mut(work.request)?;
        let is_same = (*request).trace[0] == work.trace[0] && (*request).trace[1] == work.trace[1];
        if work.turn != turn || !is_same || (*request).open == 0 || (*request).pid != caller.pid {
            return None;
        }
        let crowd = CROWDS.get_ptr_mut(caller.pid)?;
        let others = (*crowd).starved.wrapping_sub((*request).starved as u64);
        if work.resumed != 0 && others != 0 {
            return None; // one of them may have been given this connection
        }
        if (*request).starved != 0 {
            (*request).starved = 0;
            add_to(&raw mut (*crowd).starved, u64::MAX);
        }
        Some((work.trace, work.request, is_certain(crowd)))
    }
}

/// Whether the call on a socket carries the header that its request came with.
#[inline(always)]
pub fn is_passed_on(socket: u64, trace: TraceId, span: u64) -> bool {
    // SAFETY: entries of the tables, compared at once.
    unsafe {
        let Some(made) = MADE.get(socket) else { return false };
        let Some(request) = REQUESTS.get(made.request) else { return false };
        request.header == span && request.trace[0] == trace[0] && request.trace[1] == trace[1]
    }
}

/// The flags of the trace in which the last call on a socket is sent.
#[inline(always)]
pub fn flags(socket: u64) -> u32 {
    // SAFETY: copied at once; an entry that was dropped meanwhile has another trace.
    unsafe {
        if let Some(&Made { trace, request, .. }) = MADE.get(socket)
            && let Some(&Request { trace: own, flags, .. }) = REQUESTS.get(request)
            && own[0] == trace[0]
            && own[1] == trace[1]
        {
            return flags;
        }
    }
    SAMPLED
}

/// Whether the last message that was sent on a socket was a call.
#[inline(always)]
pub fn is_call(socket: u64) -> bool {
    // SAFETY: only whether it is there.
    unsafe { MADE.get(socket) }.is_some()
}

/// The caller has read the response to a call.
#[inline(always)]
pub fn response(socket: u64, caller: Caller, turn: u32) {
    // SAFETY: copied at once.
    let (made, work) = unsafe { (MADE.get(socket), WORK.get(caller.tid)) };
    let Some(&Made { trace, request, .. }) = made else {
        unknown(caller);
        return;
    };
    if let Some(&work) = work
        && work.turn == turn
        && work.request == request
        && work.trace[0] == trace[0]
    {
        return; // a thread that waits for its own call goes on with its request
    }
    let _ = WORK.insert(caller.tid, Work { trace, request, turn, resumed: 1 }, BPF_ANY as u64);
}

/// The caller has read something else: nothing is known of what it does next.
#[inline(always)]
pub fn unknown(caller: Caller) {
    let _ = WORK.remove(caller.tid);
}

/// The caller sends: says whether that is the response to a request.
#[inline(always)]
pub fn answered(socket: u64, caller: Caller) -> bool {
    let Some(request) = REQUESTS.get_ptr_mut(socket) else { return false };
    // SAFETY: map values.
    unsafe {
        if (*request).open != 0
            && let Some(crowd) = CROWDS.get_ptr_mut((*request).pid)
        {
            if (*request).tid != caller.tid {
                add_to(&raw mut (*crowd).moved, 1);
            } else if (*crowd).open > 1 {
                add_to(&raw mut (*crowd).kept, 1);
            }
        }
    }
    close(request);
    true
}

/// A socket is closed.
#[inline(always)]
pub fn forget(socket: u64) {
    if let Some(request) = REQUESTS.get_ptr_mut(socket) {
        close(request);
        let _ = REQUESTS.remove(socket);
    }
    let _ = MADE.remove(socket);
}

/// A request is answered, or never will be.
#[inline(always)]
fn close(request: *mut Request) {
    // SAFETY: map values.
    unsafe {
        if (*request).open == 0 {
            return;
        }
        (*request).open = 0;
        let starved = (*request).starved;
        (*request).starved = 0;
        let Some(crowd) = CROWDS.get_ptr_mut((*request).pid) else { return };
        add_to(&raw mut (*crowd).open, u64::MAX);
        if starved != 0 {
            add_to(&raw mut (*crowd).starved, u64::MAX);
        }
    }
}
