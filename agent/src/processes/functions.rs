//! Where functions of a Go program begin in its file, by their names.
//!
//! Every Go program has a table of its functions for its own use (`.gopclntab`, the runtime's `pcHeader`), stripped ones as well. Its
//! format has been the same since Go 1.18 but for what it calls its text's beginning.

use memchr::memmem;
use object::{
    Endianness, ReadRef,
    elf::{EM_AARCH64, EM_X86_64, FileHeader64},
    read::elf::{FileHeader as _, SectionHeader as _},
};

use super::{
    segments::code_at,
    symbols::{Sections, Symbols},
};

/// The table's section, in programs at a fixed address and in others.
const TABLES: [&[u8]; 2] = [b".gopclntab", b".data.rel.ro.gopclntab"];
/// Its first word, since Go 1.18 and since Go 1.20.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// A larger table is not read, bytes: the largest programs (Kubernetes') have some 30 MiB.
const MAX_TABLE: u64 = 128 * 1024 * 1024;
/// The symbol at the beginning of Go's text.
const TEXT: &[u8] = b"runtime.text";
/// Bytes of a function that are looked at: its first instructions.
const PROLOGUE: u64 = 16;

/// The header's words, by their offsets in bytes.
mod header {
    pub(super) const FUNCTIONS: usize = 8;
    pub(super) const TEXT: usize = 24;
    pub(super) const NAMES: usize = 32;
    pub(super) const NAMES_END: usize = 40;
    pub(super) const ENTRIES: usize = 64;
}

/// Where these functions are entered, for probes, counted from the file's beginning; `None` unless the program has them all.
pub fn find<'a, R: ReadRef<'a>, const N: usize>(
    file: &FileHeader64<Endianness>,
    sections: &Sections<'a, R>,
    data: R,
    names: [&str; N],
) -> Option<[u64; N]> {
    let endian = file.endian().ok()?;
    let named = |name: &[u8]| sections.section_by_name(endian, name).map(|(_, section)| section);
    let (offset, length) = TABLES.iter().find_map(|name| named(name))?.file_range(endian)?;
    let table = Table::read(data.read_bytes_at(offset, length.min(MAX_TABLE)).ok()?)?;
    // Where the text begins, the table says up to Go 1.25. C's linker has code of its own before Go's, and says it in a symbol.
    let text = match table.word(header::TEXT)? {
        0 => Symbols::All.value(sections, endian, data, TEXT).or_else(|| Some(named(b".text")?.sh_addr(endian)))?,
        address => address,
    };
    let segments = file.program_headers(endian, data).ok()?;
    let mut found = [0; N];
    for (place, entry) in found.iter_mut().zip(table.entries(names)?) {
        let address = text.checked_add(entry)?;
        let (first, _) = code_at(segments, endian, address)?;
        // A probe anywhere else than between two instructions would break the program: the text may begin elsewhere than it seems.
        *place = first.checked_add(entered(file.e_machine(endian), data.read_bytes_at(first, PROLOGUE).ok()?)?)?;
    }
    Some(found)
}

/// Which byte of these first instructions of a function of Go's a probe is put at: it compares the stack pointer with the limit that its goroutine's
/// description has at byte 16, and jumps if there is not enough room. The arguments are untouched then. The jump is an instruction that the kernel
/// emulates (see [`super::results`]); at the comparison a virtual machine would be left twice.
fn entered(machine: u16, code: &[u8]) -> Option<u64> {
    match machine {
        EM_X86_64 => {
            let jump = match code {
                // cmp 0x10(%r14),%rsp
                [0x49, 0x3b, 0x66, 0x10, ..] => 4,
                // With a large frame lea -n(%rsp),%r12; cmp 0x10(%r14),%r12
                [0x4c, 0x8d, 0x64, 0x24, _, 0x4d, 0x3b, 0x66, 0x10, ..] => 9,
                [0x4c, 0x8d, 0xa4, 0x24, _, _, _, _, 0x4d, 0x3b, 0x66, 0x10, ..] => 12,
                _ => return None,
            };
            // jbe, with a byte or four of distance
            matches!(code.get(jump..)?, [0x76, ..] | [0x0f, 0x86, ..]).then_some(jump as u64)
        }
        // ldr x16, [x28, #16]
        EM_AARCH64 => code.starts_with(&0xf940_0b90_u32.to_le_bytes()).then_some(0),
        _ => None,
    }
}

/// A function table; its numbers are in the byte order of the machines that are supported.
struct Table<'a>(&'a [u8]);

