//! Where an event loop turns: a wait on several files at once ends whatever the thread was doing.
//!
//! A wait on a single file is a blocking read in disguise (libpq and the JDK poll the one connection they are about to
//! read) and ends nothing.

use aya_ebpf::{bindings::BPF_ANY, helpers::generated};

use super::Arguments;
use crate::{
    maps::EPOLLS,
    task,
    thread::{self, Call, Caller, op},
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

/// All epoll waits: an instance that is known to watch one file is a single wait.
#[inline(always)]
pub fn enter_epoll_wait(caller: Caller, arguments: &Arguments) {
    if let Some(instance) = task::file(arguments.get::<0>())
        // SAFETY: one word of a map value.
        && let Some(&watched) = unsafe { EPOLLS.get(instance) }
        && watched <= 1
    {
        return;
    }
    turn(caller.tid);
}

/// `poll(fds, nfds, …)`, `ppoll`.
#[inline(always)]
pub fn enter_poll(caller: Caller, arguments: &Arguments) {
    if arguments.get::<1>() > 1 {
        turn(caller.tid);
    }
}

/// `select(nfds, readfds, writefds, …)`, `pselect6`.
#[inline(always)]
pub fn enter_select(caller: Caller, arguments: &Arguments) {
    let limit = arguments.get::<0>();
    let reads = members(arguments.get::<1>(), limit);
    if reads > 1 || reads + members(arguments.get::<2>(), limit) > 1 {
        turn(caller.tid);
    }
}

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

/// An epoll instance is made: remembered at its exit.
#[inline(always)]
pub fn enter_epoll_create(caller: Caller) {
    thread::begin(caller.tid, &Call { op: op::EPOLL_CREATE, ..Call::default() });
}

#[inline(always)]
pub fn exit_epoll_create(result: i64) {
    if result >= 0
        && let Some(instance) = task::file(result as u64)
    {
        let _ = EPOLLS.insert(instance, 0, BPF_ANY as u64);
    }
}

/// Counts what an instance watches, by whatever descriptor of it. A closed file is removed without any call, and an addition
/// counts even if it fails, so the count is never too low: an instance is at worst taken for one that watches several.
#[inline(always)]
pub fn enter_epoll_ctl(caller: Caller, arguments: &Arguments) {
    let Some(instance) = task::file(arguments.get::<0>()) else { return };
    match arguments.get::<1>() {
        EPOLL_CTL_ADD => {
            if let Some(watched) = EPOLLS.get_ptr_mut(instance) {
                // SAFETY: one word of a map value.
                unsafe { *watched += 1 };
            }
        }
        EPOLL_CTL_DEL => {
            thread::begin(caller.tid, &Call { op: op::EPOLL_DELETE, address: instance, ..Call::default() });
        }
        _ => {}
    }
}

#[inline(always)]
pub fn exit_epoll_delete(call: &Call, result: i64) {
    if result == 0
        && let Some(watched) = EPOLLS.get_ptr_mut(call.address)
    {
        // SAFETY: one word of a map value.
        unsafe { *watched = (*watched).saturating_sub(1) };
    }
}
