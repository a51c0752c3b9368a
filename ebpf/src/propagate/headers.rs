//! The `traceparent` header of a request: inserted where there is none, given this host's span where it was only passed on.
//!
//! `BPF_PROG_TYPE_SK_MSG` on a SOCKHASH of clients' connections (`bpf_msg_push_data` since 5.0); `BPF_PROG_TYPE_SOCK_OPS` on the root of cgroup v2
//! puts them there. What is done to a message is decided where the write is entered ([`plan`]), from the application's memory; it is done where TCP
//! is handed the bytes ([`insert_header`]); the agent is told at the write's exit ([`tell`]), where it is known to have happened.
//!
//! Bytes are inserted only where a request begins **by the lengths of all messages before it** on that connection. What merely looks like a
//! request, in a body that somebody sends through a proxy, is left alone: more bytes than its length says would be the beginning of another request.

use core::hint::black_box;

use aya_ebpf::{
    bindings::{
        BPF_ANY, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops, sk_action::SK_PASS,
    },
    helpers::{bpf_get_current_pid_tgid, generated},
    macros::{map, sk_msg, sock_ops},
    maps::{HashMap, LruHashMap},
    programs::{SkMsgContext, SockOpsContext},
};
use syspan_abi::{
    Counter,
    propagation::{HEADER_BEGIN, HEADER_LENGTH, Outgoing, carrier},
};

use super::{
    CLIENTS, TraceId, cookie,
    head::{self, LONGEST},
    options, work,
};
use crate::{
    config::config,
    emit::Room,
    maps::{SOCKETS, THREADS, count},
    socket::{self, kernel},
    thread::op,
};

/// Socket cookie -> the socket, whose messages [`insert_header`] sees. A plain hash in this object: a SOCKHASH cannot even be made without
/// `CAP_NET_ADMIN`, so the agent makes it one when it is asked for headers (its kernel/sockhash.rs).
#[map]
static CLIENT_SOCKETS: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// Socket cookie -> what it has sent and is sending. Resized at load.
#[map]
static STREAMS: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(1, 0);

/// The contexts that requests of a process came with -> 1. A header that names one of them was passed on as it came. Resized at load.
#[map]
static RECEIVED: LruHashMap<Received, u32> = LruHashMap::with_max_entries(1, 0);

/// A context, and whose request came with it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Received {
    trace: TraceId,
    span: u64,
    pid: u64,
}

/// What a client's connection sends.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Stream {
    /// A [`framing`] constant.
    framing: u32,
    /// Where the next request begins.
    next: u32,
    /// Where the message under way begins.
    position: u32,
    /// How long it is by itself.
    length: u32,
    /// How long its head is.
    head: u32,
    /// Where in it something is done.
    offset: u32,
    /// An [`action`] constant.
    action: u32,
    /// 1: it is done.
    done: u32,
    /// The flags of its context.
    flags: u32,
    reserved: u32,
}

/// [`Stream::framing`].
mod framing {
    /// Nothing was sent yet: a request begins with the first byte.
    pub const FRESH: u32 = 0;
    /// It is known where the next request begins.
    pub const KNOWN: u32 = 1;
    /// It is not, and never will be.
    pub const LOST: u32 = 2;
}

/// [`Stream::action`].
mod action {
    /// The message is left alone.
    pub const NONE: u32 = 0;
    /// A header is inserted.
    pub const INSERT: u32 = 1;
    /// The span of its header is replaced.
    pub const REPLACE: u32 = 2;
}

/// Messages up to so many bytes are sent in one piece; of longer ones, every piece fills segments.
const SMALL: u32 = 16 * 1024;
/// Digits of a span.
const SPAN_DIGITS: u32 = 16;
/// Where a `traceparent`'s value has its span.
const SPAN_AT: u32 = 36;

// === Which connections

#[sock_ops]
pub fn client_sockets(context: SockOpsContext) -> u32 {
    match context.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            options::connecting(&context);
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(context.ops),
        _ => {}
    }
    1
}

#[inline(always)]
fn established(ops: *mut bpf_sock_ops) {
    let mut key = options::cookie(ops);
    // SAFETY: only whether it is there.
    if unsafe { CLIENTS.get(key) }.is_none() {
        return;
    }
    let sockets = (&raw const CLIENT_SOCKETS).cast_mut().cast();
    // SAFETY: the program's context, a map, and the stack.
    let refused = unsafe { generated::bpf_sock_hash_update(ops, sockets, (&raw mut key).cast(), BPF_ANY as u64) };
    if refused != 0 {
        count(Counter::MapFull);
        return;
    }
    let _ = STREAMS.insert(key, Stream::default(), BPF_ANY as u64);
}

// === What is to be done

