//! Which thread makes another one go on.
//!
//! Every wake-up of the host comes here while this is attached, so all but a few end at a table look-up. What is told is bounded by what
//! is told of transfers: after each of its own a thread has a few wake-ups that count, and whom it wakes has fewer.

use core::cmp::{max, min};

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use syspan_abi::{Kind, MAX_SYSCALLS, syscall, watch};

use super::Arguments;
use crate::{
    config::config,
    emit,
    maps::THREADS,
    socket::kernel,
    thread::{self, PASSED_WAKES, TOLD, Thread, Told, op},
};

/// `sched_waking(p: task_struct *)`, since 4.3: the current task makes `p` ready to run.
#[raw_tracepoint(tracepoint = "sched_waking")]
pub fn sched_waking(context: RawTracePointContext) -> i32 {
    let both = bpf_get_current_pid_tgid();
    let (pid, tid) = ((both >> 32) as u32, both as u32);
    // The idle task wakes for interrupts.
    if pid == 0 || thread::observed(pid).is_none_or(|observed| observed.watch & watch::WAKES == 0) {
        return 0;
    }
    let Some(waker) = THREADS.get_ptr_mut(tid) else { return 0 };
    // SAFETY: a word of a map value.
    if unsafe { (*waker).wakes } == 0 {
        return 0;
    }
    let woken: u64 = context.arg(0);
    if kernel::<u32>(woken, config!(offsets.task_tgid)) != pid {
        return 0;
    }
    let woken: u32 = kernel(woken, config!(offsets.task_tid));
    let Some(thread) = THREADS.get_ptr_mut(woken) else { return 0 };
    let Some(futex) = on_purpose(waker, thread) else { return 0 };
    // SAFETY: words of map values: of the calling thread's own, and of one that is blocked.
    let (turn, waiting) = unsafe {
        if (*waker).is_shared(futex, woken) {
            return 0;
        }
        (*waker).told[(*waker).wakes as usize % TOLD] = Told { futex: futex as u32, woken };
        (*waker).wakes -= 1;
        // What one has read another one may go on with, and that one wakes who waits for it.
        (*thread).wakes = max((*thread).wakes, min((*waker).wakes, PASSED_WAKES));
        ((*waker).turn, (*thread).registers)
    };
    let lock = if futex == 0 { 0 } else { lock(waiting) };
    emit::thread(Kind::Wake, pid, tid, turn, woken, (futex, lock));
    0
}

/// Whether a thread wakes the other one by what it does, and not by having been interrupted: data that arrives and timers that
/// end wake threads too, while any thread may be running. A thread waits in `futex` for what another one does with `futex`; a wait for
/// files ends by a write, to an eventfd or a pipe (one to a connection shows itself by what is read).
///
/// If so, the address of the futex, the first argument of the waker's call; 0 for a write.
#[inline(always)]
fn on_purpose(waker: *mut Thread, woken: *mut Thread) -> Option<u64> {
    // SAFETY: words of map values.
    let (registers, transfer, of) =
        unsafe { ((*waker).registers, (*waker).call.op != op::NONE, call((*woken).registers)) };
    let waits_for_files =
        of == syscall::EPOLL_WAIT || of == syscall::POLL || of == syscall::SELECT || of == syscall::READ;
    match call(registers) {
        syscall::FUTEX if of == syscall::FUTEX => Some(Arguments::read(registers).get::<0>()),
        syscall::WRITE | syscall::WRITEV if !transfer && waits_for_files => Some(0),
        _ => None,
    }
}

/// Whether a thread that entered `futex` with these registers waits for a lock: glibc's (`lll_lock`: mutexes, and those of `malloc`) have the value
/// 2 then, which is the third argument of `FUTEX_WAIT`. Its condition variables and semaphores wait for other values, since 2.33 by
/// `FUTEX_WAIT_BITSET`. In musl everybody waits so.
#[inline(always)]
fn lock(registers: u64) -> u32 {
    const FUTEX_WAIT: u64 = 0;
    /// `FUTEX_PRIVATE_FLAG`, `FUTEX_CLOCK_REALTIME`.
    const FLAGS: u64 = 0x80 | 0x100;
    const LOCKED_WITH_WAITERS: u32 = 2;
    let arguments = Arguments::read(registers);
    let waits = arguments.get::<1>() as u32 as u64 & !FLAGS == FUTEX_WAIT;
    (waits && arguments.get::<2>() as u32 == LOCKED_WITH_WAITERS) as u32
}

/// The system call that a thread is in, by the registers that it enters them with. Outside of one their number is negative.
#[inline(always)]
fn call(registers: u64) -> u8 {
    if registers == 0 {
        return syscall::OTHER;
    }
    let number: u32 = kernel(registers, config!(offsets.regs_number));
    if number == config!(futex) {
        syscall::FUTEX
    } else if number < MAX_SYSCALLS as u32 {
        config!(syscalls[number as usize])
    } else {
        syscall::OTHER
    }
}
