//! The bytes of a call: which of them are captured, and how they are gathered from user memory.

use core::hint::black_box;

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_probe_read_user, generated};
use syspan_abi::{
    ALWAYS, BUDGET_MESSAGES, Counter, DataEvent, Kind, MAX_HEAD, MAX_TAIL, SocketState, direction, verdict,
};

use crate::{
    config::config,
    emit,
    maps::{SCRATCH, add, count},
    socket,
    thread::{Call, Caller, op},
};

/// Buffers of one call that are looked at. Node and nginx gather a message from a handful; more are counted as budget.
const MAX_BUFFERS: u32 = 24;

/// Messages of one sendmmsg or recvmmsg that are looked at (hardly used on stream sockets).
const MAX_MESSAGES: u32 = 2;

/// Where the last bytes of an event may begin: a tail is gathered from several buffers behind the longest head.
const MAX_OFFSET: u64 = (MAX_HEAD + MAX_TAIL) as u64;

/// `struct iovec` of the 64-bit kernel interface.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Iovec {
    base: u64,
    length: u64,
}

/// The part of `struct msghdr` (user) that holds the buffers, at byte 16.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MessageBuffers {
    vector: u64,
    count: u64,
}
const MESSAGE_BUFFERS: u64 = 16;
/// `struct mmsghdr`: a msghdr of 56 bytes, then the length that was moved.
const MMSGHDR: u64 = 64;
const MMSGHDR_LENGTH: u64 = 56;

#[inline(always)]
fn user<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the source; the destination is a value of that size.
    let failed =
        unsafe { generated::bpf_probe_read_user((&raw mut value).cast(), size_of::<T>() as u32, address as *const _) };
    if failed != 0 {
        count(Counter::UserFault);
        return T::default();
    }
    value
}

/// Where a call's bytes are: one buffer, or `count` of an array.
#[derive(Clone, Copy)]
struct Source {
    /// Address of the buffer or of the array.
    address: u64,
    /// 0: one buffer.
    buffers: u64,
}

/// One data event, as far as it is known before copying.
#[derive(Clone, Copy)]
pub struct Moved {
    /// Who moved it.
    pub caller: Caller,
    /// The thread's turn.
    pub turn: u32,
    /// The result of the call: bytes, or messages.
    pub result: u32,
}

/// Tells what a call moved, in a [`direction`].
#[inline(always)]
pub fn moved<const WAY: u32>(state: *mut SocketState, call: &Call, moved: &Moved) {
    let writing = WAY == direction::WRITE;
    let kind = call.op & !op::READ;
    if kind != op::MESSAGES {
        let position = socket::position(state, call, writing, moved.result);
        one::<WAY>(state, call, moved, source(call), position, moved.result);
        return;
    }
    let messages = moved.result;
    let mut total = 0u32;
    for index in 0..MAX_MESSAGES {
        if index >= messages {
            break;
        }
        total = total.wrapping_add(user::<u32>(call.address + index as u64 * MMSGHDR + MMSGHDR_LENGTH));
    }
    if messages > MAX_MESSAGES {
        add(Counter::Budget, (messages - MAX_MESSAGES) as u64);
        total = total.wrapping_add(1); // where positions are counted, a jump says that something is missing
    }
    let mut position = socket::position(state, call, writing, total);
    for index in 0..MAX_MESSAGES {
        if index >= messages {
            break;
        }
        let address = call.address + index as u64 * MMSGHDR;
        let length = user::<u32>(address + MMSGHDR_LENGTH);
        one::<WAY>(state, call, moved, message(address), position, length);
        position = position.wrapping_add(length);
    }
}

/// A user value, or zeros: nothing is lost if it is not there.
#[inline(always)]
fn peek<T: Copy + Default>(address: u64) -> T {
    // SAFETY: the helper checks the source.
    unsafe { bpf_probe_read_user(address as *const T) }.unwrap_or_default()
}

/// Where the first buffer of a call is and how long it is; zeros where it has none in user memory.
#[inline(always)]
pub fn first_buffer(op: u32, address: u64, length: u64) -> (u64, u64) {
    let vector = match op & !op::READ {
        op::BUFFER => return (address, length),
        op::VECTOR => address,
        op::MESSAGE => peek::<MessageBuffers>(address + MESSAGE_BUFFERS).vector,
        _ => return (0, 0),
    };
    let Iovec { base, length } = peek(vector);
    (base, length)
}

