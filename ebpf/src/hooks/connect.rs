//! connect, accept, listen, shutdown, and what closes a descriptor: close, close_range, dup2.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use syspan_abi::{Kind, SocketState, end, origin};

use super::Arguments;
use crate::{
    config::config,
    emit,
    maps::{EPOLLS, SOCKETS},
    propagate, socket, task,
    thread::{self, Call, Caller, op},
};

const EINPROGRESS: i64 = -115;
/// `SHUT_RD`: says nothing of what is sent.
const SHUT_READ: u64 = 0;
/// `CLOSE_RANGE_CLOEXEC`: nothing is closed yet.
const CLOSE_ON_EXEC: u64 = 1 << 2;
/// Descriptors of one `close_range` that are looked at. A program that closes more at once is about to execute another, and
/// holds none of the connections that it inherited alone.
const MAX_CLOSED: u32 = 64;

#[inline(always)]
pub fn enter_connect(caller: Caller, arguments: &Arguments) {
    // SAFETY: plain helper.
    let time = unsafe { bpf_ktime_get_ns() };
    thread::begin(caller, &Call { time, op: op::CONNECT, fd: arguments.get::<0>() as i32, ..Call::default() });
}

#[inline(always)]
pub fn exit_connect(caller: Caller, turn: u32, call: &Call, result: i64) {
    if result != 0 && result != EINPROGRESS {
        return;
    }
    if let Some(file) = socket::of_descriptor(call.fd as u64) {
        socket::first_sight(file, caller, turn, call.time, origin::CONNECTED);
        propagate::connected(file.inode);
    }
}

#[inline(always)]
pub fn enter_accept(caller: Caller) {
    thread::begin(caller, &Call { op: op::ACCEPT, ..Call::default() });
}

/// accept returns the new descriptor.
#[inline(always)]
pub fn exit_accept(caller: Caller, turn: u32, result: i64) {
    if result < 0 {
        return;
    }
    if let Some(file) = socket::of_descriptor(result as u64) {
        // SAFETY: plain helper.
        let time = unsafe { bpf_ktime_get_ns() };
        socket::first_sight(file, caller, turn, time, origin::ACCEPTED);
    }
}

#[inline(always)]
pub fn enter_listen(caller: Caller) {
    if config!(watch_listen) != 0 {
        thread::begin(caller, &Call { op: op::LISTEN, ..Call::default() });
    }
}

/// For `--port`: a process that is not observed yet may begin to listen. Nothing is read from it.
#[inline(always)]
pub fn exit_listen(caller: Caller, result: i64) {
    if result == 0 {
        emit::process(Kind::Listen, caller.pid, 0);
    }
}

#[inline(always)]
pub fn enter_shutdown(caller: Caller, arguments: &Arguments) {
    if arguments.get::<1>() != SHUT_READ
        && let Some((file, state)) = looked_at(arguments.get::<0>())
        && is_announced(state)
    {
        emit::end(caller, thread::turn(caller.tid), file.inode, state, end::SHUT_WRITE);
    }
}

#[inline(always)]
pub fn enter_close(caller: Caller, arguments: &Arguments) {
    closing(arguments.get::<0>(), caller.registers);
}

/// `close_range(first, last, flags)`.
#[inline(always)]
pub fn enter_close_range(caller: Caller, arguments: &Arguments) {
    let (first, last) = (arguments.get::<0>() as u32, arguments.get::<1>() as u32);
    if arguments.get::<2>() & CLOSE_ON_EXEC != 0 {
        return;
    }
    for index in 0..MAX_CLOSED {
        let fd = first.wrapping_add(index);
        if fd < first || fd > last || closing(fd as u64, caller.registers) == BEYOND {
            return;
        }
    }
}

/// `dup2(old, new)`, `dup3(old, new, flags)`: `new` is closed, unless it is `old`.
#[inline(always)]
pub fn enter_dup(caller: Caller, arguments: &Arguments) {
    let (old, new) = (arguments.get::<0>() as u32, arguments.get::<1>() as u32);
    if old != new && task::file(old as u64).is_some() {
        closing(new as u64, caller.registers);
    }
}

/// [`closing`]: the process has no descriptor of this number or above.
const BEYOND: u64 = 1;

/// A descriptor is about to be closed. Only the last one ends a socket: others may hold it by dup, fork or SCM_RIGHTS.
///
/// A function of its own with plain numbers as arguments, so that the verifier checks it once.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn closing(fd: u64, registers: u64) -> u64 {
    if fd >= task::descriptors() as u64 {
        return BEYOND;
    }
    if let Some((file, state)) = looked_at(fd) {
        if !socket::is_last(file.address) {
            return 0;
        }
        if is_announced(state) {
            let observed = thread::observed((bpf_get_current_pid_tgid() >> 32) as u32).unwrap_or_default();
            let caller = Caller::new(observed, 0, registers);
            emit::end(caller, thread::turn(caller.tid), file.inode, state, end::CLOSED);
        }
        let _ = SOCKETS.remove(file.inode);
        propagate::closed(file.inode);
    } else if let Some(instance) = task::file(fd)
        // SAFETY: one word of a map value, which is not read.
        && unsafe { EPOLLS.get(instance) }.is_some()
        && socket::is_last(instance)
    {
        let _ = EPOLLS.remove(instance);
    }
    0
}

/// A socket that has been looked at before, by its descriptor.
#[inline(always)]
fn looked_at(fd: u64) -> Option<(socket::File, *mut SocketState)> {
    let file = socket::of_descriptor(fd)?;
    let state = SOCKETS.get_ptr_mut(file.inode)?;
    // SAFETY: words of a map value.
    let inode = unsafe { (*state).inode };
    if inode == file.inode_address { Some((file, state)) } else { None }
}

/// Whether the agent was told of it.
#[inline(always)]
fn is_announced(state: *mut SocketState) -> bool {
    // SAFETY: a word of a map value.
    unsafe { (*state).announced != 0 }
}
