//! The context that a request carries by itself when it is sent (W3C Trace Context §3.2), for `--propagate tcp`: who passes it on leaves itself out.
//!
//! Whether it is valid in every respect the engine decides. If it finds that it is not (two of them, say), spans are in several traces
//! and linked, but none is in another one's.

use aya_ebpf::helpers::generated;

use super::{TraceId, work};
use crate::{emit::Room, maps::Scratch, payload};

/// Bytes of a request that are searched, a power of two. A header that comes later is not seen, nor one in the call's second buffer.
const SEARCHED: u64 = 2048;
/// Where they are in a room; its first bytes are for the ids.
const TEXT: usize = 128;
/// `traceparent`, a colon.
const NAME: [u8; 12] = *b"traceparent:";
/// `00-<32 digits>-<16 digits>-<2 digits>`.
const VALUE: u64 = 55;
/// Digits of both ids with the dash between them.
const IDS: u64 = 49;
/// White space before the value that is skipped.
const SPACES: u64 = 4;
/// The end of a line, a header, and the end of its line.
const SHORTEST: u64 = 1 + NAME.len() as u64 + VALUE + 1;

/// The header of a request whose first bytes are these, in user memory; 0 if there is none. To be given [`back`].
#[inline(always)]
pub fn find(address: u64, length: u64) -> u64 {
    if work::is_request(payload::first_word(address)) { find_named(address, length) } else { 0 }
}

/// The trace and the span.
#[inline(always)]
pub fn ids(context: u64) -> Option<(TraceId, u64)> {
    if context == 0 {
        return None;
    }
    let scratch = Room::of(context as u32 - 1).scratch()?;
    // SAFETY: `find_named` has written them.
    let [high, low, span] = unsafe { (*scratch).bytes.as_ptr().cast::<[u64; 3]>().read() };
    Some(([high, low], span))
}

/// It is needed no longer.
#[inline(always)]
pub fn back(context: u64) {
    if context != 0 {
        Room::of(context as u32 - 1).give_back();
    }
}

/// A function of its own with plain numbers as arguments, so that the verifier checks it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_named(address: u64, length: u64) -> u64 {
    if address == 0 || length < SHORTEST {
        return 0;
    }
    let Some(room) = Room::take() else { return 0 };
    if let Some(scratch) = room.scratch() {
        let length = if length < SEARCHED { length } else { SEARCHED };
        // SAFETY: the room's memory.
        if unsafe { copy(scratch, address, length) && search(scratch, length) && decode(scratch, length) } {
            return room.index() as u64 + 1;
        }
    }
    room.give_back();
    0
}

#[inline(always)]
unsafe fn copy(scratch: *mut Scratch, address: u64, length: u64) -> bool {
    // Checked on the very register that is passed on.
    let length = core::hint::black_box(length);
    // SAFETY: inside the room, which the bound shows to the verifier.
    length <= SEARCHED
        && unsafe {
            let text = (*scratch).bytes.as_mut_ptr().add(TEXT);
            generated::bpf_probe_read_user(text.cast(), length as u32, address as *const _) == 0
        }
}

/// Finds a line that looks like it, and leaves where its name begins in `got`.
#[inline(always)]
unsafe fn search(scratch: *mut Scratch, length: u64) -> bool {
    // SAFETY: every index is below `SEARCHED`.
    unsafe {
        let text = (*scratch).bytes.as_ptr().add(TEXT);
        for index in 0..SEARCHED - SHORTEST {
            if index + SHORTEST > length {
                return false;
            }
            let line = text.add(index as usize);
            if *line != b'\n' {
                continue;
            }
            let first = *line.add(1);
            if first == b'\r' {
                return false; // the head's end
            }
            // Three letters of the name: the rest is compared once.
            if first | 0x20 == b't' && *line.add(6) | 0x20 == b'p' && *line.add(12) == b':' {
                (&raw mut (*scratch).got).write_volatile(index + 1);
                return true;
            }
        }
    }
    false
}

/// Reads the header that was found. What leaves one round for the next lies in memory: the verifier keeps no track of it.
#[inline(always)]
unsafe fn decode(scratch: *mut Scratch, length: u64) -> bool {
    // SAFETY: every index is masked.
    unsafe {
        let bytes = (*scratch).bytes.as_mut_ptr();
        let at = |index: u64| *bytes.add(TEXT + (index & (SEARCHED - 1)) as usize);
        let name = (&raw const (*scratch).got).read_volatile();
        for (index, letter) in NAME.iter().enumerate() {
            if at(name + index as u64) | 0x20 != *letter {
                return false;
            }
        }
        let begin = &raw mut (*scratch).passed;
        begin.write_volatile(name + NAME.len() as u64);
        for _ in 0..SPACES {
            let index = begin.read_volatile();
            let byte = at(index);
            if byte == b' ' || byte == b'\t' {
                begin.write_volatile(index + 1);
            }
        }
        let value = begin.read_volatile();
        let end = at(value + VALUE);
        let ends = end == b'\r' || end == b'\n' || end == b' ' || end == b'\t' || end == b'-';
        if value + VALUE >= length || !ends || at(value + 2) != b'-' || at(value + 35) != b'-' || at(value + 52) != b'-'
        {
            return false;
        }
        for index in 0..IDS {
            if index == 32 {
                continue;
            }
            let byte = at(value + 3 + index);
            let (digit, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
            let number = if digit < 10 {
                digit
            } else if letter < 6 {
                letter + 10
            } else {
                return false;
            };
            let place = bytes.add((if index < 32 { index } else { index - 1 } / 2) as usize);
            place.write_volatile(place.read_volatile() << 4 | number);
        }
        let [high, low, span] = bytes.cast::<[u64; 3]>().read_volatile();
        high | low != 0 && span != 0
    }
}
