//! A library, or an executable, as a process has mapped it.

use std::fs::File;

use object::{
    Endianness,
    elf::{FileHeader64, PT_LOAD, ProgramHeader64},
    read::{
        ReadCache,
        elf::{FileHeader as _, ProgramHeader as _},
    },
};

use super::{
    proc::Mapping,
    results::{self, Results},
    symbols::{Sections, Symbols},
};

/// A library has some ten program headers and some tens of sections; tables of thousands are an attempt to make their reader work.
const MAX_HEADERS: u16 = 1024;
/// Addresses of segments are counted in pages.
const PAGE: u64 = 4096;

/// A file that a process has mapped.
pub struct Library<'a> {
    data: &'a ReadCache<&'a File>,
    endian: Endianness,
    segments: &'a [ProgramHeader64<Endianness>],
    sections: Sections<'a, &'a ReadCache<&'a File>>,
    /// What is added to the file's addresses.
    base: u64,
}

impl Library<'_> {
    /// The value of a symbol that it exports.
    pub fn symbol(&self, name: &[u8]) -> Option<u64> {
        Symbols::Exported.value(&self.sections, self.endian, self.data, name)
    }

    /// Where that is in the process.
    pub fn address(&self, name: &[u8]) -> Option<u64> {
        self.base.checked_add(self.symbol(name)?)
    }

    /// Where the function at this address of the file has what it is going to return.
    pub fn results(&self, function: u64) -> Option<Results> {
        results::find(self.segments, self.endian, self.data, function)
    }
}

/// Looks at a file whose beginning a process has mapped there: a file's first mapping is that, for the kernel maps its segments in their order.
pub fn inspect<T>(file: &File, first: &Mapping, look: impl FnOnce(&Library<'_>) -> Option<T>) -> Option<T> {
    let data = &ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.e_phnum.get(endian) > MAX_HEADERS || header.e_shnum.get(endian) > MAX_HEADERS {
        return None;
    }
    let segments = header.program_headers(endian, data).ok()?;
    let segment = segments.iter().find(|segment| segment.p_type(endian) == PT_LOAD)?;
    let page = |address: u64| address / PAGE * PAGE;
    if first.offset != page(segment.p_offset(endian)) {
        return None;
    }
    let base = first.start.checked_sub(page(segment.p_vaddr(endian)))?;
    let sections = header.sections(endian, data).ok()?;
    look(&Library { data, endian, segments, sections, base })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn address_in(bytes: &[u8], name: &[u8]) -> Option<u64> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let first = Mapping { start: 0x7000_0000, offset: 0, path: file.path().to_owned() };
        inspect(&file.reopen().unwrap(), &first, |library| {
            let address = library.address(name)?;
            let _ = library.results(library.symbol(name)?);
            Some(address)
        })
    }

    #[test]
    fn a_file_without_the_symbol_says_nothing() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(address_in(&own, b"_PyRuntime"), None);
        assert_eq!(address_in(b"\x7fELF\x02\x01", b"_PyRuntime"), None);
    }

    proptest! {
        #[test]
        fn damaged_files_do_not_panic(damage in proptest::collection::vec((0..4096_usize, any::<u8>()), 1..12)) {
            let mut bytes = std::fs::read("/bin/true").unwrap();
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = address_in(&bytes, b"main");
        }
    }
}
