//! The hooks, one file a family. Each program is thin: it names the arguments' places and calls the path they share.

mod connect;
mod process;
mod transfer;
mod wait;

use aya_ebpf::programs::TracePointContext;

/// The `n`th argument of a `sys_enter_*` tracepoint: after the common fields (8 bytes) and `__syscall_nr` (8).
#[inline(always)]
fn argument(context: &TracePointContext, n: usize) -> u64 {
    // SAFETY: inside the tracepoint's record, six arguments of 8 bytes at most.
    unsafe { context.read_at::<u64>(16 + 8 * n) }.unwrap_or(0)
}

/// The result of a `sys_exit_*` tracepoint.
#[inline(always)]
fn result(context: &TracePointContext) -> i64 {
    // SAFETY: inside the tracepoint's record.
    unsafe { context.read_at::<i64>(16) }.unwrap_or(-1)
}
