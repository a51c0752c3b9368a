//! Contexts between hosts (`--propagate`, docs/propagation.md): which trace a request belongs to ([`work`]), and what carries it, a TCP
//! option ([`options`]) or a header ([`headers`], [`head`]). Without `--propagate` none of it is loaded, and the two calls from the system calls'
//! programs are removed by the verifier.

mod adopt;
mod head;
mod headers;
mod named;
mod options;
mod work;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ktime_get_ns, generated},
    macros::map,
    maps::LruHashMap,
};
use syspan_abi::{
    Counter, Header, Kind, Observed, SocketState, direction, origin,
    propagation::{Carried, ContextEvent, Outgoing, Place, carrier, meaning},
    verdict,
};

use crate::{
    config::config,
    emit::Room,
    maps::{RING, SOCKETS, count},
    payload, socket,
    thread::{self, Call, Caller},
};

/// Socket cookie -> the request that it sends next: an observed process's connections to servers. Resized at load.
#[map]
pub static CLIENTS: LruHashMap<u64, Outgoing> = LruHashMap::with_max_entries(1, 0);

/// Contexts that arrived and were not read yet. Resized at load.
#[map]
pub static ARRIVED: LruHashMap<Place, Carried> = LruHashMap::with_max_entries(1, 0);

/// 16 bytes as the programs compare and copy them.
pub type TraceId = [u64; 2];

/// A call that sends is entered: how it says where its bytes are ([`thread::op`]), and its arguments.
#[derive(Clone, Copy)]
pub struct Sending {
    pub op: u32,
    pub address: u64,
    pub length: u64,
}

/// A call that sends on a followed socket is entered: if it begins a message of a client, that is a request, and the ids of its
/// span are made now, before TCP sees the first byte.
#[inline(always)]
pub fn sending(inode: u64, state: *mut SocketState, call: Sending) {
    // SAFETY: a word of a map value.
    if config!(propagate) != carrier::NONE {
        // SAFETY: a word of a map value.
        let last = unsafe { (*state).last };
        if last != direction::WRITE + 1 {
            begins(inode, call, last != 0);
        }
    }
}

/// The same for a socket that was connected before the agent came and is used for the first time: gives the position.
#[inline(always)]
pub fn sending_first(inode: u64, fd: u64, call: Sending) -> Option<u32> {
    if config!(propagate) == carrier::NONE {
        return None;
    }
    announce(fd);
    begins(inode, call, false);
    socket::sequence(SOCKETS.get_ptr_mut(inode)?, true)
}

#[inline(always)]
fn begins(inode: u64, call: Sending, followed: bool) {
    let (address, length) = payload::first_buffer(call.op, call.address, call.length);
    if config!(propagate) == carrier::HEADERS {
        let sent = message_sent(inode, 0);
        if sent != message::NONE {
            headers::plan(inode, address, length, followed as u64, (sent == message::CERTAIN) as u64);
        }
        return;
    }
    let context = named::find(address, length);
    message_sent(inode, context);
    named::back(context);
}

/// A call has connected a socket, or begun to: what is sent on it first is sent for the request that the caller works for.
#[inline(always)]
pub fn connected(inode: u64) {
    if config!(propagate) != carrier::NONE {
        connection_opened(inode);
    }
}

/// A call has sent bytes on a followed socket: tells what was sent with them, if anything was. The time is that of its entry, as the
/// bytes' is.
#[inline(always)]
pub fn sent(state: *mut SocketState, call: &Call) {
    if config!(propagate) == carrier::HEADERS {
        // SAFETY: a word of a map value.
        let tcp = unsafe { (*state).tcp };
        if let Some(done) = headers::done(tcp) {
            header_sent(call.socket, call.time, done.position as u64, done.offset as u64, done.flags as u64);
        }
    }
}

/// A call has received bytes from a followed socket: if they begin a message, the thread works for another request from now on.
#[inline(always)]
pub fn received(state: *mut SocketState, call: &Call, length: u32) {
    // SAFETY: a word of a map value.
    if config!(propagate) != carrier::NONE && unsafe { (*state).last } != direction::READ + 1 {
        let position = socket::position_of_read(state, call, length);
        if response_received(call.socket) != 0 {
            return;
        }
        let (address, room) = payload::first_buffer(call.op, call.address, call.length);
        let first = payload::first_word(address);
        let mut flags = work::SAMPLED;
        if work::is_request(first) {
            let length = if room < length as u64 { room } else { length as u64 };
            flags = header_received(call.socket, position as u64, address, length) as u32;
        }
        if message_received(call.socket, position as u64, first, flags as u64) != 0 {
            request_begun(call.socket);
        }
    }
}

/// The last descriptor of a socket is closed.
#[inline(always)]
pub fn closed(inode: u64) {
    if config!(propagate) != 0 {
        work::forget(inode);
    }
}

// Functions of their own with plain numbers as arguments, so that the verifier checks each once. They do not call each other: with their
// caller they have 512 bytes of stack together.

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn announce(fd: u64) -> u64 {
    if let Some(file) = socket::of_descriptor(fd) {
        let caller = current();
        // SAFETY: plain helper.
        let time = unsafe { bpf_ktime_get_ns() };
        socket::first_sight(file, caller, thread::turn(caller.tid), time, origin::UNKNOWN);
    }
    0
}

