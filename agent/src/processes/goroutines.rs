//! Where a Go program keeps what is read of its goroutines: the thread-local `g`, and in `runtime.g` the members `goid` and, since
//! Go 1.21, `parentGoid`.
//!
//! Neither is part of an interface, so both are looked up: the first in the executable, as its linker decided, the others in a
//! table by version, which is that of the DWARF of programs built with each (`tests/tests/goroutines.rs` compares it with the toolchain
//! that is there). Of a version that is not in it nothing is read.

use object::{Endianness, ReadRef, elf::FileHeader64, read::elf::FileHeader as _};

use super::{
    symbols::{Sections, Symbols},
    thread_local::ThreadLocal,
};

/// The symbol of the thread-local variable that holds the address of the running goroutine's `runtime.g`.
const THREAD_LOCAL: &[u8] = b"runtime.tlsg";
/// A pointer's size, which thread-local storage has that holds nothing but [`THREAD_LOCAL`].
const POINTER: i32 = 8;
/// Byte offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// From a thread's pointer (x86-64: the `fs` base) to the address of the `runtime.g` that it runs. On arm64 a register has that.
    pub g: i32,
    /// In `runtime.g`: `goid`.
    pub id: u16,
    /// In `runtime.g`: `parentGoid`.
    pub parent: Option<u16>,
}

/// First minor version of Go 1 that has these offsets of `goid` and `parentGoid`, on 64-bit machines.
const VERSIONS: [(u32, u16, Option<u16>); 5] =
    [(18, 152, None), (21, 152, Some(272)), (23, 160, Some(280)), (25, 152, Some(272)), (26, 152, Some(280))];

/// The first minor version that is not known.
const UNKNOWN: u32 = 27;

/// Reads them for a program that was built with this version of Go, such as `go1.22.1`.
pub fn layout<'a, R: ReadRef<'a>>(
    header: &FileHeader64<Endianness>,
    sections: &Sections<'a, R>,
    data: R,
    version: &str,
) -> Option<Layout> {
    let (id, parent) = members(version)?;
    Some(Layout { g: thread_local(header, sections, data)?, id, parent })
}

fn members(version: &str) -> Option<(u16, Option<u16>)> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let minor: u32 = rest.get(..digits)?.parse().ok().filter(|minor| *minor < UNKNOWN)?;
    VERSIONS.iter().rev().find(|(first, ..)| *first <= minor).map(|(_, id, parent)| (*id, *parent))
}

/// Go's own linker leaves the segment of thread-local storage out where there is no C, and means the last word.
fn thread_local<'a, R: ReadRef<'a>>(
    header: &FileHeader64<Endianness>,
    sections: &Sections<'a, R>,
    data: R,
) -> Option<i32> {
    let storage = ThreadLocal::read(header, data)?;
    match storage.length {
        0 => Some(-POINTER),
        POINTER => storage.offset(0),
        _ => storage.offset(Symbols::All.value(sections, header.endian().ok()?, data, THREAD_LOCAL)?),
    }
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn members_are_known_by_version() {
        assert_eq!(members("go1.18"), Some((152, None)));
        assert_eq!(members("go1.20.14"), Some((152, None)));
        assert_eq!(members("go1.21rc2"), Some((152, Some(272))));
        assert_eq!(members("go1.22.1 X:nocoverageredesign"), Some((152, Some(272))));
        assert_eq!(members("go1.24.0-custom"), Some((160, Some(280))));
        for unknown in ["go1.17.13", "go1.999", "go2.0", "devel +abcdef", "", "go1."] {
            assert_eq!(members(unknown), None, "{unknown}");
        }
    }
}
