//! Where an event loop turns: a wait on several files at once ends whatever the thread was doing.
//!
//! A wait on a single file is a blocking read in disguise (libpq and the JDK poll the one connection they are about to
//! read) and ends nothing.

use aya_ebpf::{bindings::BPF_ANY, helpers::generated, macros::tracepoint, programs::TracePointContext};

use super::{argument, result};
use crate::{
    maps::EPOLLS,
    thread::{self, Call, op},
};

/// Words of an `fd_set` that are looked at: the first 1024 descriptors, glibc's `FD_SETSIZE`.
const SET_WORDS: u64 = 16;

const EPOLL_CTL_ADD: u64 = 1;
const EPOLL_CTL_DEL: u64 = 2;

/// The calling thread's turn ends.
#[inline(always)]
fn turn(tid: u32) {
    if let Some(thread) = thread::current(tid) {
        // SAFETY: the thread's own entry.
        unsafe { (*thread).turn = (*thread).turn.wrapping_add(1) };
    }
}

#[inline(always)]
fn epoll_key(pid: u32, fd: u64) -> u64 {
    (pid as u64) << 32 | fd & 0xffff_ffff
}

/// All epoll waits: an instance that is known to watch one file is a single wait.
#[inline(always)]
fn epoll(context: &TracePointContext) {
    let Some((pid, tid)) = thread::observed() else { return };
    // SAFETY: one word of a map value.
    let watched = unsafe { EPOLLS.get(epoll_key(pid, argument(context, 0))) };
    if watched.is_some_and(|&watched| watched <= 1) {
        return;
    }
    turn(tid);
}

macro_rules! epoll_waits {
    ($($name:ident)*) => { $(
        #[tracepoint]
        pub fn $name(context: TracePointContext) -> u32 {
            epoll(&context);
            0
        }
    )* };
}
epoll_waits!(sys_enter_epoll_wait sys_enter_epoll_pwait sys_enter_epoll_pwait2);

macro_rules! polls {
    ($($name:ident)*) => { $(
        #[tracepoint]
        pub fn $name(context: TracePointContext) -> u32 {
            if argument(&context, 1) > 1 {
                if let Some((_, tid)) = thread::observed() {
                    turn(tid);
                }
            }
            0
        }
    )* };
}
polls!(sys_enter_poll sys_enter_ppoll);

/// Bits set in the first words of an `fd_set`.
#[inline(always)]
fn members(set: u64, limit: u64) -> u32 {
    if set == 0 {
        return 0;
    }
    let mut words = [0u64; SET_WORDS as usize];
    let mut size = limit.div_ceil(64);
    if size > SET_WORDS {
        size = SET_WORDS;
    }
    // SAFETY: at most the array's size; the helper checks the source.
    unsafe { generated::bpf_probe_read_user(words.as_mut_ptr().cast(), (size * 8) as u32 & 0xff, set as *const _) };
    let mut found = 0;
    for word in words {
        // No population count instruction: one or several is all that matters.
        if word != 0 {
            found += if word & (word - 1) == 0 { 1 } else { 2 };
        }
    }
    found
}

macro_rules! selects {
    ($($name:ident)*) => { $(
        #[tracepoint]
        pub fn $name(context: TracePointContext) -> u32 {
            if let Some((_, tid)) = thread::observed() {
                let limit = argument(&context, 0);
                let reads = members(argument(&context, 1), limit);
                if reads > 1 || reads + members(argument(&context, 2), limit) > 1 {
                    turn(tid);
                }
            }
            0
        }
    )* };
}
selects!(sys_enter_select sys_enter_pselect6);

/// An epoll instance is made: remembered at its exit.
#[inline(always)]
fn epoll_create() {
    if let Some((_, tid)) = thread::observed() {
        thread::begin(tid, &Call { op: op::EPOLL_CREATE, ..Call::default() });
    }
}

#[inline(always)]
fn epoll_created(context: &TracePointContext) {
    let Some((pid, ..)) = thread::finish(op::EPOLL_CREATE) else { return };
    let fd = result(context);
    if fd >= 0 {
        let _ = EPOLLS.insert(epoll_key(pid, fd as u64), 0, BPF_ANY as u64);
    }
}

#[tracepoint]
pub fn sys_enter_epoll_create1(_context: TracePointContext) -> u32 {
    epoll_create();
    0
}

#[tracepoint]
pub fn sys_exit_epoll_create1(context: TracePointContext) -> u32 {
    epoll_created(&context);
    0
}

#[tracepoint]
pub fn sys_enter_epoll_create(_context: TracePointContext) -> u32 {
    epoll_create();
    0
}

#[tracepoint]
pub fn sys_exit_epoll_create(context: TracePointContext) -> u32 {
    epoll_created(&context);
    0
}

/// Counts what an instance watches. A closed file is removed without any call, and an addition counts even if it fails, so the
/// count is never too low: an instance is at worst taken for one that watches several.
#[tracepoint]
pub fn sys_enter_epoll_ctl(context: TracePointContext) -> u32 {
    let Some((pid, tid)) = thread::observed() else { return 0 };
    let key = epoll_key(pid, argument(&context, 0));
    match argument(&context, 1) {
        EPOLL_CTL_ADD => {
            if let Some(watched) = EPOLLS.get_ptr_mut(key) {
                // SAFETY: one word of a map value.
                unsafe { *watched += 1 };
            }
        }
        EPOLL_CTL_DEL => thread::begin(tid, &Call { op: op::EPOLL_DELETE, address: key, ..Call::default() }),
        _ => {}
    }
    0
}

#[tracepoint]
pub fn sys_exit_epoll_ctl(context: TracePointContext) -> u32 {
    let Some((_, _, _, call)) = thread::finish(op::EPOLL_DELETE) else { return 0 };
    if result(&context) == 0
        && let Some(watched) = EPOLLS.get_ptr_mut(call.address)
    {
        // SAFETY: one word of a map value.
        unsafe { *watched = (*watched).saturating_sub(1) };
    }
    0
}