/// What [`message_sent`] says of a message.
mod message {
    /// No client's, or it is to go as it is.
    pub const NONE: u64 = 0;
    /// A client begins it.
    pub const CERTAIN: u64 = 1;
    /// A client within this host begins it, and it is not certain for which request: it is given no header.
    pub const UNCERTAIN: u64 = 2;
}

/// A message is about to be sent: one of [`message`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn message_sent(inode: u64, context: u64) -> u64 {
    let Some(state) = SOCKETS.get_ptr_mut(inode) else { return message::NONE };
    let caller = current();
    // SAFETY: words of a map value.
    let (tcp, how, spoken) = unsafe { ((*state).tcp, (*state).origin, (*state).verdict) };
    if work::answered(inode, caller) || how == origin::ACCEPTED {
        return message::NONE;
    }
    let turn = thread::turn(caller.tid);
    let mut trace = work::call(inode, caller, turn);
    if let Some((header, span)) = named::ids(context) {
        // Who makes a header says whose child the next one is. One that is passed on unchanged leaves this call out.
        if !work::is_passed_on(inode, header, span) {
            return message::NONE;
        }
        trace = Some(header);
    }
    // Within the host the ends of the connection are joined by themselves, unless a header says something else.
    let uncertain = trace.is_none() && config!(propagate) == carrier::HEADERS && socket::is_local(tcp);
    let found = if uncertain { message::UNCERTAIN } else { message::CERTAIN };
    // A trace of its own would take a statement out of its request's, and a database hardly goes on with it.
    if trace.is_none() && spoken == verdict::SQL {
        return message::NONE;
    }
    let Some(outgoing) = CLIENTS.get_ptr_mut(cookie(tcp)) else { return message::NONE };
    let Some(position) = socket::sequence(state, true) else { return message::NONE };
    // SAFETY: a map value. TCP reads it only once the first byte of this message is on its way, or finds it not ready.
    unsafe {
        if (*outgoing).ready != 0 && (*outgoing).position == position {
            return found; // the call before this one moved nothing
        }
        (&raw mut (*outgoing).ready).write_volatile(0);
        let span = random();
        let trace = match trace {
            Some(trace) => trace,
            None => [random(), random()],
        };
        (*outgoing).trace_id = core::mem::transmute::<TraceId, [u8; 16]>(trace);
        (*outgoing).span_id = span.to_ne_bytes();
        (*outgoing).position = position;
        (&raw mut (*outgoing).ready).write_volatile(1);
        // Of a header it is told only once it was inserted.
        if config!(propagate) == carrier::TCP {
            tell(caller, inode, Told::now(turn, position, meaning::SENT), trace, span);
        }
    }
    found
}

/// A request was sent with a header that has its context. `offset`: where the header was inserted, if it was.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn header_sent(inode: u64, time: u64, position: u64, offset: u64, flags: u64) -> u64 {
    let Some(state) = SOCKETS.get_ptr_mut(inode) else { return 0 };
    // SAFETY: a word of a map value.
    let Some(outgoing) = CLIENTS.get_ptr_mut(cookie(unsafe { (*state).tcp })) else { return 0 };
    let caller = current();
    // SAFETY: plain bytes of a map value.
    let (trace, span) = unsafe {
        (core::mem::transmute::<[u8; 16], TraceId>((*outgoing).trace_id), u64::from_ne_bytes((*outgoing).span_id))
    };
    let turn = thread::turn(caller.tid);
    let (position, offset, flags) = (position as u32, offset as u32, flags as u32);
    let told = Told { time, turn, position, meaning: meaning::SENT, offset, flags };
    tell(caller, inode, told, trace, span);
    0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn connection_opened(inode: u64) -> u64 {
    let caller = current();
    work::open(inode, caller, thread::turn(caller.tid));
    0
}

/// A server has received a request: if its head has a valid `traceparent`, that arrived as a TCP option's context does. Gives the flags.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn header_received(inode: u64, position: u64, address: u64, length: u64) -> u64 {
    let mut flags = work::SAMPLED as u64;
    let Some(room) = Room::take() else {
        count(Counter::Preempted);
        return flags;
    };
    if head::read(room, address, length).is_some() && head::has_context(room) {
        flags = context_arrived(room.index() as u64, inode, position);
    }
    room.give_back();
    flags
}

/// The head in a room is that of a request that was received, and has a context. Gives the flags.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn context_arrived(room: u64, inode: u64, position: u64) -> u64 {
    let Some(state) = SOCKETS.get_ptr_mut(inode) else { return work::SAMPLED as u64 };
    let Some(head) = head::of(Room::of(room as u32)) else { return work::SAMPLED as u64 };
    // SAFETY: the room's memory and a word of a map value.
    unsafe {
        if config!(propagate) == carrier::HEADERS {
            headers::remember(head);
        }
        let carried = core::mem::transmute::<[u64; 3], Carried>([(*head).trace[0], (*head).trace[1], (*head).span]);
        // What came beside a header that was passed on says more: the sender's own span.
        let place = place(inode, (*state).tcp, position);
        if ARRIVED.get(place).is_none_or(|beside| beside.trace_id != carried.trace_id) {
            let _ = ARRIVED.insert(place, carried, BPF_ANY as u64);
        }
        (*head).flags as u64
    }
}

