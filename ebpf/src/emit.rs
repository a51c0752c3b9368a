//! Events into the ring buffer.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated},
};
use syspan_abi::{Counter, EndEvent, Header, Kind, ProcessEvent, SCRATCHES_OF_A_CPU, SocketState};

use crate::{
    config::config,
    goroutine,
    maps::{RING, SCRATCHES, Scratch, add_to, count},
    socket,
    thread::Caller,
};

/// Scratch memory that nobody else uses until it is given back.
///
/// Since Linux 7.0 a program at a system call may be interrupted by another thread's, which then runs the same program on
/// the same CPU; before, the memory of a CPU was its program's alone.
#[derive(Clone, Copy)]
pub struct Room {
    /// Which of [`SCRATCHES`].
    index: u32,
}

impl Room {
    /// Takes one.
    #[inline(always)]
    pub fn take() -> Option<Self> {
        match take_room() {
            NO_ROOM => None,
            index => Some(Self { index: index as u32 }),
        }
    }

    /// The memory.
    #[inline(always)]
    pub fn scratch(self) -> Option<*mut Scratch> {
        SCRATCHES.get_ptr_mut(self.index)
    }

    /// Gives it back.
    #[inline(always)]
    pub fn give_back(self) {
        if let Some(scratch) = self.scratch() {
            // SAFETY: a word of a map value.
            add_to(unsafe { &raw mut (*scratch).users }, u64::MAX);
        }
    }

    /// As a number, for functions that take only those.
    #[inline(always)]
    pub fn index(self) -> u32 {
        self.index
    }

    /// The room of this number.
    #[inline(always)]
    pub fn of(index: u32) -> Self {
        Self { index }
    }
}

/// [`take_room`]: all are in use.
const NO_ROOM: u64 = u64::MAX;

/// Takes a room and gives its index. The adding and the looking may be interrupted in between: then none of the two finds
/// itself alone and both go on to the next, but never do both stay.
///
/// A function of its own, so that the verifier does not follow what comes after it once for each room.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn take_room() -> u64 {
    // SAFETY: plain helper.
    let first = unsafe { bpf_get_smp_processor_id() } * SCRATCHES_OF_A_CPU;
    // By a constant range: older verifiers see an end only in one.
    for slot in 0..SCRATCHES_OF_A_CPU {
        let index = first + slot;
        let Some(scratch) = SCRATCHES.get_ptr_mut(index) else { return NO_ROOM };
        // SAFETY: a word of a map value.
        let users = unsafe { &raw mut (*scratch).users };
        add_to(users, 1);
        // SAFETY: the same.
        if unsafe { users.read_volatile() } == 1 {
            return index as u64;
        }
        add_to(users, u64::MAX);
    }
    NO_ROOM
}

/// Sends one record; false when the ring is full, which is counted as `lost`. The agent comes by itself every few
/// milliseconds and is woken only when much is waiting: wake-ups would cost more than the events.
#[inline(always)]
pub fn send(record: *const u8, length: u64, lost: Counter) -> bool {
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: the record is `length` initialised bytes of a map value or the stack; checked by the verifier.
    unsafe {
        let waiting = generated::bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA as u64);
        let wake = if waiting >= config!(wake_at) as u64 { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        if generated::bpf_ringbuf_output(ring, record.cast_mut().cast(), length, wake as u64) != 0 {
            count(lost);
            return false;
        }
    }
    true
}

/// Sends an event that is no [`syspan_abi::DataEvent`].
#[inline(always)]
pub fn notice<T>(event: *const T) -> bool {
    send(event.cast(), size_of::<T>() as u64, Counter::NoticeLost)
}

/// Fills in a header.
#[inline(always)]
pub fn header(header: &mut Header, kind: Kind, caller: Caller, turn: u32, time: u64, socket: u64) {
    let Caller { pid, tid, .. } = caller;
    let goroutine::Current { id, works_for, relation } = goroutine::current(caller);
    *header = Header { kind: kind as u16, relation, pid, tid, turn, time, socket, goroutine: id, works_for };
}

/// Tells that a direction ended.
#[inline(always)]
pub fn end(caller: Caller, turn: u32, socket: u64, state: *mut SocketState, end: u32) {
    let mut event = EndEvent { header: Header::default(), end, positions: socket::positions(state) };
    // SAFETY: plain helper.
    header(&mut event.header, Kind::End, caller, turn, unsafe { bpf_ktime_get_ns() }, socket);
    notice(&raw const event);
}

/// Tells something of a process.
#[inline(always)]
pub fn process(kind: Kind, pid: u32, other: u32) {
    thread(kind, pid, pid, 0, other, (0, 0));
}

/// Tells something of a thread.
#[inline(always)]
pub fn thread(kind: Kind, pid: u32, tid: u32, turn: u32, other: u32, (futex, lock): (u64, u32)) {
    // SAFETY: plain helper.
    let time = unsafe { bpf_ktime_get_ns() };
    let header = Header { kind: kind as u16, pid, tid, turn, time, ..Header::default() };
    let event = ProcessEvent { header, other, lock, futex };
    notice(&raw const event);
}