/// A message of a client's is about to be sent, whose first buffer this is. `followed`: something was received on the connection before it.
/// `insert`: a header may be inserted.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn plan(inode: u64, address: u64, length: u64, followed: u64, insert: u64) -> u64 {
    if config!(propagate) != carrier::HEADERS {
        return 0; // nothing of it to verify
    }
    let Some(state) = SOCKETS.get_ptr_mut(inode) else { return 0 };
    // SAFETY: a word of a map value.
    let tcp = unsafe { (*state).tcp };
    let key = cookie(tcp);
    let Some(outgoing) = CLIENTS.get_ptr_mut(key) else { return 0 };
    let stream = match STREAMS.get_ptr_mut(key) {
        Some(stream) => stream,
        // Older than the agent: what it has sent so far is over once it was answered.
        None if followed != 0 => {
            let _ = STREAMS.insert(key, Stream::default(), BPF_ANY as u64);
            let Some(stream) = STREAMS.get_ptr_mut(key) else { return 0 };
            stream
        }
        None => return 0,
    };
    // SAFETY: map values.
    unsafe {
        (*stream).action = action::NONE;
        (*stream).done = 0;
        let position = (*outgoing).position;
        match (*stream).framing {
            framing::FRESH => {}
            framing::KNOWN if (*stream).next == position => {}
            _ => return 0,
        }
        (*stream).framing = framing::LOST;
        (*stream).position = position;
    }
    if address == 0 || length == 0 || kernel::<u64>(tcp, config!(offsets.sk_ulp)) != 0 {
        return 0;
    }
    let Some(room) = Room::take() else {
        count(Counter::Preempted);
        return 0;
    };
    if let Some(head) = head::read(room, address, length) {
        // With nothing else on its way, TCP takes the head and what is inserted as a whole: nobody is told of bytes that were not sent.
        // SAFETY: a map value.
        let acknowledged: u32 = kernel(tcp, config!(offsets.tcp_snd_una));
        let is_quiet = unsafe { acknowledged == (*stream).position };
        decide(room, inode, stream, outgoing, head, is_quiet, insert != 0);
    }
    room.give_back();
    0
}

#[inline(always)]
fn decide(
    room: Room,
    inode: u64,
    stream: *mut Stream,
    outgoing: *mut Outgoing,
    head: *mut head::Head,
    is_quiet: bool,
    insert: bool,
) {
    // SAFETY: map values.
    unsafe {
        if (*head).length == 0 {
            return;
        }
        (*stream).head = (*head).length;
        (*stream).length = (*head).length + (*head).body;
        (*stream).next = (*stream).position.wrapping_add((*stream).length);
        if (*head).endless == 0 {
            (*stream).framing = framing::KNOWN;
        }
        if !is_quiet {
            return;
        }
        if (*head).traceparents == 0 {
            if !insert {
                return;
            }
            (*stream).flags = work::flags(inode);
            (*stream).offset = (*head).line;
            (*stream).action = action::INSERT;
        } else if head::has_context(room) && RECEIVED.get(received(head)).is_some() {
            (*outgoing).trace_id = core::mem::transmute::<TraceId, [u8; 16]>((*head).trace);
            (*stream).flags = (*head).flags;
            (*stream).offset = (*head).value + SPAN_AT;
            (*stream).action = action::REPLACE;
        }
    }
}

/// The context of the head of a request that the calling process has received, or sends.
#[inline(always)]
unsafe fn received(head: *mut head::Head) -> Received {
    // SAFETY: the room's memory.
    unsafe { Received { trace: (*head).trace, span: (*head).span, pid: bpf_get_current_pid_tgid() >> 32 } }
}

/// A request of the calling process came with this context.
#[inline(always)]
pub unsafe fn remember(head: *mut head::Head) {
    // SAFETY: the room's memory, by the caller.
    let _ = RECEIVED.insert(unsafe { received(head) }, 1, BPF_ANY as u64);
}

// === Doing it

/// A message, or the next part of a long one, is handed to TCP in the thread that sends it.
#[sk_msg]
pub fn insert_header(context: SkMsgContext) -> u32 {
    let _ = insert(&context);
    // TCP is handed a message's pieces one by one and sends the first at once; Nagle's algorithm would hold back the second until that was
    // acknowledged, for 40 ms. The kernel cuts one of some dozens where a page ends.
    let size = context.size();
    if size <= SMALL {
        // SAFETY: the program's context. What cannot be put together goes out in pieces.
        unsafe { generated::bpf_msg_pull_data(context.msg, 0, size, 0) };
    }
    SK_PASS
}

#[inline(always)]
fn insert(context: &SkMsgContext) -> Option<()> {
    let (stream, outgoing) = sent_by_caller(context)?;
    // SAFETY: map values, and the message's bytes within the bounds that are checked.
    unsafe {
        let (offset, what) = ((*stream).offset, (*stream).action);
        if what == action::NONE || !(2..=LONGEST).contains(&offset) || (*stream).head > context.size() {
            return None;
        }
        (*stream).next = (*stream).position.wrapping_add((*stream).length);
        if what == action::INSERT {
            let before = bytes(context, 0, offset.wrapping_sub(2), 2)?;
            if before.read() != b'\r' || before.add(1).read() != b'\n' {
                return None; // the application has changed it meanwhile
            }
            context.push_data(offset, HEADER_LENGTH, 0).ok()?;
            // In one piece with what is around it, as it was before.
            let Some(header) = bytes(context, 1, offset, HEADER_LENGTH) else {
                // Inserted bytes that cannot be written are taken out again.
                let _ = context.pop_data(offset, HEADER_LENGTH, 0);
                return None;
            };
            write_header(header, outgoing, (*stream).flags);
            (*stream).next = (*stream).next.wrapping_add(HEADER_LENGTH);
        } else {
            let span = bytes(context, 0, offset.wrapping_sub(1), SPAN_DIGITS + 2)?;
            if span.read() != b'-' || span.add(SPAN_DIGITS as usize + 1).read() != b'-' {
                return None;
            }
            write_digits(span.add(1), &(*outgoing).span_id);
        }
        (*stream).done = 1;
    }
    Some(())
}