/// Where a context arrived. A socket has a cookie only if somebody asked for it, as whoever brings a TCP option has.
#[inline(always)]
fn place(inode: u64, tcp: u64, position: u64) -> Place {
    let cookie = cookie(tcp);
    Place { cookie: if cookie == 0 { inode } else { cookie }, position: position as u32, reserved: 0 }
}

/// 1: the bytes came to a client, so they are the response to a call.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn response_received(inode: u64) -> u64 {
    let Some(state) = SOCKETS.get_ptr_mut(inode) else { return 1 };
    // SAFETY: words of a map value.
    let (tcp, how) = unsafe { ((*state).tcp, (*state).origin) };
    // SAFETY: only whether it is there.
    if how != origin::CONNECTED && unsafe { CLIENTS.get(cookie(tcp)) }.is_none() && !work::is_call(inode) {
        return 0;
    }
    let caller = current();
    work::response(inode, caller, thread::turn(caller.tid));
    1
}

/// The same bytes, if they came to a server. 1: they are a request whose trace is known now.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn message_received(inode: u64, position: u64, first: u64, flags: u64) -> u64 {
    let Some(state) = SOCKETS.get_ptr_mut(inode) else { return 0 };
    let caller = current();
    let turn = thread::turn(caller.tid);
    // SAFETY: a word of a map value.
    let place = place(inode, unsafe { (*state).tcp }, position);
    // SAFETY: an entry of the table is written as a whole, and dropped long after it was used.
    if let Some(&Carried { trace_id, span_id }) = unsafe { ARRIVED.get(place) } {
        let _ = ARRIVED.remove(place);
        // SAFETY: plain bytes.
        let trace = unsafe { core::mem::transmute::<[u8; 16], TraceId>(trace_id) };
        let span = u64::from_ne_bytes(span_id);
        tell(caller, inode, Told::now(turn, position as u32, meaning::ARRIVED), trace, span);
        if work::is_request(first) {
            work::request(inode, caller, trace, span, flags as u32);
            return 1;
        }
    } else if work::is_request(first) {
        let trace = [random(), random()];
        work::request(inode, caller, trace, 0, work::SAMPLED);
        tell(caller, inode, Told::now(turn, position as u32, meaning::BEGUN), trace, 0);
        return 1;
    }
    work::unknown(caller);
    0
}

/// And the caller works for it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn request_begun(inode: u64) -> u64 {
    let caller = current();
    work::begin(inode, caller, thread::turn(caller.tid));
    0
}

#[inline(always)]
fn current() -> Caller {
    Caller::new(Observed::default(), 0, 0)
}

/// A socket's cookie, the number that the programs on sockets know it by; 0 if nobody has asked for it, or it is no TCP socket.
#[inline(always)]
fn cookie(tcp: u64) -> u64 {
    if tcp == 0 { 0 } else { socket::kernel(tcp, config!(offsets.sk_cookie)) }
}

/// Part of an id. That a whole one is zero, which it must not be, happens once in 2^64.
#[inline(always)]
fn random() -> u64 {
    // SAFETY: plain helpers.
    let (high, low) = unsafe { (generated::bpf_get_prandom_u32(), generated::bpf_get_prandom_u32()) };
    (high as u64) << 32 | low as u64
}

/// What is told of a context.
struct Told {
    time: u64,
    turn: u32,
    position: u32,
    /// A [`meaning`] constant.
    meaning: u32,
    /// [`ContextEvent::offset`].
    offset: u32,
    /// [`ContextEvent::flags`].
    flags: u32,
}

impl Told {
    #[inline(always)]
    fn now(turn: u32, position: u32, meaning: u32) -> Self {
        // SAFETY: plain helper.
        Self { time: unsafe { bpf_ktime_get_ns() }, turn, position, meaning, offset: 0, flags: work::SAMPLED }
    }
}

#[inline(always)]
fn tell(caller: Caller, inode: u64, told: Told, trace: TraceId, span: u64) {
    // In the ring itself: the stack has no room for it.
    let Some(mut event) = RING.reserve::<ContextEvent>(0) else {
        count(Counter::NoticeLost);
        return;
    };
    let Caller { pid, tid, .. } = caller;
    let Told { time, turn, position, meaning, offset, flags } = told;
    event.write(ContextEvent {
        header: Header { kind: Kind::Context as u16, pid, tid, turn, time, socket: inode, ..Header::default() },
        // SAFETY: plain bytes.
        trace_id: unsafe { core::mem::transmute::<TraceId, [u8; 16]>(trace) },
        span_id: span.to_ne_bytes(),
        position,
        meaning,
        offset,
        flags,
    });
    // The bytes follow, and wake the agent if much is waiting.
    event.submit(BPF_RB_NO_WAKEUP as u64);
}
