//! Keeps other threads from interrupting a program.
//!
//! Since Linux 7.0 programs at system calls may be interrupted, and while one is, the kernel leaves the same program out for
//! all other threads on that CPU: their calls would not be seen. The functions called here are no helpers but kernel functions
//! (since 6.10), which the agent links; where they are missing or not needed, nothing is called.

use core::arch::asm;

use syspan_abi::{PREEMPT_DISABLE, PREEMPT_ENABLE};

/// Runs something that is not interrupted by other threads.
#[inline(always)]
pub fn without<T>(run: impl FnOnce() -> T) -> T {
    // SAFETY: calls without arguments, which change the registers that every call changes.
    unsafe {
        asm!("call {function}", function = const PREEMPT_DISABLE,
            lateout("r0") _, lateout("r1") _, lateout("r2") _, lateout("r3") _, lateout("r4") _, lateout("r5") _);
    }
    let result = run();
    // SAFETY: the same.
    unsafe {
        asm!("call {function}", function = const PREEMPT_ENABLE,
            lateout("r0") _, lateout("r1") _, lateout("r2") _, lateout("r3") _, lateout("r4") _, lateout("r5") _);
    }
    result
}
