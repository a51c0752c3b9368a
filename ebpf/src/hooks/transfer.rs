//! read readv recvfrom recvmsg recvmmsg, write writev sendto sendmsg sendmmsg, sendfile and splice.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::tracepoint, programs::TracePointContext};
use syspan_abi::{end, origin};

use super::{argument, result};
use crate::{
    emit, payload, socket,
    thread::{self, Call, op},
};

/// `MSG_PEEK`: the bytes stay and will be read again.
const MSG_PEEK: u64 = 2;

const ECONNRESET: i64 = -104;
const EPIPE: i64 = -32;
const ETIMEDOUT: i64 = -110;

/// A transfer on `fd` begins.
#[inline(always)]
fn enter(op: u32, fd: u64, address: u64, length: u64) {
    let Some((_, tid)) = thread::observed() else { return };
    let Some(file) = socket::of_descriptor(fd as i32) else { return };
    if socket::state(file.inode) == socket::State::Ignored {
        return;
    }
    // SAFETY: plain helper.
    let time = unsafe { bpf_ktime_get_ns() };
    thread::begin(tid, &Call { time, socket: file.inode, address, length, op, fd: fd as i32 });
}

/// A transfer ends.
#[inline(always)]
fn exit(context: &TracePointContext) {
    let Some((pid, tid, turn, call)) = thread::finish() else { return };
    let result = result(context);
    let reading = call.op & op::READ != 0;
    if result < 0 {
        let how = match result {
            ECONNRESET | EPIPE => end::RESET,
            ETIMEDOUT => end::TIMED_OUT,
            _ => return, // EAGAIN, EINTR and the rest move nothing and end nothing
        };
        if matches!(socket::state(call.socket), socket::State::Followed(_)) {
            emit::end(pid, tid, turn, call.socket, how);
        }
        return;
    }
    if result == 0 {
        if reading && call.length != 0 && call.op != op::MESSAGES | op::READ && matches!(socket::state(call.socket), socket::State::Followed(_)) {
            emit::end(pid, tid, turn, call.socket, end::PEER_CLOSED);
        }
        return;
    }
    let state = match socket::state(call.socket) {
        socket::State::Followed(state) => state,
        socket::State::Ignored => return,
        socket::State::Unknown => {
            let Some(file) = socket::of_descriptor(call.fd) else { return };
            if file.inode != call.socket {
                return; // the descriptor was replaced while the call was under way
            }
            let Some(state) = socket::first_sight(file, pid, tid, turn, call.time, origin::UNKNOWN) else { return };
            state
        }
    };
    // One call never moves 4 GiB: the kernel limits transfers to 0x7ffff000 bytes.
    payload::moved(state, &call, &payload::Moved { pid, tid, turn, result: result as u32 });
}

/// An entry hook and its exit twin for one system call.
macro_rules! transfer {
    ($enter:ident, $exit:ident, |$context:ident| $body:expr) => {
        #[tracepoint]
        pub fn $enter($context: TracePointContext) -> u32 {
            $body;
            0
        }
        #[tracepoint]
        pub fn $exit(context: TracePointContext) -> u32 {
            exit(&context);
            0
        }
    };
}

/// The arguments (descriptor, address, length) at the usual places.
#[inline(always)]
fn usual(context: &TracePointContext, op: u32) {
    enter(op, argument(context, 0), argument(context, 1), argument(context, 2));
}

transfer!(sys_enter_read, sys_exit_read, |context| usual(&context, op::BUFFER | op::READ));
transfer!(sys_enter_readv, sys_exit_readv, |context| usual(&context, op::VECTOR | op::READ));
transfer!(sys_enter_write, sys_exit_write, |context| usual(&context, op::BUFFER));
transfer!(sys_enter_writev, sys_exit_writev, |context| usual(&context, op::VECTOR));
transfer!(sys_enter_sendto, sys_exit_sendto, |context| usual(&context, op::BUFFER));
transfer!(sys_enter_sendmmsg, sys_exit_sendmmsg, |context| usual(&context, op::MESSAGES));
transfer!(sys_enter_sendmsg, sys_exit_sendmsg, |context| {
    enter(op::MESSAGE, argument(&context, 0), argument(&context, 1), 1)
});
transfer!(sys_enter_recvfrom, sys_exit_recvfrom, |context| {
    if argument(&context, 3) & MSG_PEEK == 0 {
        usual(&context, op::BUFFER | op::READ);
    }
});
transfer!(sys_enter_recvmsg, sys_exit_recvmsg, |context| {
    if argument(&context, 2) & MSG_PEEK == 0 {
        enter(op::MESSAGE | op::READ, argument(&context, 0), argument(&context, 1), 1);
    }
});
transfer!(sys_enter_recvmmsg, sys_exit_recvmmsg, |context| {
    if argument(&context, 3) & MSG_PEEK == 0 {
        usual(&context, op::MESSAGES | op::READ);
    }
});
// sendfile64(out_fd, in_fd, offset, count): bytes of a file to a socket, never in user memory.
transfer!(sys_enter_sendfile64, sys_exit_sendfile64, |context| {
    enter(op::LENGTH, argument(&context, 0), 0, argument(&context, 3))
});
// splice(fd_in, off_in, fd_out, off_out, len, flags): one end is a pipe, the other may be a socket.
transfer!(sys_enter_splice, sys_exit_splice, |context| {
    let length = argument(&context, 4);
    enter(op::LENGTH | op::READ, argument(&context, 0), 0, length);
    enter(op::LENGTH, argument(&context, 2), 0, length);
});
