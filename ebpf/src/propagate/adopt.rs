//! Connections that are older than the agent: it asks for each of them, by a call that means nothing to the kernel.
//!
//! Only a program may switch on what [`options`](super::options) needs of a socket, and only for a socket that it is handed. The
//! agent borrows the socket from its process (`pidfd_getfd`) and sets an option of a level that does not exist; this program, on
//! `setsockopt` (`BPF_CGROUP_SETSOCKOPT`), sees that and sets `TCP_BPF_SOCK_OPS_CB_FLAGS`, since Linux 6.12. It is attached only
//! while the agent asks.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated},
    macros::cgroup_sockopt,
    programs::SockoptContext,
};
use syspan_abi::{propagation::ADOPT_LEVEL, selection};

use crate::maps::PROCESSES;

const IPPROTO_TCP: i32 = 6;
const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
/// Not passed on to the kernel: the call succeeds.
const HANDLED: i32 = -1;

#[cgroup_sockopt(setsockopt)]
pub fn adopt(context: SockoptContext) -> i32 {
    let call = context.sockopt;
    // SAFETY: the program's context and the stack.
    unsafe {
        if (*call).level != ADOPT_LEVEL || !is_agent() {
            (*call).optlen = 0; // as it was made, however long
            return 1;
        }
        let socket = (*call).__bindgen_anon_1.sk.cast();
        let length = size_of::<i32>() as i32;
        // Somebody else may have switched something on.
        let mut flags = 0i32;
        let before = (&raw mut flags).cast();
        if generated::bpf_getsockopt(socket, IPPROTO_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, before, length) != 0 {
            return 1;
        }
        flags |= (*call).optname;
        let after = (&raw mut flags).cast();
        if generated::bpf_setsockopt(socket, IPPROTO_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, after, length) == 0 {
            (*call).optlen = HANDLED;
        }
    }
    1
}

/// Whether the caller is the agent: the process that is never observed.
#[inline(always)]
fn is_agent() -> bool {
    let process = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a word of a map value.
    let selection = unsafe { PROCESSES.get(process) }.map(|observed| observed.selection);
    selection == Some(selection::EXCLUDED) || selection == Some(selection::PARENT)
}
