//! read readv recvfrom recvmsg recvmmsg, write writev sendto sendmsg sendmmsg, sendfile and splice.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::tracepoint, programs::TracePointContext};
use aya_log_ebpf::debug;
use syspan_abi::{end, origin};

use super::{argument, result};
use crate::{
    emit, payload, socket,
    thread::{self, Call, op},
};

/// `MSG_PEEK`: the bytes stay and will be read again. `MSG_ERRQUEUE`: what is read is no part of the stream.
const NOT_THE_STREAM: u64 = 0x2 | 0x2000;

const ECONNRESET: i64 = -104;
const EPIPE: i64 = -32;
const ETIMEDOUT: i64 = -110;

/// A transfer on `fd` begins.
#[inline(always)]
fn enter(op: u32, fd: u64, address: u64, length: u64) {
    let Some((_, tid)) = thread::observed() else { return };
    let Some(file) = socket::of_descriptor(fd as i32) else { return };
    let (mut position, mut positioned) = (0, 0);
    match socket::state(file.inode) {
        socket::State::Ignored => return,
        socket::State::Followed(state) => {
            if let Some(sequence) = socket::sequence(state, op & op::READ == 0) {
                (position, positioned) = (sequence, 1);
            }
        }
        socket::State::Unknown => {}
    }
    // A read counts from its exit, and many find nothing: no clock for those.
    let time = if op & op::READ != 0 {
        0
    } else {
        // SAFETY: plain helper.
        unsafe { bpf_ktime_get_ns() }
    };
    thread::begin(tid, &Call { time, socket: file.inode, address, length, op, fd: fd as i32, position, positioned });
}

/// A transfer ends.
#[inline(always)]
fn exit<const OP: u32>(context: &TracePointContext) {
    let Some((pid, tid, turn, call)) = thread::finish(OP) else { return };
    let result = result(context);
    let reading = OP & op::READ != 0;
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
        if reading
            && call.length != 0
            && OP != op::MESSAGES | op::READ
            && matches!(socket::state(call.socket), socket::State::Followed(_))
        {
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
                debug!(context, "descriptor {} was replaced while a call on it was under way", call.fd);
                return;
            }
            let seen = if reading {
                // SAFETY: plain helper.
                unsafe { bpf_ktime_get_ns() }
            } else {
                call.time
            };
            let Some(state) = socket::first_sight(file, pid, tid, turn, seen, origin::UNKNOWN) else { return };
            state
        }
    };
    // One call never moves 4 GiB: the kernel limits transfers to 0x7ffff000 bytes.
    payload::moved::<OP>(state, &call, &payload::Moved { pid, tid, turn, result: result as u32 });
}

/// An entry hook and its exit twin for one system call, whose arguments mean `$op`.
macro_rules! transfer {
    ($enter:ident, $exit:ident, $op:expr, |$context:ident| $body:expr) => {
        #[tracepoint]
        pub fn $enter($context: TracePointContext) -> u32 {
            $body;
            0
        }
        #[tracepoint]
        pub fn $exit(context: TracePointContext) -> u32 {
            exit::<{ $op }>(&context);
            0
        }
    };
    // The arguments (descriptor, address, length) at the usual places.
    ($enter:ident, $exit:ident, $op:expr) => {
        transfer!($enter, $exit, $op, |context| {
            enter($op, argument(&context, 0), argument(&context, 1), argument(&context, 2))
        });
    };
}

transfer!(sys_enter_read, sys_exit_read, op::BUFFER | op::READ);
transfer!(sys_enter_readv, sys_exit_readv, op::VECTOR | op::READ);
transfer!(sys_enter_write, sys_exit_write, op::BUFFER);
transfer!(sys_enter_writev, sys_exit_writev, op::VECTOR);
transfer!(sys_enter_sendto, sys_exit_sendto, op::BUFFER);
transfer!(sys_enter_sendmmsg, sys_exit_sendmmsg, op::MESSAGES);
transfer!(sys_enter_sendmsg, sys_exit_sendmsg, op::MESSAGE, |context| {
    enter(op::MESSAGE, argument(&context, 0), argument(&context, 1), 1)
});
transfer!(sys_enter_recvfrom, sys_exit_recvfrom, op::BUFFER | op::READ, |context| {
    if argument(&context, 3) & NOT_THE_STREAM == 0 {
        enter(op::BUFFER | op::READ, argument(&context, 0), argument(&context, 1), argument(&context, 2));
    }
});
transfer!(sys_enter_recvmsg, sys_exit_recvmsg, op::MESSAGE | op::READ, |context| {
    if argument(&context, 2) & NOT_THE_STREAM == 0 {
        enter(op::MESSAGE | op::READ, argument(&context, 0), argument(&context, 1), 1);
    }
});
transfer!(sys_enter_recvmmsg, sys_exit_recvmmsg, op::MESSAGES | op::READ, |context| {
    if argument(&context, 3) & NOT_THE_STREAM == 0 {
        enter(op::MESSAGES | op::READ, argument(&context, 0), argument(&context, 1), argument(&context, 2));
    }
});
// sendfile64(out_fd, in_fd, offset, count): bytes of a file to a socket, never in user memory.
transfer!(sys_enter_sendfile64, sys_exit_sendfile64, op::LENGTH, |context| {
    enter(op::LENGTH, argument(&context, 0), 0, argument(&context, 3))
});

/// splice(fd_in, off_in, fd_out, off_out, len, flags): one end is a pipe, the other may be a socket.
#[tracepoint]
pub fn sys_enter_splice(context: TracePointContext) -> u32 {
    let length = argument(&context, 4);
    enter(op::LENGTH | op::READ, argument(&context, 0), 0, length);
    enter(op::LENGTH, argument(&context, 2), 0, length);
    0
}

#[tracepoint]
pub fn sys_exit_splice(context: TracePointContext) -> u32 {
    // Each looks at the kept call and leaves it to the other when it is not its own.
    exit::<{ op::LENGTH | op::READ }>(&context);
    exit::<{ op::LENGTH }>(&context);
    0
}
