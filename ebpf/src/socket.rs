//! From a descriptor to the kernel's socket: its identity, addresses and sequence numbers.
//!
//! `current->files->fdt->fd[fd]` ([`task`]), then `->{f_inode, private_data}`: the inode number names the socket for as long as it lives,
//! whoever holds a descriptor of it. All offsets come from BTF.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{bpf_get_current_comm, bpf_probe_read_kernel, generated},
};
use syspan_abi::{Counter, MAX_PATH, Positions, SocketEvent, SocketState, origin, verdict};

use crate::{
    config::config,
    emit,
    maps::{SOCKETS, count},
    task,
    thread::{Call, Caller},
};

/// `S_IFMT` and `S_IFSOCK` of an inode's mode.
const MODE_TYPE: u16 = 0o170_000;
const MODE_SOCKET: u16 = 0o140_000;

const SOCK_STREAM: u16 = 1;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// `sk_state` of a socket that listens.
const TCP_LISTEN: u8 = 10;
/// `sk_state` of a connected socket.
const TCP_ESTABLISHED: u8 = 1;
/// `sk_state` of a socket that is not connected.
const TCP_CLOSE: u8 = 7;

/// A descriptor's file that may be a socket.
#[derive(Clone, Copy)]
pub struct File {
    /// Address of the kernel's `struct file`.
    pub address: u64,
    /// Address of its inode.
    pub inode_address: u64,
    /// Its inode number.
    pub inode: u64,
}

/// Reads a kernel value at `base + offset`; 0 (all bits) when the address is not readable.
#[inline(always)]
pub fn kernel<T: Copy + Default>(base: u64, offset: u32) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T) }.unwrap_or_default()
}

/// The file behind a descriptor of the calling process.
#[inline(always)]
pub fn of_descriptor(fd: u64) -> Option<File> {
    let address = task::file(fd)?;
    let inode_address: u64 = kernel(address, config!(offsets.file_inode));
    Some(File { address, inode_address, inode: kernel(inode_address, config!(offsets.inode_ino)) })
}

/// Whether a file is a socket.
#[inline(always)]
pub fn is_socket(file: File) -> bool {
    kernel::<u16>(file.inode_address, config!(offsets.inode_mode)) & MODE_TYPE == MODE_SOCKET
}

/// Whether the descriptor that is about to be closed is the last one of its file.
#[inline(always)]
pub fn is_last(file: u64) -> bool {
    let references: u64 = kernel(file, config!(offsets.file_refs));
    references == config!(offsets.file_refs_last) as u64
}

/// What is known of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Announced to the agent.
    Followed(*mut SocketState),
    /// Not worth following: the agent's verdict, or no connected stream.
    Ignored,
    /// Never seen, or its announcement was lost.
    Unknown,
}

/// Looks a file up. Files of other file systems may have a socket's number, but not its inode.
#[inline(always)]
pub fn state(file: File) -> State {
    let Some(state) = SOCKETS.get_ptr_mut(file.inode) else { return State::Unknown };
    // SAFETY: a word of a map value.
    if unsafe { (*state).inode } != file.inode_address {
        return State::Unknown;
    }
    judged(state)
}

/// Looks a socket up that was found to be one before.
#[inline(always)]
pub fn known(inode: u64) -> State {
    match SOCKETS.get_ptr_mut(inode) {
        Some(state) => judged(state),
        None => State::Unknown,
    }
}

#[inline(always)]
fn judged(state: *mut SocketState) -> State {
    // SAFETY: words of a map value.
    let (verdict, announced) = unsafe { ((*state).verdict, (*state).announced) };
    if verdict == verdict::IGNORE {
        State::Ignored
    } else if announced == 0 {
        State::Unknown
    } else {
        State::Followed(state)
    }
}