impl<'a> Table<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let table = Self(bytes);
        // Bytes 4 to 7: zeros, the least size of an instruction, the size of a pointer.
        (MAGIC.contains(&table.half(0)?) && bytes.get(7) == Some(&8)).then_some(table)
    }

    fn half(&self, at: usize) -> Option<u32> {
        self.0.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.0.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn place(&self, at: usize) -> Option<usize> {
        self.word(at).and_then(|offset| usize::try_from(offset).ok())
    }

    /// Where these functions begin in the text.
    fn entries<const N: usize>(&self, names: [&str; N]) -> Option<[u64; N]> {
        let all_names = self.0.get(self.place(header::NAMES)?..self.place(header::NAMES_END)?)?;
        let mut wanted = [0; N];
        for (offset, name) in wanted.iter_mut().zip(names) {
            let whole = [b"\0", name.as_bytes(), b"\0"].concat();
            *offset = u32::try_from(memmem::find(all_names, &whole)? + 1).ok()?;
        }
        let entries = Self(self.0.get(self.place(header::ENTRIES)?..)?);
        let mut found = [None; N];
        for function in 0..self.place(header::FUNCTIONS)?.min(self.0.len() / 8) {
            // Two numbers: where it begins, and where it is described. There the name stands behind the beginning.
            let description = usize::try_from(entries.half(function * 8 + 4)?).ok()?;
            let Some(name) = entries.half(description.checked_add(4)?) else { continue };
            if let Some(index) = wanted.iter().position(|wanted| *wanted == name)
                && let Some(found) = found.get_mut(index)
            {
                *found = entries.half(function * 8).map(u64::from);
            }
        }
        let mut begins = [0; N];
        for (begin, found) in begins.iter_mut().zip(found) {
            *begin = found?;
        }
        Some(begins)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    /// A table of functions, by name and beginning.
    fn table(functions: &[(&str, u32)]) -> Vec<u8> {
        let (mut names, mut entries, mut descriptions) = (vec![0], Vec::new(), Vec::new());
        let descriptions_at = (functions.len() * 8 + 4) as u32;
        for (name, begin) in functions {
            entries.extend(begin.to_le_bytes());
            entries.extend((descriptions_at + descriptions.len() as u32).to_le_bytes());
            descriptions.extend(begin.to_le_bytes());
            descriptions.extend((names.len() as u32).to_le_bytes());
            descriptions.extend([0; 36]);
            names.extend(name.as_bytes());
            names.push(0);
        }
        entries.extend([0xff; 4]);
        let mut bytes = MAGIC[1].to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        let names_end = 72 + names.len() as u64;
        for word in [functions.len() as u64, 0, 0, 72, names_end, names_end, names_end, names_end] {
            bytes.extend(word.to_le_bytes());
        }
        [bytes, names, entries, descriptions].concat()
    }

    const FUNCTIONS: [(&str, u32); 4] =
        [("main.main", 0x10), ("a/b.Write.func1", 0x40), ("a/b.Write", 0x60), ("a/b.(*T).Read", 0x90)];

    #[test]
    fn functions_are_found_by_their_whole_names() {
        let bytes = table(&FUNCTIONS);
        let table = Table::read(&bytes).unwrap();
        assert_eq!(table.entries(["a/b.(*T).Read", "a/b.Write"]), Some([0x90, 0x60]));
        assert_eq!(table.entries(["main.main"]), Some([0x10]));
        for missing in ["b.Write", "a/b.Writ", "main"] {
            assert_eq!(table.entries(["main.main", missing]), None, "{missing}");
        }
    }

    #[test]
    fn other_formats_are_not_read() {
        let mut bytes = table(&FUNCTIONS);
        bytes[0] = 0xfb; // Go 1.2
        assert!(Table::read(&bytes).is_none());
        assert!(Table::read(b"").is_none());
    }

    #[test]
    fn only_a_functions_first_instructions_are_taken() {
        assert_eq!(entered(EM_X86_64, b"\x49\x3b\x66\x10\x76\x2a"), Some(4));
        assert_eq!(entered(EM_X86_64, b"\x49\x3b\x66\x10\x0f\x86\x2a\x01\0\0"), Some(4));
        assert_eq!(entered(EM_X86_64, b"\x4c\x8d\x64\x24\xf8\x4d\x3b\x66\x10\x0f\x86"), Some(9));
        assert_eq!(entered(EM_X86_64, b"\x4c\x8d\xa4\x24\x00\xff\xff\xff\x4d\x3b\x66\x10\x0f\x86\xf0\0"), Some(12));
        assert_eq!(entered(EM_AARCH64, b"\x90\x0b\x40\xf9"), Some(0));
        for code in [
            &b"\x66\x10\x76\x2a"[..],
            b"\x49\x3b\x66\x10\x77\x2a",
            b"\x49\x3b\x66\x10",
            b"\x4c\x8d\x64\x24\xf8\x90\x90\x90\x90\x76",
            b"\x55\x48\x89\xe5",
            b"",
        ] {
            assert_eq!(entered(EM_X86_64, code), None, "{code:x?}");
        }
    }

    proptest! {
        #[test]
        fn damaged_tables_do_not_panic(damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..12)) {
            let mut bytes = table(&FUNCTIONS);
            for (at, value) in damage {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Some(table) = Table::read(&bytes) {
                let _ = table.entries(["a/b.Write", "main.main"]);
            }
        }
    }
}
