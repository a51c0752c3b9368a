//! An executable's thread-local storage, and where a thread finds what is in it.

use object::{
    Endianness, ReadRef,
    elf::{FileHeader64, PT_TLS},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// A file has some ten program headers.
const MAX_PROGRAM_HEADERS: u16 = 1024;

/// The storage that every thread has for the variables of the executable (not for those of its libraries).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadLocal {
    /// How much of it there is, bytes; 0: the executable has none.
    pub length: i32,
    align: i32,
}

impl ThreadLocal {
    /// What the file's program headers say of it.
    pub fn read<'a, R: ReadRef<'a>>(header: &FileHeader64<Endianness>, data: R) -> Option<Self> {
        let endian = header.endian().ok()?;
        if header.e_phnum.get(endian) > MAX_PROGRAM_HEADERS {
            return None;
        }
        let segments = header.program_headers(endian, data).ok()?;
        let Some(segment) = segments.iter().find(|segment| segment.p_type(endian) == PT_TLS) else {
            return Some(Self { length: 0, align: 1 });
        };
        let length = i32::try_from(segment.p_memsz(endian)).ok()?;
        let align = i32::try_from(segment.p_align(endian).max(1)).ok()?;
        Some(Self { length, align })
    }

    /// From a thread's pointer (x86-64: the `fs` base) to what is at this place in the storage, bytes: an executable's ends at the thread
    /// pointer (variant II of "ELF Handling For Thread-Local Storage", that of x86-64).
    pub fn offset(self, place: u64) -> Option<i32> {
        let end = self.length.checked_add(self.align - 1)? / self.align * self.align;
        i32::try_from(place).ok()?.checked_sub(end)
    }
}

#[cfg(test)]
mod tests {
    use super::ThreadLocal;

    #[test]
    fn the_storage_ends_at_the_thread_pointer() {
        assert_eq!(ThreadLocal { length: 8, align: 8 }.offset(0), Some(-8));
        assert_eq!(ThreadLocal { length: 0x188, align: 8 }.offset(0x20), Some(-0x168));
        assert_eq!(ThreadLocal { length: 0x188, align: 64 }.offset(0x20), Some(-0x1a0), "its end is aligned");
        assert_eq!(ThreadLocal { length: i32::MAX, align: 64 }.offset(0), None);
        assert_eq!(ThreadLocal { length: 8, align: 8 }.offset(1 << 40), None);
    }
}
