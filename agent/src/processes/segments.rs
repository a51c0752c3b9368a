//! Where a file has the code that a process finds at an address.

use object::{
    Endianness,
    elf::{PF_X, PT_LOAD, ProgramHeader64},
    read::elf::ProgramHeader as _,
};

/// The place of an address of the file's own, counted from the file's beginning, and how much code is there from it on, bytes.
pub fn code_at(segments: &[ProgramHeader64<Endianness>], endian: Endianness, address: u64) -> Option<(u64, u64)> {
    let is_code =
        |segment: &&ProgramHeader64<_>| segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X != 0;
    segments.iter().filter(is_code).find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr(endian))?;
        let rest = segment.p_filesz(endian).checked_sub(inside).filter(|rest| *rest > 0)?;
        Some((segment.p_offset(endian).checked_add(inside)?, rest))
    })
}
