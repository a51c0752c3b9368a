//! Which system calls the programs look at, by their numbers on this architecture.

use std::ffi::c_long;

use syspan_abi::{MAX_SYSCALLS, syscall};

/// The calls that every architecture has.
const ALL: &[(c_long, u8)] = &[
    (libc::SYS_read, syscall::READ),
    (libc::SYS_readv, syscall::READV),
    (libc::SYS_recvfrom, syscall::RECVFROM),
    (libc::SYS_recvmsg, syscall::RECVMSG),
    (libc::SYS_recvmmsg, syscall::RECVMMSG),
    (libc::SYS_write, syscall::WRITE),
    (libc::SYS_sendto, syscall::WRITE),
    (libc::SYS_writev, syscall::WRITEV),
    (libc::SYS_sendmsg, syscall::SENDMSG),
    (libc::SYS_sendmmsg, syscall::SENDMMSG),
    (libc::SYS_sendfile, syscall::SENDFILE),
    (libc::SYS_splice, syscall::SPLICE),
    (libc::SYS_connect, syscall::CONNECT),
    (libc::SYS_accept, syscall::ACCEPT),
    (libc::SYS_accept4, syscall::ACCEPT),
    (libc::SYS_listen, syscall::LISTEN),
    (libc::SYS_shutdown, syscall::SHUTDOWN),
    (libc::SYS_close, syscall::CLOSE),
    (libc::SYS_close_range, syscall::CLOSE_RANGE),
    (libc::SYS_dup3, syscall::DUP),
    (libc::SYS_epoll_pwait, syscall::EPOLL_WAIT),
    (libc::SYS_epoll_pwait2, syscall::EPOLL_WAIT),
    (libc::SYS_epoll_create1, syscall::EPOLL_CREATE),
    (libc::SYS_epoll_ctl, syscall::EPOLL_CTL),
    (libc::SYS_ppoll, syscall::POLL),
    (libc::SYS_pselect6, syscall::SELECT),
    (libc::SYS_io_uring_setup, syscall::IO_URING_SETUP),
];

/// Those that younger architectures left out.
#[cfg(target_arch = "x86_64")]
const OLD: &[(c_long, u8)] = &[
    (libc::SYS_dup2, syscall::DUP),
    (libc::SYS_epoll_wait, syscall::EPOLL_WAIT),
    (libc::SYS_epoll_create, syscall::EPOLL_CREATE),
    (libc::SYS_poll, syscall::POLL),
    (libc::SYS_select, syscall::SELECT),
];
#[cfg(target_arch = "aarch64")]
const OLD: &[(c_long, u8)] = &[];

/// The number of `futex`, which is in no table: see [`syscall::FUTEX`].
pub const FUTEX: c_long = libc::SYS_futex;

/// The table for the programs. A number that this kernel does not know is never seen.
pub fn table() -> [u8; MAX_SYSCALLS] {
    let mut table = [syscall::OTHER; MAX_SYSCALLS];
    for &(number, kind) in ALL.iter().chain(OLD) {
        if let Some(entry) = usize::try_from(number).ok().and_then(|number| table.get_mut(number)) {
            *entry = kind;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_entry() {
        let table = table();
        for &(number, kind) in ALL.iter().chain(OLD) {
            let entry = usize::try_from(number).ok().and_then(|number| table.get(number));
            assert_eq!(entry, Some(&kind), "{number}");
        }
        assert_eq!(table.iter().filter(|&&entry| entry != 0).count(), ALL.len() + OLD.len());
    }
}
