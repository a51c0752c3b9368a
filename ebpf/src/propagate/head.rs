//! The head of an HTTP/1 request (RFC 9112 §2, §3, §5), looked at where it is read or written: whether these bytes begin with a whole
//! one, how long the message is that it begins, and whether it has a `traceparent`.
//!
//! Programs cannot take strangers' lines apart one by one for long, so a head is looked at up to [`LONGEST`] bytes, and whatever
//! is not plain is no head.

use core::ops::Range;

use syspan_abi::{MAX_HEAD, propagation::carrier};

use super::TraceId;
use crate::{config::config, emit::Room, payload};

/// Bytes of a head that are looked at.
pub const LONGEST: u32 = 4096;
/// Where the result is put: behind the head, in the same room.
const RESULT: usize = 2 * MAX_HEAD;
const _: () = assert!(LONGEST as usize <= MAX_HEAD);

/// `HTTP/1.1` and `HTTP/1.0`, at the end of a request's first line.
const VERSIONS: [u64; 2] = [u64::from_ne_bytes(*b"HTTP/1.1"), u64::from_ne_bytes(*b"HTTP/1.0")];
/// Makes letters small. Of other bytes that are allowed in a name it changes none into one that is looked for.
const SMALL: u64 = u64::from_ne_bytes([0x20; 8]);

/// Of a `traceparent` (W3C Trace Context §3.2): where its parts are, version `00`.
const VALUE: u64 = 55;
const TRACE: u64 = 3;
const SPAN: u64 = 36;
const FLAGS: u64 = 53;

/// What is known of a head.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head {
    /// Bytes of the first line, line end included; 0: this is none.
    pub line: u32,
    /// Bytes of the head; 0: it does not end within what was looked at, or is not plain.
    pub length: u32,
    /// Bytes of the body.
    pub body: u32,
    /// How many lengths of the body were named.
    pub lengths: u32,
    /// 1: where the message ends cannot be told from its head, or something else may follow it.
    pub endless: u32,
    /// How many lines are a `traceparent`.
    pub traceparents: u32,
    /// Where the value of the last one begins; 0: it is not valid, or of another version.
    pub value: u32,
    /// Its flags.
    pub flags: u32,
    /// Its trace.
    pub trace: [u64; 2],
    /// Its span.
    pub span: u64,
}

/// Looks at the first bytes of a message, in user memory. The room has to be given back by who has taken it.
#[inline(always)]
pub fn read(room: Room, address: u64, length: u64) -> Option<*mut Head> {
    let length = if length < LONGEST as u64 { length } else { LONGEST as u64 };
    let scratch = room.scratch()?;
    // SAFETY: the room's memory.
    unsafe {
        let bytes = (*scratch).bytes.as_mut_ptr();
        let head = bytes.add(RESULT).cast::<Head>();
        (&raw mut (*head).length).write_volatile(0);
        if payload::read(bytes, 0, length, address) {
            parse(room.index() as u64, length);
        }
        Some(head)
    }
}

/// The head in a room.
#[inline(always)]
fn result(room: Room) -> Option<(*mut u8, *mut Head)> {
    let scratch = room.scratch()?;
    // SAFETY: the room's memory, which is longer.
    unsafe {
        let bytes = (*scratch).bytes.as_mut_ptr();
        Some((bytes, bytes.add(RESULT).cast()))
    }
}

// Functions of their own with plain numbers as arguments, so that the verifier checks each once; what they find lies in memory, of
// which it keeps no track.

/// Finds the lines of what is in a room.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn parse(room: u64, length: u64) -> u64 {
    if config!(propagate) == carrier::NONE {
        return 0; // nothing of it to verify
    }
    let Some((bytes, head)) = result(Room::of(room as u32)) else { return 0 };
    // SAFETY: the room's memory.
    unsafe {
        head.write(Head {
            line: 0,
            length: 0,
            body: 0,
            lengths: 0,
            endless: 0,
            traceparents: 0,
            value: 0,
            flags: 0,
            trace: [0; 2],
            span: 0,
        });
        for index in 0..LONGEST as u64 {
            if index >= length {
                break;
            }
            if bytes.add(index as usize).read_volatile() == b'\n' && line_ends(room, index, length) != 0 {
                break;
            }
        }
    }
    0
}

