//! What the programs keep of a socket.

/// Value of [`SocketState::verdict`], which the agent may write.
pub mod verdict {
    /// Not known yet, or HTTP: heads up to [`Config::head_limit`](crate::Config).
    pub const FOLLOW: u32 = 0;
    /// SQL: up to [`Config::sql_limit`](crate::Config).
    pub const SQL: u32 = 1;
    /// Not followed any more.
    pub const IGNORE: u32 = 2;
}

/// What the kernel keeps of one socket.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SocketState {
    /// Address of the kernel's inode: tells a socket from a file of another file system with the same number.
    pub inode: u64,
    /// Address of the kernel's `struct sock`, for its sequence numbers; 0 for Unix sockets.
    pub tcp: u64,
    /// A [`verdict`] constant.
    pub verdict: u32,
    /// The direction of the last bytes + 1, 0 at first: a change renews the other direction's budget.
    pub last: u32,
    /// Captured bytes since the direction changed, by direction.
    pub used: [u32; 2],
    /// Bytes moved, by direction: the position in a Unix socket's streams.
    pub moved: [u32; 2],
    /// Whether a [`SocketEvent`](crate::SocketEvent) reached the ring buffer.
    pub announced: u32,
    /// An [`origin`](crate::origin) constant.
    pub origin: u32,
}

const _: () = assert!(size_of::<SocketState>() == 8 + 8 + 8 + 8 + 8 + 8);

// SAFETY: repr(C), Copy, plain integers only, and no padding by the size asserted above.
#[cfg(feature = "std")]
unsafe impl aya::Pod for SocketState {}