/// The first 8 bytes of a buffer, or whatever is there if it is shorter; 0 where it is not in user memory.
#[inline(always)]
pub fn first_word(buffer: u64) -> u64 {
    peek(buffer)
}

/// Where the bytes of a call are, unless it moves several messages.
#[inline(always)]
fn source(call: &Call) -> Source {
    match call.op & !op::READ {
        op::BUFFER => Source { address: call.address, buffers: 0 },
        op::VECTOR => vector(call.address, call.length),
        op::MESSAGE => message(call.address),
        _ => Source { address: 0, buffers: 0 },
    }
}

/// Whether a call that received nothing had room for something: then the stream is at its end. The first buffer tells.
#[inline(always)]
pub fn asked_for_bytes(call: &Call) -> bool {
    match call.op & !op::READ {
        op::BUFFER | op::LENGTH => call.length != 0,
        op::MESSAGES => false,
        op::VECTOR => call.length != 0 && user::<Iovec>(call.address).length != 0,
        _ => {
            let buffers: MessageBuffers = user(call.address + MESSAGE_BUFFERS);
            buffers.count != 0 && user::<Iovec>(buffers.vector).length != 0
        }
    }
}

#[inline(always)]
fn message(address: u64) -> Source {
    let buffers: MessageBuffers = user(address + MESSAGE_BUFFERS);
    vector(buffers.vector, buffers.count)
}

/// An array of one buffer, the most usual, is that buffer; one of none moves nothing that could be read.
#[inline(always)]
fn vector(address: u64, buffers: u64) -> Source {
    match buffers {
        0 => Source { address: 0, buffers: 0 },
        1 => Source { address: user::<Iovec>(address).base, buffers: 0 },
        _ => Source { address, buffers },
    }
}

/// One message: decides what is captured, copies it, sends the event.
#[inline(always)]
fn one<const WAY: u32>(
    state: *mut SocketState,
    call: &Call,
    moved: &Moved,
    source: Source,
    position: u32,
    length: u32,
) {
    let Some(room) = emit::Room::take() else {
        count(Counter::Preempted);
        return;
    };
    write::<WAY>(room, state, call, moved, source, position, length);
    room.give_back();
}

/// The same, in this room.
#[inline(always)]
fn write<const WAY: u32>(
    room: emit::Room,
    state: *mut SocketState,
    call: &Call,
    moved: &Moved,
    source: Source,
    position: u32,
    length: u32,
) {
    let Some(scratch) = room.scratch() else { return };
    // SAFETY: the first member that is written.
    let record = unsafe { (*scratch).bytes.as_mut_ptr() };
    let event = record.cast::<DataEvent>();
    let budget = allow::<WAY>(state);
    let mut head = if length < budget { length } else { budget };
    let rest = length - head;
    let mut tail = if rest < MAX_TAIL as u32 { rest } else { MAX_TAIL as u32 };
    if source.address == 0 {
        head = 0;
        tail = 0;
    }
    // SAFETY: this CPU's scratch and a map value; offsets and lengths are bounded for the verifier.
    unsafe {
        let bytes = record.add(size_of::<DataEvent>());
        if source.buffers == 0 {
            if head > 0 && !read(bytes, 0, head as u64, source.address) {
                head = 0;
                tail = 0;
            }
            if tail > 0 && !read(bytes, head as u64, tail as u64, source.address + (length - tail) as u64) {
                tail = 0;
            }
        } else {
            let all = source.buffers;
            // At most what was asked for, which the verifier does not know of a function's result.
            head = gather(place(room, 0), source.address, all, 0, head as u64) as u32 & (2 * MAX_HEAD as u32 - 1);
            if tail > 0 {
                let from = (length - tail) as u64;
                let got = gather(place(room, head), source.address, all, from, tail as u64);
                if got < tail as u64 {
                    tail = 0;
                }
            }
            if all > MAX_BUFFERS as u64 && (head as u64 + tail as u64) < length as u64 && head < budget {
                count(Counter::Budget);
            }
        }
        let used = &mut (*state).used[WAY as usize];
        *used = if *used < u32::MAX / 2 { *used + head } else { *used };
        let time = if WAY == direction::READ { bpf_ktime_get_ns() } else { call.time };
        emit::header(&mut (*event).header, Kind::Data, moved.caller, moved.turn, time, call.socket);
        (*event).length = length as u64;
        (*event).position = position;
        (*event).direction = WAY;
        (*event).head = head;
        (*event).tail = tail;
        let size = black_box(size_of::<DataEvent>() as u64 + head as u64 + tail as u64);
        if size <= SCRATCH as u64 {
            emit::send(record, size, Counter::RingFull);
        }
    }
}

