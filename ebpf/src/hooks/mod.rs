//! The hooks. Two programs see every system call of the host, its entry and its exit, so they end as soon as they can: the
//! entry by a table of numbers and one of processes, the exit by one of threads. What is left is handed to the file of its
//! family.

mod connect;
mod process;
mod transfer;
mod wait;

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use syspan_abi::{MAX_SYSCALLS, Syscall};

use crate::{
    config::config,
    preemption, socket,
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
pub fn enter_syscall(context: RawTracePointContext) -> i32 {
    let number: u64 = context.arg(1);
    if number >= MAX_SYSCALLS as u64 {
        return 0;
    }
    let syscall = config!(syscalls[number as usize]);
    if syscall != Syscall::Other as u8 {
        preemption::without(|| entered(&context, syscall, number as u32));
    }
    0
}

/// A system call that is looked at begins.
#[inline(always)]
fn entered(context: &RawTracePointContext, syscall: u8, number: u32) {
    let both = bpf_get_current_pid_tgid();
    let caller = Caller { pid: (both >> 32) as u32, tid: both as u32, number };
    if !thread::is_observed(caller.pid) {
        if syscall == Syscall::Listen as u8 && config!(watch_listen) != 0 {
            thread::begin(caller, &Call { op: op::LISTEN, ..Call::default() });
        }
        return;
    }
    if config!(preemptible) != 0 {
        thread::forget(caller.tid);
    }
    // A 32-bit program's calls have other numbers.
    if thread::is_compat() {
        return;
    }
    let arguments = Arguments::read(context.arg(0));
    enter(syscall, caller, &arguments);
}

#[inline(always)]
fn enter(syscall: u8, caller: Caller, arguments: &Arguments) {
    const READ: u8 = Syscall::Read as u8;
    const READV: u8 = Syscall::Readv as u8;
    const RECVFROM: u8 = Syscall::Recvfrom as u8;
    const RECVMSG: u8 = Syscall::Recvmsg as u8;
    const RECVMMSG: u8 = Syscall::Recvmmsg as u8;
    const WRITE: u8 = Syscall::Write as u8;
    const WRITEV: u8 = Syscall::Writev as u8;
    const SENDMSG: u8 = Syscall::Sendmsg as u8;
    const SENDMMSG: u8 = Syscall::Sendmmsg as u8;
    const SENDFILE: u8 = Syscall::Sendfile as u8;
    const SPLICE: u8 = Syscall::Splice as u8;
    const CONNECT: u8 = Syscall::Connect as u8;
    const ACCEPT: u8 = Syscall::Accept as u8;
    const LISTEN: u8 = Syscall::Listen as u8;
    const SHUTDOWN: u8 = Syscall::Shutdown as u8;
    const CLOSE: u8 = Syscall::Close as u8;
    const CLOSE_RANGE: u8 = Syscall::CloseRange as u8;
    const DUP: u8 = Syscall::Dup as u8;
    const EPOLL_WAIT: u8 = Syscall::EpollWait as u8;
    const EPOLL_CREATE: u8 = Syscall::EpollCreate as u8;
    const EPOLL_CTL: u8 = Syscall::EpollCtl as u8;
    const POLL: u8 = Syscall::Poll as u8;
    const SELECT: u8 = Syscall::Select as u8;
    const IO_URING_SETUP: u8 = Syscall::IoUringSetup as u8;
    match syscall {
        READ => transfer::enter(op::BUFFER | op::READ, caller, arguments),
        READV => transfer::enter(op::VECTOR | op::READ, caller, arguments),
        RECVFROM => transfer::receive(op::BUFFER | op::READ, caller, arguments, arguments.get::<3>()),
        RECVMSG => transfer::receive(op::MESSAGE | op::READ, caller, arguments, arguments.get::<2>()),
        RECVMMSG => transfer::receive(op::MESSAGES | op::READ, caller, arguments, arguments.get::<3>()),
        WRITE => transfer::enter(op::BUFFER, caller, arguments),
        WRITEV => transfer::enter(op::VECTOR, caller, arguments),
        SENDMSG => transfer::enter(op::MESSAGE, caller, arguments),
        SENDMMSG => transfer::enter(op::MESSAGES, caller, arguments),
        SENDFILE => transfer::enter_sendfile(caller, arguments),
        SPLICE => transfer::enter_splice(caller, arguments),
        CONNECT => connect::enter_connect(caller, arguments),
        ACCEPT => connect::enter_accept(caller),
        LISTEN => connect::enter_listen(caller),
        SHUTDOWN => connect::enter_shutdown(caller, arguments),
        CLOSE => connect::enter_close(caller, arguments.get::<0>()),
        CLOSE_RANGE => connect::enter_close_range(caller, arguments),
        DUP => connect::enter_dup(caller, arguments),
        EPOLL_WAIT => wait::enter_epoll_wait(caller, arguments),
        EPOLL_CREATE => wait::enter_epoll_create(caller),
        EPOLL_CTL => wait::enter_epoll_ctl(caller, arguments),
        POLL => wait::enter_poll(caller, arguments),
        SELECT => wait::enter_select(caller, arguments),
        IO_URING_SETUP => process::enter_io_uring_setup(caller),
        _ => {}
    }
}

/// `sys_exit(regs: struct pt_regs *, ret: long)`, since 2.6.37; as a raw tracepoint since 4.17.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn exit_syscall(context: RawTracePointContext) -> i32 {
    preemption::without(|| left(&context));
    0
}

/// A system call ends.
#[inline(always)]
fn left(context: &RawTracePointContext) {
    let both = bpf_get_current_pid_tgid();
    let caller = Caller { pid: (both >> 32) as u32, tid: both as u32, number: 0 };
    let Some((turn, call)) = thread::finish(caller.tid) else { return };
    // The exit of the call that was kept may not have been shown to this program; this is another one's then.
    let registers: u64 = context.arg(0);
    if config!(preemptible) != 0 && socket::kernel::<u32>(registers, config!(offsets.regs_number)) != call.number {
        return;
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
}
