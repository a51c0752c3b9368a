//! The settings the agent writes before loading. They are read-only and known to the verifier as constants.

use syspan_abi::{Config, Offsets};

/// Overridden by the loader, by this name.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config {
    offsets: Offsets {
        task_signal: 0,
        task_tgid: 0,
        task_files: 0,
        files_fdt: 0,
        fdt_max_fds: 0,
        fdt_fd: 0,
        file_inode: 0,
        file_private: 0,
        file_refs: 0,
        file_refs_last: 0,
        inode_ino: 0,
        inode_mode: 0,
        socket_type: 0,
        socket_sk: 0,
        sk_family: 0,
        sk_state: 0,
        sk_dport: 0,
        sk_num: 0,
        sk_daddr: 0,
        sk_rcv_saddr: 0,
        sk_v6_daddr: 0,
        sk_v6_rcv_saddr: 0,
        sk_net: 0,
        sk_protocol: 0,
        net_inum: 0,
        tcp_copied_seq: 0,
        tcp_write_seq: 0,
        unix_peer: 0,
        unix_addr: 0,
        unix_addr_len: 0,
        unix_addr_name: 0,
        signal_live: 0,
    },
    all: 0,
    watch_exec: 0,
    watch_listen: 0,
    head_limit: 0,
    sql_limit: 0,
    wake_at: 0,
    address_key: 0,
};

/// Reads a setting where the loader left it.
#[inline(always)]
pub fn read<T>(setting: *const T) -> T {
    // SAFETY: only called on members of the static above.
    unsafe { core::ptr::read_volatile(setting) }
}

/// Reads one setting (`config!(head_limit)`, `config!(offsets.task_pid)`), kept from being folded to the zeros above.
macro_rules! config {
    ($($field:ident).+) => {
        $crate::config::read(&raw const $crate::config::CONFIG.$($field).+)
    };
}
pub(crate) use config;
