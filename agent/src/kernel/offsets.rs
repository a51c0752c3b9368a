//! The structure members that the eBPF programs walk over, and where this kernel keeps them.
//!
//! `task -> files -> fdt -> fd[n] -> file -> socket -> sock`, and from there the addresses. The programs get the
//! offsets as a global when they are loaded.

use syspan_abi::Offsets;

use super::btf::{Btf, BtfError};

/// Where `struct pt_regs` has the arguments of a system call (the kernel's user interface of each architecture: it is what
/// ptrace shows): from which byte on, and which words from there.
#[cfg(target_arch = "x86_64")]
const ARGUMENTS: (u32, [u32; 6]) = (56, [7, 6, 5, 0, 2, 1]); // r10 r9 r8 rax rcx rdx rsi rdi
#[cfg(target_arch = "aarch64")]
const ARGUMENTS: (u32, [u32; 6]) = (0, [0, 1, 2, 3, 4, 5]); // x0 to x7

/// The member with the system call's number.
#[cfg(target_arch = "x86_64")]
const NUMBER: &str = "orig_ax";
#[cfg(target_arch = "aarch64")]
const NUMBER: &str = "syscallno";

/// Where Go keeps the address of the running goroutine's `runtime.g` (its internal ABI): behind the thread pointer, a member of
/// `struct task_struct`, or in a register, whose place is in `struct pt_regs`.
#[cfg(target_arch = "x86_64")]
const GOROUTINE: (Option<&str>, u32) = (Some("thread.fsbase"), 0);
#[cfg(target_arch = "aarch64")]
const GOROUTINE: (Option<&str>, u32) = (None, 28 * 8); // x28

/// Where `struct pt_regs` has, at the beginning of a Go function, its first argument (a method's receiver) and the address of the
/// running goroutine's `runtime.g` (Go's internal ABI since 1.17).
#[cfg(target_arch = "x86_64")]
const GO_FUNCTION: (u32, u32) = (80, 8); // rax, r14
#[cfg(target_arch = "aarch64")]
const GO_FUNCTION: (u32, u32) = (0, 28 * 8); // x0, x28

/// What tells a system call of a 32-bit program: a member of `struct thread_info`, and its bits.
#[cfg(target_arch = "x86_64")]
const COMPAT: (&str, u32) = ("status", 0x0002); // TS_COMPAT
#[cfg(target_arch = "aarch64")]
const COMPAT: (&str, u32) = ("flags", 1 << 22); // TIF_32BIT

/// Looks all members up.
///
/// # Errors
/// The first member that this kernel does not have.
pub fn read(btf: &Btf<'_>) -> Result<Offsets, BtfError> {
    let (file_refs, file_refs_last) = file_references(btf)?;
    Ok(Offsets {
        task_compat: btf.offset("task_struct", "thread_info")? + btf.offset("thread_info", COMPAT.0)?,
        compat_mask: COMPAT.1,
        regs_arguments: ARGUMENTS.0,
        argument: ARGUMENTS.1,
        regs_number: btf.offset("pt_regs", NUMBER)?,
        regs_goroutine: GOROUTINE.1,
        regs_receiver: GO_FUNCTION.0,
        regs_running: GO_FUNCTION.1,
        task_thread_pointer: GOROUTINE.0.map_or(Ok(0), |member| btf.offset("task_struct", member))?,
        task_tid: btf.offset("task_struct", "pid")?,
        task_signal: btf.offset("task_struct", "signal")?,
        task_tgid: btf.offset("task_struct", "tgid")?,
        task_files: btf.offset("task_struct", "files")?,
        files_fdt: btf.offset("files_struct", "fdt")?,
        fdt_max_fds: btf.offset("fdtable", "max_fds")?,
        fdt_fd: btf.offset("fdtable", "fd")?,
        file_inode: btf.offset("file", "f_inode")?,
        file_private: btf.offset("file", "private_data")?,
        file_refs,
        file_refs_last,
        inode_ino: btf.offset("inode", "i_ino")?,
        inode_mode: btf.offset("inode", "i_mode")?,
        socket_type: btf.offset("socket", "type")?,
        socket_sk: btf.offset("socket", "sk")?,
        sk_family: btf.offset("sock_common", "skc_family")?,
        sk_state: btf.offset("sock_common", "skc_state")?,
        sk_dport: btf.offset("sock_common", "skc_dport")?,
        sk_num: btf.offset("sock_common", "skc_num")?,
        sk_daddr: btf.offset("sock_common", "skc_daddr")?,
        sk_rcv_saddr: btf.offset("sock_common", "skc_rcv_saddr")?,
        sk_v6_daddr: btf.offset("sock_common", "skc_v6_daddr")?,
        sk_v6_rcv_saddr: btf.offset("sock_common", "skc_v6_rcv_saddr")?,
        sk_net: btf.offset("sock_common", "skc_net")?,
        sk_cookie: btf.offset("sock_common", "skc_cookie")?,
        // A plain u16 since 5.6; a bit-field before, which the floor of 5.10 excludes.
        sk_protocol: btf.offset("sock", "sk_protocol")?,
        net_inum: btf.offset("net", "ns.inum")?,
        tcp_copied_seq: btf.offset("tcp_sock", "copied_seq")?,
        tcp_write_seq: btf.offset("tcp_sock", "write_seq")?,
        tcp_snd_una: btf.offset("tcp_sock", "snd_una")?,
        sk_ulp: btf.offset("inet_connection_sock", "icsk_ulp_ops")?,
        unix_peer: btf.offset("unix_sock", "peer")?,
        unix_addr: btf.offset("unix_sock", "addr")?,
        unix_addr_len: btf.offset("unix_address", "len")?,
        // The sockaddr_un itself (a flexible array of one); its path begins 2 bytes later.
        unix_addr_name: btf.offset("unix_address", "name")?,
        signal_live: btf.offset("signal_struct", "live")?,
    })
}

/// Where `struct file` counts its references, and the count while one is left.
fn file_references(btf: &Btf<'_>) -> Result<(u32, u32), BtfError> {
    // Since 6.13 `f_ref`, a file_ref_t, which is 0 at one reference (FILE_REF_ONEREF); before, `f_count`, which is 1.
    match btf.offset("file", "f_ref") {
        Ok(offset) => Ok((offset, 0)),
        Err(_) => Ok((btf.offset("file", "f_count")?, 1)),
    }
}
