//! connect, accept and accept4, listen, shutdown, close.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::tracepoint, programs::TracePointContext};
use syspan_abi::{Kind, end, origin};

use super::{argument, result};
use crate::{
    config::config,
    emit,
    maps::SOCKETS,
    socket,
    thread::{self, Call, op},
};

const EINPROGRESS: i64 = -115;
/// `SHUT_RD`: says nothing of what is sent.
const SHUT_READ: u64 = 0;

#[tracepoint]
pub fn sys_enter_connect(context: TracePointContext) -> u32 {
    if let Some((_, tid)) = thread::observed() {
        // SAFETY: plain helper.
        let time = unsafe { bpf_ktime_get_ns() };
        let fd = argument(&context, 0) as i32;
        thread::begin(tid, &Call { time, op: op::CONNECT, fd, ..Call::default() });
    }
    0
}

#[tracepoint]
pub fn sys_exit_connect(context: TracePointContext) -> u32 {
    let Some((pid, tid, turn, call)) = thread::finish(op::CONNECT) else { return 0 };
    let result = result(&context);
    if result != 0 && result != EINPROGRESS {
        return 0;
    }
    if let Some(file) = socket::of_descriptor(call.fd) {
        socket::first_sight(file, pid, tid, turn, call.time, origin::CONNECTED);
    }
    0
}

/// Both accept calls return the new descriptor.
#[inline(always)]
fn accepted(context: &TracePointContext) {
    let Some((pid, tid)) = thread::observed() else { return };
    let fd = result(context);
    if fd < 0 {
        return;
    }
    let Some(file) = socket::of_descriptor(fd as i32) else { return };
    let turn = match thread::current(tid) {
        // SAFETY: the thread's own entry.
        Some(thread) => unsafe { (*thread).turn },
        None => 0,
    };
    // SAFETY: plain helper.
    let time = unsafe { bpf_ktime_get_ns() };
    socket::first_sight(file, pid, tid, turn, time, origin::ACCEPTED);
}

#[tracepoint]
pub fn sys_exit_accept(context: TracePointContext) -> u32 {
    accepted(&context);
    0
}

#[tracepoint]
pub fn sys_exit_accept4(context: TracePointContext) -> u32 {
    accepted(&context);
    0
}

/// For `--port`: a process that is not observed yet may begin to listen. Nothing is read from it.
#[tracepoint]
pub fn sys_exit_listen(context: TracePointContext) -> u32 {
    if config!(watch_listen) != 0 && result(&context) == 0 {
        let pid = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
        emit::process(Kind::Listen, pid, 0);
    }
    0
}

/// A socket that has been announced, by its descriptor.
#[inline(always)]
fn announced(fd: u64) -> Option<(socket::File, u32, u32, u32)> {
    let (pid, tid) = thread::observed()?;
    let file = socket::of_descriptor(fd as i32)?;
    // SAFETY: words of a map value.
    let state = unsafe { SOCKETS.get(file.inode) }?;
    if state.announced == 0 {
        return None;
    }
    let turn = match thread::current(tid) {
        // SAFETY: the thread's own entry.
        Some(thread) => unsafe { (*thread).turn },
        None => 0,
    };
    Some((file, pid, tid, turn))
}

#[tracepoint]
pub fn sys_enter_shutdown(context: TracePointContext) -> u32 {
    if argument(&context, 1) != SHUT_READ
        && let Some((file, pid, tid, turn)) = announced(argument(&context, 0))
    {
        emit::end(pid, tid, turn, file.inode, end::SHUT_WRITE);
    }
    0
}

/// Only the close of the last descriptor ends a socket: others may hold it by dup, fork or SCM_RIGHTS.
#[tracepoint]
pub fn sys_enter_close(context: TracePointContext) -> u32 {
    if let Some((file, pid, tid, turn)) = announced(argument(&context, 0))
        && socket::is_last(file)
    {
        emit::end(pid, tid, turn, file.inode, end::CLOSED);
        let _ = SOCKETS.remove(file.inode);
    }
    0
}