/// A line ends at `at`: looks at it if it is the first, and else at the one that begins behind it. 1: that was the last.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn line_ends(room: u64, at: u64, length: u64) -> u64 {
    const STOP: u64 = 1;
    let Some((bytes, head)) = result(Room::of(room as u32)) else { return STOP };
    if at < 10 || at >= LONGEST as u64 {
        return STOP;
    }
    // SAFETY: the room's memory, which is longer than what may be looked at from here.
    unsafe {
        let end = bytes.add(at as usize);
        if end.sub(1).read() != b'\r' {
            return STOP;
        }
        if (*head).line == 0 {
            let version: u64 = end.sub(9).cast::<u64>().read_unaligned();
            if end.sub(10).read() != b' ' || (version != VERSIONS[0] && version != VERSIONS[1]) {
                return STOP;
            }
            (*head).line = at as u32 + 1;
        }
        let line = end.add(1);
        let [first, second] = line.cast::<[u64; 2]>().read_unaligned();
        if first as u16 == u16::from_ne_bytes(*b"\r\n") {
            if at + 3 <= length && (*head).lengths < 2 {
                (*head).length = at as u32 + 3;
            }
            return STOP;
        }
        let (first, second) = (first | SMALL, second | SMALL);
        const FOUR: u64 = u32::MAX as u64;
        const SIX: u64 = (1 << 48) - 1;
        if first as u8 == b' ' || first as u8 == b'\t' | b' ' {
            return STOP; // a line that goes on
        } else if first == u64::from_ne_bytes(*b"tracepar") && second & FOUR == word(b"ent:\0\0\0\0") {
            (*head).traceparents += 1;
            return traceparent(room, at + 1 + 12);
        } else if first == u64::from_ne_bytes(*b"content-") && second & SIX == word(b"length\0\0") {
            (*head).lengths += 1;
            return body_length(room, at + 1 + 14);
        } else if first == u64::from_ne_bytes(*b"transfer") && second == u64::from_ne_bytes(*b"-encodin") {
            (*head).endless = 1;
        } else if first == u64::from_ne_bytes(*b"upgrade:") {
            // HTTP/2 says so itself when it begins; what else may follow is not known.
            let value = second & ((1 << 32) - 1);
            if value != word(b" h2c\0\0\0\0") {
                (*head).endless = 1;
            }
        }
    }
    0
}

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_ne_bytes(*text)
}

/// The value of a `traceparent` at `at`. 1: it is not plain.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn traceparent(room: u64, at: u64) -> u64 {
    let Some((bytes, head)) = result(Room::of(room as u32)) else { return 1 };
    if at >= LONGEST as u64 {
        return 1;
    }
    // SAFETY: the room's memory, which is longer than what may be looked at from here.
    unsafe {
        let space = bytes.add(at as usize).read();
        let skipped = (space == b' ' || space == b'\t') as u64;
        let value = bytes.add((at + skipped) as usize);
        let begin: u32 = value.cast::<u32>().read_unaligned() & 0xff_ffff;
        let dashes = value.add(SPAN as usize - 1).read() == b'-' && value.add(FLAGS as usize - 1).read() == b'-';
        let end = value.add(VALUE as usize).read();
        (*head).value = 0;
        if begin == u32::from_ne_bytes(*b"00-\0") && dashes && end == b'\r' {
            (*head).value = (at + skipped) as u32;
        }
    }
    0
}

