//! The hooks. Two programs see every system call of the host, its entry and its exit, so they end as soon as they can: the
//! entry by a table of numbers and one of processes, the exit by one of threads. What is left is handed to the file of its
//! family.

mod connect;
pub mod copy;
pub mod handover;
mod process;
mod transfer;
mod wait;
mod wake;

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use syspan_abi::{MAX_SYSCALLS, Observed, selection, syscall};

use crate::{
    config::config,
    socket,
    thread::{self, Call, Caller, op},
};

/// The arguments of a system call.
pub struct Arguments([u64; 8]);

impl Arguments {
    /// Reads them from the `struct pt_regs` that the call was entered with.
    #[inline(always)]
    fn read(registers: u64) -> Self {
        Self(socket::kernel(registers, config!(offsets.regs_arguments)))
    }

    /// The `N`th, from 0.
    #[inline(always)]
    fn get<const N: usize>(&self) -> u64 {
        self.0[(config!(offsets.argument[N]) & 7) as usize]
    }
}

/// `sys_enter(regs: struct pt_regs *, id: long)`, since 2.6.37; as a raw tracepoint since 4.17.
#[raw_tracepoint(tracepoint = "sys_enter")]
#[inline(always)] // into what calls it: a frame less, of which older verifiers add up all
pub fn enter_syscall(context: RawTracePointContext) -> i32 {
    let number: u64 = context.arg(1);
    if number >= MAX_SYSCALLS as u64 {
        return 0;
    }
    let kind = config!(syscalls[number as usize]);
    if kind == syscall::OTHER {
        return 0;
    }
    let registers: u64 = context.arg(0);
    let Some(observed) = thread::observed((bpf_get_current_pid_tgid() >> 32) as u32) else {
        if kind == syscall::LISTEN && config!(watch_listen) != 0 {
            let caller = Caller::new(Observed::default(), number as u32, registers);
            thread::begin(caller, &Call { op: op::LISTEN, ..Call::default() });
        }
        return 0;
    };
    let caller = Caller::new(observed, number as u32, registers);
    if config!(preemptible) != 0 {
        thread::forget(caller.tid);
    }
    // A 32-bit program's calls have other numbers.
    if thread::is_compat() {
        return 0;
    }
    let arguments = Arguments::read(registers);
    enter(kind, caller, &arguments);
    0
}

#[inline(always)]
fn enter(kind: u8, caller: Caller, arguments: &Arguments) {
    match kind {
        syscall::READ => transfer::enter(op::BUFFER | op::READ, caller, arguments),
        syscall::READV => transfer::enter(op::VECTOR | op::READ, caller, arguments),
        syscall::RECVFROM => transfer::receive(op::BUFFER | op::READ, caller, arguments, arguments.get::<3>()),
        syscall::RECVMSG => transfer::receive(op::MESSAGE | op::READ, caller, arguments, arguments.get::<2>()),
        syscall::RECVMMSG => transfer::receive(op::MESSAGES | op::READ, caller, arguments, arguments.get::<3>()),
        syscall::WRITE => transfer::enter(op::BUFFER, caller, arguments),
        syscall::WRITEV => transfer::enter(op::VECTOR, caller, arguments),
        syscall::SENDMSG => transfer::enter(op::MESSAGE, caller, arguments),
        syscall::SENDMMSG => transfer::enter(op::MESSAGES, caller, arguments),
        syscall::SENDFILE => transfer::enter_sendfile(caller, arguments),
        syscall::SPLICE => transfer::enter_splice(caller, arguments),
        syscall::CONNECT => connect::enter_connect(caller, arguments),
        syscall::ACCEPT => connect::enter_accept(caller),
        syscall::LISTEN => connect::enter_listen(caller),
        syscall::SHUTDOWN => connect::enter_shutdown(caller, arguments),
        syscall::CLOSE => connect::enter_close(caller, arguments),
        syscall::CLOSE_RANGE => connect::enter_close_range(caller, arguments),
        syscall::DUP => connect::enter_dup(caller, arguments),
        syscall::EPOLL_WAIT => wait::enter_epoll_wait(caller, arguments),
        syscall::EPOLL_CREATE => wait::enter_epoll_create(caller),
        syscall::EPOLL_CTL => wait::enter_epoll_ctl(caller, arguments),
        syscall::POLL => wait::enter_poll(caller, arguments),
        syscall::SELECT => wait::enter_select(caller, arguments),
        syscall::IO_URING_SETUP => process::enter_io_uring_setup(caller),
        _ => {}
    }
}

/// `sys_exit(regs: struct pt_regs *, ret: long)`, since 2.6.37; as a raw tracepoint since 4.17.
#[raw_tracepoint(tracepoint = "sys_exit")]
#[inline(always)] // into what calls it: a frame less, of which older verifiers add up all
pub fn exit_syscall(context: RawTracePointContext) -> i32 {
    let Some((turn, call)) = thread::finish(bpf_get_current_pid_tgid() as u32) else { return 0 };
    // The exit of the call that was kept may not have been shown to this program; this is another one's then.
    let registers: u64 = context.arg(0);
    let caller = Caller::new(Observed { selection: selection::SELECTED, watch: call.watch, go: call.go }, 0, registers);
    if config!(preemptible) != 0 && socket::kernel::<u32>(registers, config!(offsets.regs_number)) != call.number {
        return 0;
    }
    let result: i64 = context.arg(1);
    match call.op {
        op::CONNECT => connect::exit_connect(caller, turn, &call, result),
        op::ACCEPT => connect::exit_accept(caller, turn, result),
        op::LISTEN => connect::exit_listen(caller, result),
        op::EPOLL_CREATE => wait::exit_epoll_create(result),
        op::EPOLL_DELETE => wait::exit_epoll_delete(&call, result),
        _ => transfer::exit(caller, turn, &call, result),
    }
    0
}
