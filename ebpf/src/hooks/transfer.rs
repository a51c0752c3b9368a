//! read readv recvfrom recvmsg recvmmsg, write writev sendto sendmsg sendmmsg, sendfile and splice.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use syspan_abi::{Counter, direction, end, origin};

use super::Arguments;
use crate::{
    emit,
    maps::count,
    payload,
    propagate::{self, Sending},
    socket,
    thread::{self, Call, Caller, op},
};

/// `MSG_PEEK`: the bytes stay and will be read again. `MSG_ERRQUEUE`: what is read is no part of the stream.
const NOT_THE_STREAM: u64 = 0x2 | 0x2000;

const ECONNRESET: i64 = -104;
const EPIPE: i64 = -32;
const ETIMEDOUT: i64 = -110;

/// A call with the usual arguments (descriptor, address, length) begins.
#[inline(always)]
pub fn enter(op: u32, caller: Caller, arguments: &Arguments) {
    begin(op, caller, arguments.get::<0>(), arguments.get::<1>(), arguments.get::<2>());
}

/// The same for one that takes flags.
#[inline(always)]
pub fn receive(op: u32, caller: Caller, arguments: &Arguments, flags: u64) {
    if flags & NOT_THE_STREAM == 0 {
        enter(op, caller, arguments);
    }
}

/// `sendfile(out_fd, in_fd, offset, count)`: bytes of a file to a socket, never in user memory.
#[inline(always)]
pub fn enter_sendfile(caller: Caller, arguments: &Arguments) {
    begin(op::LENGTH, caller, arguments.get::<0>(), 0, arguments.get::<3>());
}

/// `splice(fd_in, off_in, fd_out, off_out, len, flags)`: one end is a pipe, the other may be a socket.
#[inline(always)]
pub fn enter_splice(caller: Caller, arguments: &Arguments) {
    let length = arguments.get::<4>();
    begin(op::LENGTH | op::READ, caller, arguments.get::<0>(), 0, length);
    begin(op::LENGTH, caller, arguments.get::<2>(), 0, length);
}

/// A transfer on `fd` begins.
#[inline(always)]
fn begin(op: u32, caller: Caller, fd: u64, address: u64, length: u64) {
    let Some(file) = socket::of_descriptor(fd) else { return };
    let (mut position, mut positioned) = (0, 0);
    match socket::state(file) {
        socket::State::Ignored => return,
        socket::State::Followed(state) => {
            if let Some(sequence) = socket::sequence(state, op & op::READ == 0) {
                (position, positioned) = (sequence, 1);
            }
            if op & op::READ == 0 {
                propagate::sending(file.inode, state, Sending { op, address, length });
            }
        }
        socket::State::Unknown => {
            if !socket::is_socket(file) {
                return;
            }
            if op & op::READ == 0
                && let Some(sequence) = propagate::sending_first(file.inode, fd, Sending { op, address, length })
            {
                (position, positioned) = (sequence, 1);
            }
        }
    }
    // A read counts from its exit, and many find nothing: no clock for those.
    let time = if op & op::READ != 0 {
        0
    } else {
        // SAFETY: plain helper.
        unsafe { bpf_ktime_get_ns() }
    };
    let (socket, fd) = (file.inode, fd as i32);
    let call = Call { time, socket, address, length, op, fd, position, positioned, ..Call::default() };
    thread::begin(caller, &call);
}

/// A transfer ends.
#[inline(always)]
pub fn exit(caller: Caller, turn: u32, call: &Call, result: i64) {
    let reading = call.op & op::READ != 0;
    if result <= 0 {
        let how = match result {
            0 if reading && payload::asked_for_bytes(call) => end::PEER_CLOSED,
            ECONNRESET | EPIPE => end::RESET,
            ETIMEDOUT => end::TIMED_OUT,
            _ => return, // EAGAIN, EINTR and the rest move nothing and end nothing
        };
        if let socket::State::Followed(state) = socket::known(call.socket) {
            emit::end(caller, turn, call.socket, state, how);
        }
        return;
    }
    let state = match socket::known(call.socket) {
        socket::State::Followed(state) => state,
        socket::State::Ignored => return,
        socket::State::Unknown => {
            let Some(file) = socket::of_descriptor(call.fd as u64).filter(|file| file.inode == call.socket) else {
                count(Counter::DescriptorGone);
                return;
            };
            let seen = if reading {
                // SAFETY: plain helper.
                unsafe { bpf_ktime_get_ns() }
            } else {
                call.time
            };
            let Some(state) = socket::first_sight(file, caller, turn, seen, origin::UNKNOWN) else { return };
            // SAFETY: a word of a map value.
            if unsafe { (*state).announced } == 0 {
                count(Counter::RingFull); // the agent would not know what socket these bytes are of
                return;
            }
            state
        }
    };
    thread::has_moved(caller);
    // One call never moves 4 GiB: the kernel limits transfers to 0x7ffff000 bytes.
    let moved = payload::Moved { caller, turn, result: result as u32 };
    if reading {
        propagate::received(state, call, moved.result);
        payload::moved::<{ direction::READ }>(state, call, &moved);
    } else {
        propagate::sent(state, call);
        payload::moved::<{ direction::WRITE }>(state, call, &moved);
    }
}