/// The connection on which the calling thread sends, if the message at hand is the planned one.
#[inline(always)]
fn sent_by_caller(context: &SkMsgContext) -> Option<(*mut Stream, *mut Outgoing)> {
    let thread = THREADS.get_ptr_mut(bpf_get_current_pid_tgid() as u32)?;
    // SAFETY: the thread's own entry, a map value, and the program's context.
    unsafe {
        let kind = (*thread).call.op;
        if !(op::BUFFER..=op::MESSAGE).contains(&kind) {
            return None;
        }
        let state = SOCKETS.get_ptr_mut((*thread).call.socket)?;
        let tcp = (*state).tcp;
        let key = cookie(tcp);
        let stream = STREAMS.get_ptr_mut(key)?;
        if (*stream).action == action::NONE || socket::sequence(state, true) != Some((*stream).position) {
            return None;
        }
        // The thread's call may have been another one, whose end was not seen.
        let own: u16 = kernel(tcp, config!(offsets.sk_num));
        let peer: u16 = kernel(tcp, config!(offsets.sk_dport));
        let message = context.msg;
        if (*message).local_port != own as u32 || (*message).remote_port != (peer as u32) << 16 {
            return None;
        }
        let outgoing = CLIENTS.get_ptr_mut(key)?;
        if (*outgoing).position != (*stream).position {
            return None;
        }
        Some((stream, outgoing))
    }
}

/// Some bytes of the message, which lie in one piece from its beginning to as many bytes `beyond` them.
#[inline(always)]
unsafe fn bytes(context: &SkMsgContext, beyond: u32, from: u32, length: u32) -> Option<*mut u8> {
    // SAFETY: the program's context; the bounds are checked.
    unsafe {
        if generated::bpf_msg_pull_data(context.msg, 0, from + length + beyond, 0) != 0 {
            return None;
        }
        // Hidden from the compiler, which would check a copy.
        let from = black_box(from);
        if from > LONGEST {
            return None;
        }
        let start = context.data() + from as usize;
        if start + length as usize > context.data_end() { None } else { Some(start as *mut u8) }
    }
}

#[inline(always)]
unsafe fn write_header(header: *mut u8, outgoing: *mut Outgoing, flags: u32) {
    // SAFETY: there is room for it.
    unsafe {
        header.cast::<[u8; HEADER_BEGIN.len()]>().write_unaligned(HEADER_BEGIN);
        let trace = header.add(HEADER_BEGIN.len());
        let [first, second] = (*outgoing).trace_id.as_ptr().cast::<[[u8; 8]; 2]>().read();
        write_digits(trace, &first);
        write_digits(trace.add(16), &second);
        trace.add(32).write(b'-');
        write_digits(trace.add(33), &(*outgoing).span_id);
        let rest = trace.add(49);
        let flags = flags as u8;
        rest.cast::<[u8; 5]>().write_unaligned([b'-', digit(flags >> 4), digit(flags), b'\r', b'\n']);
    }
}

#[inline(always)]
unsafe fn write_digits(to: *mut u8, id: &[u8; 8]) {
    for (index, byte) in id.iter().enumerate() {
        // SAFETY: there is room for two digits of each.
        unsafe {
            to.add(2 * index).write(digit(byte >> 4));
            to.add(2 * index + 1).write(digit(*byte));
        }
    }
}

/// The lower half of a byte as a hexadecimal digit.
#[inline(always)]
fn digit(byte: u8) -> u8 {
    let value = byte & 0xf;
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

// === What was done

/// What was done to a message.
pub struct Done {
    /// Where the message begins.
    pub position: u32,
    /// How far behind that a header was inserted; 0: it had one, which was changed.
    pub offset: u32,
    /// The header's flags.
    pub flags: u32,
}

/// What was done to the message that was sent last, told once.
#[inline(always)]
pub fn done(tcp: u64) -> Option<Done> {
    let stream = STREAMS.get_ptr_mut(cookie(tcp))?;
    // SAFETY: a map value.
    unsafe {
        if (*stream).done == 0 {
            return None;
        }
        (*stream).done = 0;
        let offset = if (*stream).action == action::INSERT { (*stream).offset } else { 0 };
        (*stream).action = action::NONE;
        Some(Done { position: (*stream).position, offset, flags: (*stream).flags })
    }
}
