//! syspan's eBPF programs: what system calls move over stream sockets, who calls, and how processes come and go.
//!
//! Base: the raw tracepoints `sys_enter` and `sys_exit` (since 4.17; they are what the `syscalls/*` tracepoints are made of,
//! without the record that perf prepares for those) and `sched_process_{fork,exec,exit}`; `sched_waking` while somebody asks for it.
//! Nothing here parses protocols: a call on a followed socket becomes one event with a bounded part of its bytes.
//!
//! Two steps for each call: at entry the arguments are kept by thread ([`thread`]), at exit the result decides what
//! they meant. A process that is not observed costs one table look-up at entry and one at exit.

#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "eBPF programs read raw memory through helpers; the kernel's verifier checks every access"
)]

mod config;
mod emit;
mod goroutine;
mod hooks;
mod java;
mod maps;
mod payload;
mod propagate;
mod python;
mod socket;
mod task;
mod thread;

/// The BPF object's licence: GPL-compatible, as the probe-read helpers ask.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses programs that could get here.
    loop {}
}
