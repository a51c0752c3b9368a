//! Where a Rust program keeps the id of the Tokio task that a thread is polling: in the thread-local `tokio::runtime::context::CONTEXT`,
//! the member `current_task_id`.
//!
//! Neither is part of an interface. The variable is found by its symbol. Where its member is, rustc decides: in a table by the
//! versions of both and by the variable's size, which differs with Tokio's features, is what programs built with them were seen to have there
//! (`tests/tests/tokio_tasks.rs` compares with the versions that are there). Of a program with other versions nothing is read, and none of
//! one that has been stripped of its symbols.

use std::ops::RangeInclusive;

use memchr::memmem;
use object::{
    Endianness, ReadRef,
    elf::{EM_X86_64, FileHeader64, STT_TLS},
    read::elf::{FileHeader as _, SectionHeader as _, Sym as _},
};

use super::{
    symbols::{Sections, Symbols},
    thread_local::ThreadLocal,
};

/// A part of the variable's symbol: its path, as both of rustc's manglings write it.
const VARIABLE: &[u8] = b"5tokio7runtime7context7CONTEXT";
/// How rustc names itself in `.comment`.
const COMPILER: &[u8] = b"rustc version 1.";
/// How the paths of Tokio's sources begin, which its panics tell.
const SOURCES: &[u8] = b"/tokio-1.";
/// How much of `.comment` is read, bytes: it has a line for each sort of compiler and linker.
const COMMENT: u64 = 4096;
/// Larger constants are not searched, bytes.
const MAX_CONSTANTS: u64 = 64 * 1024 * 1024;

/// rustc's minor versions with which it was looked where the id is: 1.85, 1.95, 1.96 and 1.97.
const RUSTC: RangeInclusive<u32> = 85..=97;
/// What was seen there, by Tokio's minor versions (all of them, with Rust 1.95) and the size of the variable: the place of the id. The
/// smaller one of two is that of programs without the multi-threaded scheduler.
const SEEN: [(RangeInclusive<u32>, u64, i32); 4] =
    [(29..=39, 88, 40), (29..=39, 80, 8), (40..=54, 80, 48), (40..=54, 72, 40)];

/// From a thread's pointer (x86-64: the `fs` base) to the id of the task that it polls, a word; 0 while it polls none.
pub fn task_id<'a, R: ReadRef<'a>>(
    header: &FileHeader64<Endianness>,
    sections: &Sections<'a, R>,
    data: R,
) -> Option<i32> {
    let endian = header.endian().ok()?;
    if header.e_machine(endian) != EM_X86_64 {
        return None;
    }
    let read = |name: &[u8], limit: u64| {
        let (_, section) = sections.section_by_name(endian, name)?;
        let (offset, length) = section.file_range(endian)?;
        data.read_bytes_at(offset, length.min(limit)).ok()
    };
    only_version(read(b".comment", COMMENT)?, COMPILER).filter(|version| RUSTC.contains(version))?;
    let (place, size) = variable(sections, endian, data)?;
    let tokio = only_version(read(b".rodata", MAX_CONSTANTS)?, SOURCES)?;
    let (.., id) = SEEN.iter().find(|(versions, sized, _)| versions.contains(&tokio) && *sized == size)?;
    ThreadLocal::read(header, data)?.offset(place)?.checked_add(*id)
}

/// The place in thread-local storage and the size of the variable, if there is exactly one.
fn variable<'a, R: ReadRef<'a>>(sections: &Sections<'a, R>, endian: Endianness, data: R) -> Option<(u64, u64)> {
    let path = memmem::Finder::new(VARIABLE);
    let [first, second] = Symbols::All
        .find(sections, endian, data, |name, symbol| symbol.st_type() == STT_TLS && path.find(name).is_some());
    let variable = first.filter(|_| second.is_none())?;
    Some((variable.st_value(endian), variable.st_size(endian)))
}

/// The minor version behind each of these places in a text, if it is the same.
fn only_version(text: &[u8], before: &[u8]) -> Option<u32> {
    let mut versions = memmem::find_iter(text, before).filter_map(|at| {
        let rest = text.get(at + before.len()..)?;
        let digits = rest.get(..rest.iter().position(|byte| !byte.is_ascii_digit())?)?;
        str::from_utf8(digits).ok()?.parse().ok()
    });
    let version = versions.next();
    version.filter(|version| versions.all(|other| other == *version))
}

#[cfg(test)]
mod tests {
    use super::{COMPILER, SOURCES, only_version};

    #[test]
    fn versions_are_taken_where_they_agree() {
        let comment = b"\0rustc version 1.95.0 (59807616e 2026-04-14)\0GCC: (Debian 12.2.0-14) 12.2.0\0";
        assert_eq!(only_version(comment, COMPILER), Some(95));
        assert_eq!(only_version(b"GCC: (Debian 12.2.0-14) 12.2.0\0", COMPILER), None);
        assert_eq!(only_version(b"rustc version 1.95.0\0rustc version 1.96.0\0", COMPILER), None);
        let constants =
            b"/tokio-1.54.1/src/runtime/park.rs/index.crates.io/tokio-1.54.1/src/net/mod.rs/tokio-util-0.7.1/src";
        assert_eq!(only_version(constants, SOURCES), Some(54));
        assert_eq!(only_version(b"vendor/tokio/src/runtime/park.rs", SOURCES), None);
        for damaged in [&b"/tokio-1."[..], b"/tokio-1.54", b"/tokio-1.x", b"/tokio-1.99999999999.1", b""] {
            assert_eq!(only_version(damaged, SOURCES), None);
        }
    }
}
