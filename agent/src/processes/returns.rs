//! Where a function of x86-64 returns: its code is followed from its first instruction along every branch, into the functions that it ends with a
//! jump to, and not into those that it calls. So each place that is found is an instruction's beginning, where alone a probe may be set.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use object::{
    Endianness, ReadRef,
    elf::{PF_X, PT_LOAD, ProgramHeader64},
    read::elf::ProgramHeader as _,
};

/// A function with more instructions is none of those that this is for: `PyContext_CopyCurrent` has less than a hundred.
const MAX_INSTRUCTIONS: usize = 512;
/// Nor is one that returns in more places: it ends with a jump to others that do something else.
const MAX_RETURNS: usize = 4;
/// The longest instruction, bytes.
const LONGEST: u64 = 15;

/// The return instructions of the function at this address, counted from the file's beginning, bytes. Where it ends with a jump to an address
/// that only shows when it runs (another file's function), it is not known where that returns.
pub fn find<'a, R: ReadRef<'a>>(
    segments: &[ProgramHeader64<Endianness>],
    endian: Endianness,
    data: R,
    function: u64,
) -> Option<Vec<u64>> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    let mut ahead = vec![function];
    while let Some(address) = ahead.pop() {
        if !seen.insert(address) {
            continue;
        }
        if seen.len() > MAX_INSTRUCTIONS {
            return None;
        }
        let offset = offset(segments, endian, address)?;
        let instruction = decode(data, offset, address)?;
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => ahead.push(instruction.next_ip()),
            FlowControl::ConditionalBranch => ahead.extend([instruction.next_ip(), instruction.near_branch_target()]),
            FlowControl::UnconditionalBranch => ahead.push(instruction.near_branch_target()),
            FlowControl::Return => _ = found.insert(offset),
            FlowControl::IndirectBranch => {}
            FlowControl::Exception | FlowControl::Interrupt | FlowControl::XbeginXabortXend => return None,
        }
    }
    (1..=MAX_RETURNS).contains(&found.len()).then(|| found.into_iter().collect())
}

/// Where in the file the code at an address is.
fn offset(segments: &[ProgramHeader64<Endianness>], endian: Endianness, address: u64) -> Option<u64> {
    let code = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X != 0);
    code.into_iter().find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr(endian))?;
        if inside < segment.p_filesz(endian) { segment.p_offset(endian).checked_add(inside) } else { None }
    })
}

/// The instruction there.
fn decode<'a, R: ReadRef<'a>>(data: R, offset: u64, address: u64) -> Option<Instruction> {
    let bytes = data.read_bytes_at(offset, LONGEST.min(data.len().ok()?.checked_sub(offset)?)).ok()?;
    let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    /// A segment of a file that begins with this code, at 0x1000.
    fn segment(code: &[u8]) -> ProgramHeader64<Endianness> {
        let endian = Endianness::Little;
        let word = |value| object::U64::new(endian, value);
        ProgramHeader64 {
            p_type: object::U32::new(endian, PT_LOAD),
            p_flags: object::U32::new(endian, PF_X),
            p_offset: word(0),
            p_vaddr: word(0x1000),
            p_paddr: word(0x1000),
            p_filesz: word(code.len() as u64),
            p_memsz: word(code.len() as u64),
            p_align: word(0x1000),
        }
    }

    fn returns(code: &[u8], function: u64) -> Option<Vec<u64>> {
        find(&[segment(code)], Endianness::Little, code, function)
    }

    #[test]
    fn every_branch_is_followed() {
        // push %rbx; test %rax,%rax; je +2; pop %rbx; ret; xor %eax,%eax; pop %rbx; ret
        let code = b"\x53\x48\x85\xc0\x74\x02\x5b\xc3\x31\xc0\x5b\xc3";
        assert_eq!(returns(code, 0x1000), Some(vec![7, 11]));
    }

    #[test]
    fn a_jump_at_the_end_is_followed_and_a_call_is_not() {
        // call +3 (a ret there); jmp +1 (behind it); ret; nop; ret
        let code = b"\xe8\x02\x00\x00\x00\xeb\x01\xc3\x90\xc3";
        assert_eq!(returns(code, 0x1000), Some(vec![9]));
    }

    #[test]
    fn bytes_that_look_like_a_return_are_none() {
        // mov $0xc3c3c3c3,%eax; ret
        assert_eq!(returns(b"\xb8\xc3\xc3\xc3\xc3\xc3", 0x1000), Some(vec![5]));
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        assert_eq!(returns(b"\xff\xe0", 0x1000), None, "jmp *%rax");
        assert_eq!(returns(b"\x0f\x0b\xc3", 0x1000), None, "ud2");
        assert_eq!(returns(b"\x90\x90", 0x1000), None, "it ends before it returns");
        assert_eq!(returns(b"\xeb\xfe", 0x1000), None, "a loop");
        assert_eq!(returns(b"\xc3", 0x2000), None, "not in the file");
        assert_eq!(returns(&[0x90; 1000], 0x1000), None, "too long");
        // je +1; ret; je +1; ret; ...
        assert_eq!(returns(&b"\x74\x01\xc3".repeat(8), 0x1000), None, "too many");
    }

    proptest! {
        #[test]
        fn any_code_is_harmless(code in proptest::collection::vec(any::<u8>(), 0..600)) {
            for place in returns(&code, 0x1000).unwrap_or_default() {
                prop_assert!(place < code.len() as u64);
            }
        }
    }
}
