//! A library, or an executable, as a process has mapped it.

use std::fs::File;

use object::{
    Endianness,
    elf::{FileHeader64, PT_LOAD},
    read::{
        ReadCache,
        elf::{FileHeader as _, ProgramHeader as _},
    },
};

use super::{proc::Mapping, symbols::Symbols};

/// A library has some ten program headers and some tens of sections; tables of thousands are an attempt to make their reader work.
const MAX_HEADERS: u16 = 1024;
/// Addresses of segments are counted in pages.
const PAGE: u64 = 4096;

/// Where the symbols of these names, which the file exports, are in a process that has mapped its beginning there. A file's first mapping
/// is that: the kernel maps its segments in their order.
pub fn addresses<const N: usize>(file: File, first: &Mapping, names: [&[u8]; N]) -> Option<[u64; N]> {
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
    let mut found = [0; N];
    for (place, name) in found.iter_mut().zip(names) {
        *place = base.checked_add(Symbols::Exported.value(&sections, endian, data, name)?)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn addresses_in<const N: usize>(bytes: &[u8], names: [&[u8]; N]) -> Option<[u64; N]> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let first = Mapping { start: 0x7000_0000, offset: 0, path: file.path().to_owned() };
        addresses(file.reopen().unwrap(), &first, names)
    }

    #[test]
    fn a_file_without_the_symbol_says_nothing() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(addresses_in(&own, [b"_PyRuntime"]), None);
        assert_eq!(addresses_in(b"\x7fELF\x02\x01", [b"_PyRuntime"]), None);
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
            let _ = addresses_in(&bytes, [b"main"]);
        }
    }
}
