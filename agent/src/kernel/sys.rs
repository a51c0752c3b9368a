//! The one place of the agent with `unsafe`: what the kernel interface needs and no library offers safely.
#![expect(unsafe_code, reason = "each block says why it is sound")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The descriptor of something that owns it but, like aya's ring buffer, only tells its number.
pub(super) fn descriptor<T: AsRawFd>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: `owner` keeps the descriptor open, and the result borrows `owner`.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Sets an option without a value on a socket: a level and a number that only a program of the agent's knows.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, number: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, number, std::ptr::null(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives memory that was freed back to the kernel. glibc's allocator keeps it: once a large block was freed, up to twice
/// its size stays for the process's own use (mallopt(3), `M_MMAP_THRESHOLD`, dynamic).
pub(super) fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, may be called at any time from any thread, and leaves all live memory alone.
    unsafe {
        libc::malloc_trim(0);
    }
}