/// A socket is connected, accepted or used for the first time: tells the agent, and follows it from now on if it is a stream.
#[inline(always)]
pub fn first_sight(file: File, caller: Caller, turn: u32, time: u64, how: u32) -> Option<*mut SocketState> {
    if !is_socket(file) {
        return None;
    }
    let socket: u64 = kernel(file.address, config!(offsets.file_private));
    let sk: u64 = kernel(socket, config!(offsets.socket_sk));
    let kind: u16 = kernel(socket, config!(offsets.socket_type));
    let family: u16 = kernel(sk, config!(offsets.sk_family));
    let connection: u8 = kernel(sk, config!(offsets.sk_state));
    let protocol: u16 = kernel(sk, config!(offsets.sk_protocol));
    let inet = (family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP;
    let stream = kind == SOCK_STREAM && (inet || family == AF_UNIX);
    if stream && (connection == TCP_LISTEN || (connection == TCP_CLOSE && how != origin::CONNECTED)) {
        return None; // may be connected later
    }

    let mut state = SocketState {
        inode: file.inode_address,
        tcp: if inet { sk } else { 0 },
        verdict: if stream { verdict::FOLLOW } else { verdict::IGNORE },
        last: 0,
        used: [0; 2],
        moved: [0; 2],
        announced: 0,
        origin: how,
    };
    if stream {
        let Some(room) = emit::Room::take() else {
            count(Counter::Preempted);
            return None;
        };
        if let Some(scratch) = room.scratch() {
            // SAFETY: the room's memory, large enough for the event.
            unsafe {
                let event = (*scratch).bytes.as_mut_ptr().cast::<SocketEvent>();
                describe(&mut *event, sk, family);
                let header = &mut (*event).header;
                emit::header(header, syspan_abi::Kind::Socket, caller, turn, time, file.inode);
                (*event).origin = how;
                // Of a socket that has just been connected; of others it is not known what came before.
                let new = how != origin::UNKNOWN && (!inet || connection == TCP_ESTABLISHED);
                (*event).positions = if new { positions(&raw mut state) } else { Positions::default() };
                (*event).reserved = 0;
                state.announced = emit::notice(event) as u32;
            }
        }
        room.give_back();
    }
    if SOCKETS.insert(file.inode, state, BPF_ANY as u64).is_err() {
        count(Counter::MapFull);
    }
    if stream { SOCKETS.get_ptr_mut(file.inode) } else { None }
}

/// Fills in addresses.
#[inline(always)]
fn describe(event: &mut SocketEvent, sk: u64, family: u16) {
    event.family = family as u32;
    event.local = [0; 16];
    event.peer = [0; 16];
    event.local_port = 0;
    event.peer_port = 0;
    event.path_length = 0;
    event.path_of_peer = 0;
    event.path = [0; MAX_PATH];
    event.comm = bpf_get_current_comm().unwrap_or_default();
    let net: u64 = kernel(sk, config!(offsets.sk_net));
    event.netns = kernel(net, config!(offsets.net_inum));
    if family == AF_UNIX {
        let peer: u64 = kernel(sk, config!(offsets.unix_peer));
        event.local = opaque(sk);
        event.peer = opaque(peer);
        path(event, sk, 0);
        if event.path_length == 0 && peer != 0 {
            path(event, peer, 1);
        }
        return;
    }
    event.local_port = kernel::<u16>(sk, config!(offsets.sk_num)) as u32;
    event.peer_port = u16::from_be(kernel::<u16>(sk, config!(offsets.sk_dport))) as u32;
    if family == AF_INET {
        let local: [u8; 4] = kernel(sk, config!(offsets.sk_rcv_saddr));
        let peer: [u8; 4] = kernel(sk, config!(offsets.sk_daddr));
        event.local = widen(local);
        event.peer = widen(peer);
    } else {
        event.local = kernel(sk, config!(offsets.sk_v6_rcv_saddr));
        event.peer = kernel(sk, config!(offsets.sk_v6_daddr));
    }
}

/// Whether a TCP socket's other end is on this host: it has the same address, or one of the loopback interface.
#[inline(always)]
pub fn is_local(tcp: u64) -> bool {
    if kernel::<u16>(tcp, config!(offsets.sk_family)) == AF_INET {
        let peer: [u8; 4] = kernel(tcp, config!(offsets.sk_daddr));
        let local: u32 = kernel(tcp, config!(offsets.sk_rcv_saddr));
        return peer[0] == 127 || local == u32::from_ne_bytes(peer);
    }
    let peer: [u64; 2] = kernel(tcp, config!(offsets.sk_v6_daddr));
    let local: [u64; 2] = kernel(tcp, config!(offsets.sk_v6_rcv_saddr));
    peer[0] == local[0] && peer[1] == local[1]
}

/// A number that is equal for equal kernel addresses and does not tell them.
#[inline(always)]
fn opaque(address: u64) -> [u8; 16] {
    let mixed = (address ^ config!(address_key)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed.to_ne_bytes());
    bytes
}

#[inline(always)]
fn widen(v4: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&v4);
    bytes
}

