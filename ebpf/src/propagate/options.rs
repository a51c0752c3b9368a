//! The TCP option: written on the segment that begins a request, and read from those that arrive.
//!
//! `BPF_PROG_TYPE_SOCK_OPS` on the root of cgroup v2; header options since Linux 5.10. Connections that an observed process opens
//! are asked about each segment (`WRITE_HDR_OPT`); connections that are accepted only about segments with an option that
//! the kernel does not know (`PARSE_UNKNOWN_HDR_OPT`), which are none where nobody sends any.
//!
//! An option on every segment would make receivers delay their acknowledgements: `tcp_measure_rcv_mss` takes the longer header
//! of small segments for payload. So it rides on one.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{
        BPF_ANY, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PARSE_HDR_OPT_CB,
        BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, bpf_sock_ops,
    },
    helpers::{bpf_get_current_task, generated},
    macros::sock_ops,
    programs::SockOpsContext,
};
use syspan_abi::propagation::{Carried, OPTION_KIND, OPTION_LENGTH, Outgoing, Place};

use super::{ARRIVED, CLIENTS};
use crate::{config::config, socket::kernel, thread};

/// `BPF_WRITE_HDR_TCP_CURRENT_MSS`: no segment yet, TCP asks how much room options will take.
const CURRENT_MSS: u32 = 1;
/// The SYN flag (RFC 9293 §3.1).
const SYN: u32 = 0x02;
/// A TCP header without options; its first words are two ports and the sequence number.
const TCP_HEADER: usize = 20;
const SEQUENCE: usize = 4;
/// A longer form of the option that others send: one byte of flags behind.
const LONGER: usize = OPTION_LENGTH as usize + 1;

/// The option as it is sent.
#[repr(C, packed)]
struct TcpOption {
    kind: u8,
    length: u8,
    carried: Carried,
}
const _: () = assert!(size_of::<TcpOption>() == OPTION_LENGTH as usize);

#[sock_ops]
pub fn tcp_option(context: SockOpsContext) -> u32 {
    let ops = context.ops;
    match context.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if connecting(&context) {
                add_flag(&context, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
            }
        }
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            add_flag(&context, BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG);
            // The segment that completes the handshake may bring the request (TCP_DEFER_ACCEPT).
            parse(ops);
        }
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => reserve(&context),
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB => write(ops),
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB => parse(ops),
        _ => {}
    }
    1
}

#[inline(always)]
fn add_flag(context: &SockOpsContext, flag: u32) {
    // It fails only for sockets that are no full ones yet, and for those there is nothing to do.
    let _ = context.set_cb_flags((context.cb_flags() | flag) as i32);
}

#[inline(always)]
pub fn cookie(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the program's context. It also gives the socket a cookie, which the system calls' programs then find.
    unsafe { generated::bpf_get_socket_cookie(ops.cast()) }
}

/// connect() is under way, in the thread that called it: says whether the connection is an observed process's.
#[inline(always)]
pub fn connecting(context: &SockOpsContext) -> bool {
    // SAFETY: plain helper.
    let process: u32 = kernel(unsafe { bpf_get_current_task() }, config!(offsets.task_tgid));
    thread::observed(process).is_some()
        && CLIENTS.insert(cookie(context.ops), Outgoing::default(), BPF_ANY as u64).is_ok()
}

/// The request that this connection is about to send.
#[inline(always)]
fn outgoing(ops: *mut bpf_sock_ops) -> Option<*mut Outgoing> {
    let outgoing = CLIENTS.get_ptr_mut(cookie(ops))?;
    // SAFETY: a word of a map value.
    if unsafe { (&raw const (*outgoing).ready).read_volatile() } == 0 { None } else { Some(outgoing) }
}

/// TCP asks how much room the options of a segment take. The answer counts for the segment's length as well, so it has to be the
/// same when the next segments are cut.
#[inline(always)]
fn reserve(context: &SockOpsContext) {
    let ops = context.ops;
    let Some(outgoing) = outgoing(ops) else { return };
    // SAFETY: the program's context and a map value.
    unsafe {
        let ahead = (*outgoing).position.wrapping_sub((*ops).snd_nxt) as i32;
        let begins = if context.arg(0) == CURRENT_MSS {
            ahead >= 0
        } else {
            ahead == 0 && (*ops).skb_len > 0 && (*ops).skb_tcp_flags & SYN == 0
        };
        if begins {
            // Without room (timestamps and three SACK blocks leave none) the request goes without.
            generated::bpf_reserve_hdr_opt(ops, OPTION_LENGTH as u32, 0);
        }
    }
}

/// TCP writes the options of a segment for which room was reserved. What is not used is filled up with no-operations.
#[inline(always)]
fn write(ops: *mut bpf_sock_ops) {
    let Some(outgoing) = outgoing(ops) else { return };
    let Some(segment) = Segment::of(ops) else { return };
    // SAFETY: a map value and the stack.
    unsafe {
        // What was taken for the first segment of the request may be an older one, sent again.
        if segment.sequence != (*outgoing).position {
            return;
        }
        let Outgoing { trace_id, span_id, .. } = *outgoing;
        let option = TcpOption { kind: OPTION_KIND, length: OPTION_LENGTH, carried: Carried { trace_id, span_id } };
        generated::bpf_store_hdr_opt(ops, (&raw const option).cast(), OPTION_LENGTH as u32, 0);
    }
}

/// A segment arrived whose header has an option that the kernel does not know.
#[inline(always)]
fn parse(ops: *mut bpf_sock_ops) {
    // Room for the longer form, in whole words for the verifier.
    let mut found = [0u64; 4];
    let bytes = (&raw mut found).cast::<u8>();
    // SAFETY: the helper searches for the kind in the first byte and writes at most the length it is given.
    unsafe {
        *bytes = OPTION_KIND;
        let length = generated::bpf_load_hdr_opt(ops, bytes.cast(), LONGER as u32, 0);
        if length < OPTION_LENGTH as i64 || *bytes.add(1) as i64 != length {
            return;
        }
        let [first, second, span] = bytes.add(offset_of!(TcpOption, carried)).cast::<[u64; 3]>().read_unaligned();
        let Some(segment) = Segment::of(ops) else { return };
        if segment.is_empty || first | second == 0 || span == 0 {
            return;
        }
        let carried = core::mem::transmute::<[u64; 3], Carried>([first, second, span]);
        let place = Place { cookie: cookie(ops), position: segment.sequence, reserved: 0 };
        // A full table drops what was not read for longest.
        let _ = ARRIVED.insert(place, carried, BPF_ANY as u64);
    }
}

/// What a segment's header tells.
struct Segment {
    sequence: u32,
    /// It has no payload, or the program was not shown a segment that has arrived.
    is_empty: bool,
}

impl Segment {
    #[inline(always)]
    fn of(ops: *mut bpf_sock_ops) -> Option<Self> {
        // SAFETY: the program's context; the bounds are checked before the header is read.
        unsafe {
            let start = (*ops).__bindgen_anon_3.skb_data as usize;
            let end = (*ops).__bindgen_anon_4.skb_data_end as usize;
            if start + TCP_HEADER > end {
                return None;
            }
            let header = start as *const u8;
            let sequence = u32::from_be(header.add(SEQUENCE).cast::<u32>().read_unaligned());
            // The upper half of byte 12: the header's length in words.
            let length = (*header.add(12) >> 4) as u32 * 4;
            Some(Self { sequence, is_empty: (*ops).skb_len <= length })
        }
    }
}
