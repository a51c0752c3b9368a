//! Which thread makes another one go on.
//!
//! Every wake-up of the host comes here while this is attached, so all but a few end at a table look-up. What is told is bounded by what
//! is told of transfers: after each of its own a thread has a few wake-ups that count.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use syspan_abi::{Kind, MAX_SYSCALLS, syscall, watch};

use crate::{
    config::config,
    emit,
    maps::THREADS,
    socket::kernel,
    thread::{self, Thread, op},
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
    if !is_on_purpose(waker, thread) {
        return 0;
    }
    // SAFETY: words of a map value, which is the calling thread's own.
    let turn = unsafe {
        (*waker).wakes -= 1;
        (*waker).turn
    };
    emit::thread(Kind::Wake, pid, tid, turn, woken);
    0
}

/// Whether a thread wakes the other one by what it does, and not by having been interrupted: data that arrives and timers that
/// end wake threads too, while any thread may be running. A thread waits in `futex` for what another one does with `futex`; a wait for
/// files ends by a write, to an eventfd or a pipe (one to a connection shows itself by what is read).
#[inline(always)]
fn is_on_purpose(waker: *mut Thread, woken: *mut Thread) -> bool {
    // SAFETY: words of map values.
    let (by, transfer, of) =
        unsafe { (call((*waker).registers), (*waker).call.op != op::NONE, call((*woken).registers)) };
    match by {
        syscall::FUTEX => of == syscall::FUTEX,
        syscall::WRITE | syscall::WRITEV => {
            !transfer
                && (of == syscall::EPOLL_WAIT || of == syscall::POLL || of == syscall::SELECT || of == syscall::READ)
        }
        _ => false,
    }
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