/// Copies the path a Unix socket is bound to, if it is bound.
#[inline(always)]
fn path(event: &mut SocketEvent, sk: u64, of_peer: u32) {
    let address: u64 = kernel(sk, config!(offsets.unix_addr));
    if address == 0 {
        return;
    }
    // `len` counts `sun_family` (2 bytes) as well.
    let length: u32 = kernel(address, config!(offsets.unix_addr_len));
    if length <= 2 {
        return;
    }
    let name = address + config!(offsets.unix_addr_name) as u64 + 2;
    // SAFETY: the destination is a fixed-size array; the helper checks the source.
    let failed =
        unsafe { generated::bpf_probe_read_kernel(event.path.as_mut_ptr().cast(), MAX_PATH as u32, name as *const _) };
    if failed == 0 {
        let length = length - 2;
        event.path_length = if length > MAX_PATH as u32 { MAX_PATH as u32 } else { length };
        event.path_of_peer = of_peer;
    }
}

/// The TCP sequence number of the next byte that the process will read or write; `None` for Unix sockets.
#[inline(always)]
pub fn sequence(state: *mut SocketState, writing: bool) -> Option<u32> {
    // SAFETY: a map value.
    let tcp = unsafe { (*state).tcp };
    if tcp == 0 {
        return None;
    }
    Some(kernel(tcp, if writing { config!(offsets.tcp_write_seq) } else { config!(offsets.tcp_copied_seq) }))
}

/// Where both streams stand.
#[inline(always)]
pub fn positions(state: *mut SocketState) -> Positions {
    let next = match (sequence(state, false), sequence(state, true)) {
        (Some(read), Some(write)) => [read, write],
        // SAFETY: a map value or the caller's.
        _ => unsafe { (*state).moved },
    };
    Positions { next, known: 1 }
}

/// The same for a call that has read from a TCP socket, whose position no count tells.
#[inline(always)]
pub fn position_of_read(state: *mut SocketState, call: &Call, length: u32) -> u32 {
    match sequence(state, false) {
        _ if call.positioned != 0 => call.position,
        Some(next) => next.wrapping_sub(length),
        None => 0,
    }
}

/// The position of the first of `length` bytes that a call has moved.
#[inline(always)]
pub fn position(state: *mut SocketState, call: &Call, writing: bool, length: u32) -> u32 {
    if call.positioned != 0 {
        return call.position;
    }
    // At first sight the number is taken after the call. (A read that also met the peer's FIN is one too far then, which
    // nothing follows; that is why it is taken at entry otherwise.)
    if let Some(sequence) = sequence(state, writing) {
        return sequence.wrapping_sub(length);
    }
    // SAFETY: a map value.
    let moved = unsafe { &mut (*state).moved[writing as usize] };
    let position = *moved;
    *moved = position.wrapping_add(length);
    position
}
