//! The one place of the agent with `unsafe`: what the kernel interface needs and no library offers safely.
#![expect(unsafe_code, reason = "each block says why it is sound")]

use std::os::fd::{AsRawFd, BorrowedFd};

/// The descriptor of something that owns it but, like aya's ring buffer, only tells its number.
pub(super) fn descriptor<T: AsRawFd>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: `owner` keeps the descriptor open, and the result borrows `owner`.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}
