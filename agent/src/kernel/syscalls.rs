//! Which system calls the programs look at, by their numbers on this architecture.

use std::ffi::c_long;

use syspan_abi::{MAX_SYSCALLS, Syscall};

/// The calls that every architecture has.
const ALL: &[(c_long, Syscall)] = &[
    (libc::SYS_read, Syscall::Read),
    (libc::SYS_readv, Syscall::Readv),
    (libc::SYS_recvfrom, Syscall::Recvfrom),
    (libc::SYS_recvmsg, Syscall::Recvmsg),
    (libc::SYS_recvmmsg, Syscall::Recvmmsg),
    (libc::SYS_write, Syscall::Write),
    (libc::SYS_sendto, Syscall::Write),
    (libc::SYS_writev, Syscall::Writev),
    (libc::SYS_sendmsg, Syscall::Sendmsg),
    (libc::SYS_sendmmsg, Syscall::Sendmmsg),
    (libc::SYS_sendfile, Syscall::Sendfile),
    (libc::SYS_splice, Syscall::Splice),
    (libc::SYS_connect, Syscall::Connect),
    (libc::SYS_accept, Syscall::Accept),
    (libc::SYS_accept4, Syscall::Accept),
    (libc::SYS_listen, Syscall::Listen),
    (libc::SYS_shutdown, Syscall::Shutdown),
    (libc::SYS_close, Syscall::Close),
    (libc::SYS_close_range, Syscall::CloseRange),
    (libc::SYS_dup3, Syscall::Dup),
    (libc::SYS_epoll_pwait, Syscall::EpollWait),
    (libc::SYS_epoll_pwait2, Syscall::EpollWait),
    (libc::SYS_epoll_create1, Syscall::EpollCreate),
    (libc::SYS_epoll_ctl, Syscall::EpollCtl),
    (libc::SYS_ppoll, Syscall::Poll),
    (libc::SYS_pselect6, Syscall::Select),
    (libc::SYS_io_uring_setup, Syscall::IoUringSetup),
];

/// Those that younger architectures left out.
#[cfg(target_arch = "x86_64")]
const OLD: &[(c_long, Syscall)] = &[
    (libc::SYS_dup2, Syscall::Dup),
    (libc::SYS_epoll_wait, Syscall::EpollWait),
    (libc::SYS_epoll_create, Syscall::EpollCreate),
    (libc::SYS_poll, Syscall::Poll),
    (libc::SYS_select, Syscall::Select),
];
#[cfg(target_arch = "aarch64")]
const OLD: &[(c_long, Syscall)] = &[];

/// The table for the programs. A number that this kernel does not know is never seen.
pub fn table() -> [u8; MAX_SYSCALLS] {
    let mut table = [Syscall::Other as u8; MAX_SYSCALLS];
    for &(number, syscall) in ALL.iter().chain(OLD) {
        if let Some(entry) = usize::try_from(number).ok().and_then(|number| table.get_mut(number)) {
            *entry = syscall as u8;
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
        for &(number, syscall) in ALL.iter().chain(OLD) {
            let entry = usize::try_from(number).ok().and_then(|number| table.get(number));
            assert_eq!(entry, Some(&(syscall as u8)), "{syscall:?}");
        }
        assert_eq!(table.iter().filter(|&&entry| entry != 0).count(), ALL.len() + OLD.len());
    }
}
