//! The structure members that the eBPF programs walk over, and where this kernel keeps them.
//!
//! `task -> files -> fdt -> fd[n] -> file -> socket -> sock`, and from there the addresses. The programs get the offsets
//! as globals when they are loaded.

use super::btf::{Btf, BtfError};

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $structure:literal . $member:literal,)*) => {
        /// Byte offsets of members in the running kernel's structures.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$doc])* pub $field: u32,)*
            /// `file.f_count` or `file.f_ref`: how many references a file has.
            pub file_references: FileReferences,
            /// `sock.sk_protocol`, where it is a plain `u16` (since 5.6) and not a bit-field.
            pub sock_protocol: Option<u32>,
        }

        impl Offsets {
            /// Looks all of them up.
            ///
            /// # Errors
            /// The first member that this kernel does not have.
            pub fn read(btf: &Btf<'_>) -> Result<Self, BtfError> {
                Ok(Self {
                    $($field: btf.offset($structure, $member)?,)*
                    file_references: FileReferences::read(btf)?,
                    sock_protocol: btf.offset("sock", "sk_protocol").ok(),
                })
            }
        }
    };
}

offsets! {
    /// `task_struct.files`: a pointer to the open files of a task.
    task_files = "task_struct"."files",
    /// `files_struct.fdt`: a pointer to the table of descriptors.
    files_fdt = "files_struct"."fdt",
    /// `fdtable.max_fds`: how many descriptors the table has room for (`unsigned int`).
    fdtable_max_fds = "fdtable"."max_fds",
    /// `fdtable.fd`: a pointer to the array of pointers to files.
    fdtable_fd = "fdtable"."fd",
    /// `file.f_inode`: a pointer.
    file_inode = "file"."f_inode",
    /// `file.private_data`: for a socket's file, a pointer to its `struct socket`.
    file_private_data = "file"."private_data",
    /// `inode.i_ino`: the number that `ss` and `/proc/PID/fd` show.
    inode_ino = "inode"."i_ino",
    /// `inode.i_mode` (`u16`): `S_IFSOCK` marks a socket.
    inode_mode = "inode"."i_mode",
    /// `socket.type` (`short`): `SOCK_STREAM` is 1.
    socket_type = "socket"."type",
    /// `socket.sk`: a pointer to the `struct sock`.
    socket_sk = "socket"."sk",
    /// `sock_common.skc_family` (`u16`).
    sock_family = "sock_common"."skc_family",
    /// `sock_common.skc_state` (`u8`).
    sock_state = "sock_common"."skc_state",
    /// `sock_common.skc_dport`: the peer's port, network byte order.
    sock_dport = "sock_common"."skc_dport",
    /// `sock_common.skc_num`: the own port, host byte order.
    sock_num = "sock_common"."skc_num",
    /// `sock_common.skc_daddr`: the peer's IPv4 address.
    sock_daddr = "sock_common"."skc_daddr",
    /// `sock_common.skc_rcv_saddr`: the own IPv4 address.
    sock_rcv_saddr = "sock_common"."skc_rcv_saddr",
    /// `sock_common.skc_v6_daddr`: the peer's IPv6 address. A kernel built without IPv6 has no such member.
    sock_v6_daddr = "sock_common"."skc_v6_daddr",
    /// `sock_common.skc_v6_rcv_saddr`: the own IPv6 address.
    sock_v6_rcv_saddr = "sock_common"."skc_v6_rcv_saddr",
    /// `sock_common.skc_net`: a pointer to the network namespace.
    sock_net = "sock_common"."skc_net",
    /// `net.ns.inum` (`u32`): the namespace's inode number.
    net_inum = "net"."ns.inum",
    /// `tcp_sock.copied_seq` (`u32`): the sequence number of the next byte the program has not read yet.
    tcp_copied_seq = "tcp_sock"."copied_seq",
    /// `tcp_sock.write_seq` (`u32`): one past the sequence number of the last byte the program has written.
    tcp_write_seq = "tcp_sock"."write_seq",
    /// `unix_sock.peer`: a pointer to the other end's `struct sock`.
    unix_peer = "unix_sock"."peer",
    /// `unix_sock.addr`: a pointer to the `struct unix_address` it is bound to, or null.
    unix_addr = "unix_sock"."addr",
    /// `unix_address.len` (`int`): length of the address, its family included.
    unix_address_len = "unix_address"."len",
    /// `unix_address.name`: the `struct sockaddr_un` itself (a flexible array of one); its path begins 2 bytes later.
    unix_address_name = "unix_address"."name",
}

/// Where and how `struct file` counts its references, to tell the last `close` of a socket from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileReferences {
    /// `f_count`, up to 6.12: an `atomic_long_t`, 1 when there is one reference.
    Count(u32),
    /// `f_ref`, since 6.13: a `file_ref_t`, 0 when there is one reference (`FILE_REF_ONEREF`).
    Ref(u32),
}

impl FileReferences {
    fn read(btf: &Btf<'_>) -> Result<Self, BtfError> {
        btf.offset("file", "f_ref").map(Self::Ref).or_else(|_| btf.offset("file", "f_count").map(Self::Count))
    }

    /// Offset in bytes of the 64-bit counter.
    #[must_use]
    pub fn offset(self) -> u32 {
        match self {
            Self::Count(offset) | Self::Ref(offset) => offset,
        }
    }

    /// The counter's value while exactly one reference is left.
    #[must_use]
    pub fn one_reference(self) -> u64 {
        match self {
            Self::Count(_) => 1,
            Self::Ref(_) => 0,
        }
    }
}