/// How many bytes may be captured now. A change of direction renews the budget: it begins a message.
#[inline(always)]
fn allow<const WAY: u32>(state: *mut SocketState) -> u32 {
    // SAFETY: a map value.
    unsafe {
        if (*state).last != WAY + 1 {
            (*state).last = WAY + 1;
            (*state).used[WAY as usize] = 0;
        }
        let limit = if (*state).verdict == verdict::SQL { config!(sql_limit) } else { config!(head_limit) };
        let used = (*state).used[WAY as usize];
        let budget = limit * BUDGET_MESSAGES;
        let left = if used + ALWAYS < budget { budget - used } else { ALWAYS };
        if left < MAX_HEAD as u32 { left } else { MAX_HEAD as u32 }
    }
}

/// Copies `length` (at most [`MAX_HEAD`]) user bytes to `bytes + offset` (at most [`MAX_OFFSET`]).
#[inline(always)]
pub unsafe fn read(bytes: *mut u8, offset: u64, length: u64, address: u64) -> bool {
    // The verifier must see the bounds checked on the very registers that are passed on: hidden from the compiler, which knows
    // the ranges and would check copies, or nothing. (Verifiers since 6.2 see through copies of 32 bits.)
    let (offset, length) = (black_box(offset), black_box(length));
    if offset > MAX_OFFSET || length > MAX_HEAD as u64 {
        return false;
    }
    // SAFETY: `offset + length` is inside the scratch.
    let failed = unsafe {
        generated::bpf_probe_read_user(bytes.add(offset as usize).cast(), length as u32, address as *const _)
    };
    if failed != 0 {
        count(Counter::UserFault);
    }
    failed == 0
}

/// A place in a room as one number.
#[inline(always)]
fn place(room: emit::Room, offset: u32) -> u64 {
    (room.index() as u64) << 32 | offset as u64
}

/// Copies `wanted` bytes, from byte `from` of an iovec array on, to a [`place`]; gives how many it got.
///
/// A function of its own with plain numbers as arguments, so that the verifier checks it once and not for each way to it;
/// and what a round leaves for the next lies in memory, of which the verifier keeps no track: all rounds look the same to it.
/// With both it takes milliseconds instead of seconds to load.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gather(place: u64, vector: u64, buffers: u64, from: u64, wanted: u64) -> u64 {
    let Some(scratch) = emit::Room::of((place >> 32) as u32).scratch() else { return 0 };
    let offset = place & u32::MAX as u64;
    // SAFETY: the caller's scratch; `read` keeps inside it.
    unsafe {
        let bytes = (*scratch).bytes.as_mut_ptr().add(size_of::<DataEvent>());
        let got = &raw mut (*scratch).got;
        let passed = &raw mut (*scratch).passed;
        got.write_volatile(0);
        passed.write_volatile(0);
        for index in 0..MAX_BUFFERS as u64 {
            let copied = got.read_volatile();
            if index >= buffers || copied >= wanted {
                break;
            }
            let buffer: Iovec = user(vector + index * size_of::<Iovec>() as u64);
            let before = passed.read_volatile();
            let end = before + buffer.length;
            passed.write_volatile(end);
            let position = from + copied;
            if position >= end {
                continue;
            }
            let inside = position - before;
            let available = buffer.length - inside;
            let left = wanted - copied;
            let length = if available < left { available } else { left };
            if !read(bytes, offset + copied, length, buffer.base + inside) {
                break;
            }
            got.write_volatile(copied + length);
        }
        got.read_volatile()
    }
}
