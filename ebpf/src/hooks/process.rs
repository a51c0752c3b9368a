//! exec, fork and exit of processes; the use of io_uring.

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext,
};
use aya_log_ebpf::warn;
use syspan_abi::{Counter, GoLayout, Kind, Observed, selection, watch};

use crate::{
    config::config,
    emit,
    maps::{PROCESSES, THREADS, count},
    socket::kernel,
    task,
    thread::{self, Caller},
};

/// `sched_process_fork(parent: task_struct *, child: task_struct *)`: children of observed processes are observed.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(context: RawTracePointContext) -> i32 {
    let child: u64 = context.arg(1);
    let both = bpf_get_current_pid_tgid();
    let (pid, tid) = ((both >> 32) as u32, both as u32);
    let new: u32 = kernel(child, config!(offsets.task_tgid));
    // SAFETY: a map value, of which each word can be believed by itself.
    let parent = unsafe { PROCESSES.get(pid) }.copied().unwrap_or_default();
    if new == pid {
        if parent.watch & watch::WAKES != 0 {
            emit::thread(Kind::Thread, pid, tid, thread::turn(tid), kernel(child, config!(offsets.task_tid)), (0, 0));
        }
        return 0;
    }
    let selected = parent.selection == selection::SELECTED || parent.selection == selection::PARENT;
    let same = Observed { selection: selection::SELECTED, ..Observed::default() };
    if selected && PROCESSES.insert(new, same, BPF_NOEXIST as u64).is_err() {
        count(Counter::MapFull);
        warn!(&context, "process {} is not observed: the table of processes is full", new);
    }
    // Told as well where everything is observed: a child that soon ends is known by its parent.
    if selected || thread::observed(pid).is_some() {
        emit::process(Kind::Fork, pid, new);
    }
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: the process is another program from now on.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(_context: RawTracePointContext) -> i32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // What was known of the last one is no longer true.
    if let Some(observed) = PROCESSES.get_ptr_mut(pid) {
        // SAFETY: words of a map value.
        unsafe {
            (*observed).watch = 0;
            (*observed).go = GoLayout::default();
        }
    }
    if config!(watch_exec) != 0 || thread::observed(pid).is_some() {
        emit::process(Kind::Exec, pid, 0);
    }
    0
}

/// `sched_process_exit(task, …)`: called for every thread, in its own context, after it was taken off `signal->live`. The
/// process ends with its last thread, which need not be the first one.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(_context: RawTracePointContext) -> i32 {
    let both = bpf_get_current_pid_tgid();
    let (pid, tid) = ((both >> 32) as u32, both as u32);
    let _ = THREADS.remove(tid);
    let signal: u64 = task::member(config!(offsets.task_signal));
    if kernel::<u32>(signal, config!(offsets.signal_live)) != 0 {
        return 0;
    }
    if thread::observed(pid).is_some() {
        emit::process(Kind::Exit, pid, 0);
    }
    // SAFETY: one word of a map value.
    if unsafe { PROCESSES.get(pid) }.is_some_and(|observed| observed.selection == selection::SELECTED) {
        let _ = PROCESSES.remove(pid);
    }
    0
}

/// `io_uring_setup`: whatever this process sends through its rings no system call shows.
#[inline(always)]
pub fn enter_io_uring_setup(caller: Caller) {
    emit::process(Kind::IoUring, caller.pid, 0);
}