/// The ids and flags of the `traceparent` of the head in a room. 1: they are valid.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ids(room: u64) -> u64 {
    let Some((_, head)) = result(Room::of(room as u32)) else { return 0 };
    // SAFETY: the room's memory.
    unsafe {
        let value = (*head).value as u64;
        if value == 0 || (*head).traceparents != 1 {
            return 0;
        }
        let flags = value + FLAGS;
        if digits(room, value + TRACE, 16, 0) == 0
            || digits(room, value + TRACE + 16, 16, 1) == 0
            || digits(room, value + SPAN, 16, 2) == 0
            || digits(room, flags, 2, 3) == 0
        {
            return 0;
        }
        ((*head).span != 0 && (*head).trace[0] | (*head).trace[1] != 0) as u64
    }
}

/// What each byte is as a hexadecimal digit. A table, for each branch in a loop doubles what older verifiers look at.
static HEXADECIMAL: [u8; 256] = hexadecimal();
/// It is none.
const NO_DIGIT: u8 = 16;

const fn hexadecimal() -> [u8; 256] {
    let mut table = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        table[if digit < 10 { b'0' + digit } else { b'a' + digit - 10 } as usize] = digit;
        digit += 1;
    }
    table
}

/// A hexadecimal number of so many digits, put into the head: 0 and 1 are the trace, 2 is the span, 3 are the flags. 0: it is none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn digits(room: u64, at: u64, count: u64, part: u64) -> u64 {
    let Some((bytes, head)) = result(Room::of(room as u32)) else { return 0 };
    if at >= LONGEST as u64 {
        return 0;
    }
    let count = if count < 16 { count } else { 16 };
    let (mut number, mut seen) = (0u64, 0u8);
    // SAFETY: the room's memory, which is longer than what may be looked at from here.
    unsafe {
        let mut index = 0;
        while index < count {
            let value = HEXADECIMAL[bytes.add((at + index) as usize).read() as usize];
            seen |= value;
            number = number << 4 | (value & 15) as u64;
            index += 1;
        }
        if seen & NO_DIGIT != 0 {
            return 0;
        }
        match part {
            0 => (*head).trace[0] = number.to_be(),
            1 => (*head).trace[1] = number.to_be(),
            2 => (*head).span = number.to_be(),
            _ => (*head).flags = number as u32,
        }
    }
    1
}

/// The value of a `Content-Length` at `at`. 1: it is not plain.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn body_length(room: u64, at: u64) -> u64 {
    const DIGITS: Range<u64> = 0..10;
    let Some((bytes, head)) = result(Room::of(room as u32)) else { return 1 };
    if at >= LONGEST as u64 {
        return 1;
    }
    // SAFETY: the room's memory, which is longer than what may be looked at from here.
    unsafe {
        if bytes.add(at as usize).read() != b':' {
            return 1;
        }
        let skipped = (bytes.add(at as usize + 1).read() == b' ') as u64;
        let value = at + 1 + skipped;
        let mut number = 0u64;
        for index in DIGITS {
            let digit = bytes.add((value + index) as usize).read();
            match digit {
                b'0'..=b'9' => number = number * 10 + (digit - b'0') as u64,
                b'\r' if index > 0 && number < 1 << 31 => {
                    (*head).body = number as u32;
                    return 0;
                }
                _ => return 1,
            }
        }
    }
    1
}

/// What was found of the head in a room.
#[inline(always)]
pub fn of(room: Room) -> Option<*mut Head> {
    Some(result(room)?.1)
}

/// The context of the head in a room that [`has_context`]: its trace and span.
#[inline(always)]
pub fn context(room: Room) -> Option<(TraceId, u64)> {
    let (_, head) = result(room)?;
    // SAFETY: the room's memory.
    unsafe { Some(((*head).trace, (*head).span)) }
}

/// Whether the head in a room has one valid `traceparent`; its ids are known from then on.
#[inline(always)]
pub fn has_context(room: Room) -> bool {
    ids(room.index() as u64) != 0
}
