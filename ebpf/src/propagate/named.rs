//! The context that a request carries by itself when it is sent (W3C Trace Context §3.2), for `--propagate tcp`: who passes it on leaves itself out.
//!
//! Whether it is valid in every respect the engine decides. If it finds that it is not, spans are in several traces and linked, but none
//! is in another one's.

use syspan_abi::propagation::carrier;

use super::{TraceId, head, work};
use crate::{config::config, emit::Room, payload};

/// The room with the head of a request whose first bytes are these, in user memory, if that has a context: its index and one; 0 if not.
/// To be given [`back`].
#[inline(always)]
pub fn find(address: u64, length: u64) -> u64 {
    if work::is_request(payload::first_word(address)) { find_named(address, length) } else { 0 }
}

/// The trace and the span.
#[inline(always)]
pub fn ids(found: u64) -> Option<(TraceId, u64)> {
    if found == 0 { None } else { head::context(Room::of(found as u32 - 1)) }
}

/// It is needed no longer.
#[inline(always)]
pub fn back(found: u64) {
    if found != 0 {
        Room::of(found as u32 - 1).give_back();
    }
}

/// A function of its own with plain numbers as arguments, so that the verifier checks it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_named(address: u64, length: u64) -> u64 {
    if config!(propagate) != carrier::TCP || address == 0 {
        return 0; // nothing of it to verify
    }
    let Some(room) = Room::take() else { return 0 };
    if head::read(room, address, length).is_some() && head::has_context(room) {
        return room.index() as u64 + 1;
    }
    room.give_back();
    0
}
