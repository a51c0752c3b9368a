//! What a program's executable tells about how it runs: whether it is Go, of which version, and where its goroutines are described; whether
//! it runs tasks on Tokio, and where their ids are.
//!
//! Only the ELF header, two tables of headers and the beginning of one section are read, so that a file of any size costs
//! the same, and each file once. (Of a Go program the table of functions is read as well, and with thread-local
//! variables of C that of symbols; of one in Rust that of symbols and the constants.)

use std::{fs::File, num::NonZeroUsize, os::unix::fs::MetadataExt as _, path::Path};

use lru::LruCache;
use object::{
    Endianness, ReadRef as _,
    elf::FileHeader64,
    read::{
        ReadCache,
        elf::{FileHeader as _, SectionHeader as _},
    },
};

use super::{
    Runtime, functions,
    goroutines::{self, Layout},
    tokio,
};

/// How many executables are remembered: more different programs than a host runs at a time.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// A linked executable has some tens of sections; a table of thousands is an attempt to make its reader work.
const MAX_SECTIONS: u16 = 1024;
/// How much of `.go.buildinfo` is read: the header and the version behind it.
const BUILD_INFO: u64 = 256;
/// How `.go.buildinfo` begins (Go's debug/buildinfo).
const BUILD_INFO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Length of its header; since Go 1.18 the version follows as a string with its length before it.
const BUILD_INFO_HEADER: usize = 32;
/// The flag in the header's byte 15 that says so.
const INLINE_STRINGS: u8 = 2;

/// What an executable tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executable {
    /// How it schedules its work.
    pub runtime: Runtime,
    /// The version of Go it was built with, such as `go1.22.1`.
    pub go_version: Option<String>,
    /// Where it keeps its goroutines, if it is of a version for which that is known.
    pub goroutines: Option<Layout>,
    /// What it has of net/http's client.
    pub net_http: Option<NetHttp>,
    /// Where it keeps the id of the Tokio task that a thread polls, from the thread's pointer, bytes; if that is known.
    pub tokio_task: Option<i32>,
}

/// A file with a certain content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When it was last changed, s.
    pub changed: i64,
}

/// The functions of Go's http.Client in which a request passes from one goroutine to another, by their places in a file, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetHttp {
    /// The file.
    pub file: FileId,
    /// `(*persistConn).roundTrip`, which is called by the goroutine that makes a request.
    pub round_trip: u64,
    /// `persistConnWriter.Write`, by the one that writes it.
    pub write: u64,
}

/// Their names.
const NET_HTTP: [&str; 2] = ["net/http.(*persistConn).roundTrip", "net/http.persistConnWriter.Write"];

/// Executables that were looked at.
#[derive(Debug, Clone)]
pub struct Executables {
    seen: LruCache<FileId, Executable>,
}

impl Default for Executables {
    fn default() -> Self {
        Self { seen: LruCache::new(REMEMBERED) }
    }
}

impl Executables {
    /// Looks at an executable (`/proc/PID/exe`); one that cannot be read is like any other.
    pub fn inspect(&mut self, path: &Path) -> Executable {
        let Ok(metadata) = std::fs::metadata(path) else { return Executable::default() };
        let key = FileId { device: metadata.dev(), inode: metadata.ino(), changed: metadata.ctime() };
        if let Some(executable) = self.seen.get(&key) {
            return executable.clone();
        }
        let executable = if metadata.is_file() { File::open(path).ok().and_then(|file| read(key, file)) } else { None };
        let executable = executable.unwrap_or_default();
        self.seen.put(key, executable.clone());
        executable
    }
}

/// Reads an ELF file for a 64-bit machine; `None` for anything else.
fn read(id: FileId, file: File) -> Option<Executable> {
    let data = &ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    // 0 stands for a table too long for the header's field.
    let count = header.e_shnum.get(endian);
    if count == 0 || count > MAX_SECTIONS {
        return None;
    }
    let sections = header.sections(endian, data).ok()?;
    let named = |name: &[u8]| sections.section_by_name(endian, name).map(|(_, section)| section);
    let go = |go_version: Option<String>| {
        let goroutines = go_version.as_deref().and_then(|version| goroutines::layout(header, &sections, data, version));
        let functions = goroutines.and_then(|_| functions::find(header, &sections, data, NET_HTTP));
        let net_http = functions.map(|[round_trip, write]| NetHttp { file: id, round_trip, write });
        Some(Executable { runtime: Runtime::Go, go_version, goroutines, net_http, tokio_task: None })
    };
    match named(b".go.buildinfo") {
        Some(section) => {
            let (offset, length) = section.file_range(endian)?;
            go(data.read_bytes_at(offset, length.min(BUILD_INFO)).ok().and_then(version))
        }
        // Left out by some linkers, and by Go before 1.13.
        None if named(b".note.go.buildid").is_some() => go(None),
        None => tokio::task_id(header, &sections, data)
            .map(|task| Executable { tokio_task: Some(task), ..Executable::default() }),
    }
}

fn version(build_info: &[u8]) -> Option<String> {
    if !build_info.starts_with(BUILD_INFO_MAGIC) || build_info.get(15)? & INLINE_STRINGS == 0 {
        return None;
    }
    let (&length, text) = build_info.get(BUILD_INFO_HEADER..)?.split_first()?;
    // A length above 127 takes more bytes, and is no version's.
    let text = text.get(..usize::from(length)).filter(|_| length < 128)?;
    Some(super::proc::shown(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// An ELF file of these sections, each of the given content.
    fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = b"\0.shstrtab\0".to_vec();
        let mut content = Vec::new();
        let mut table = vec![0; 64];
        let mut entry = |name: u32, kind: u32, offset: usize, length: usize| {
            table.extend(name.to_le_bytes());
            table.extend(kind.to_le_bytes());
            table.extend([0; 16]);
            table.extend((offset as u64).to_le_bytes());
            table.extend((length as u64).to_le_bytes());
            table.extend([0; 24]);
        };
        for (name, bytes) in sections {
            entry(names.len() as u32, 1, 64 + content.len(), bytes.len());
            names.extend(name.as_bytes());
            names.push(0);
            content.extend(*bytes);
        }
        entry(1, 3, 64 + content.len(), names.len());
        content.extend(names);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        file.extend([0; 16]);
        file.extend((64 + content.len() as u64).to_le_bytes());
        file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0]);
        file.extend((sections.len() as u16 + 2).to_le_bytes());
        file.extend((sections.len() as u16 + 1).to_le_bytes());
        assert_eq!(file.len(), 64);
        file.extend(content);
        file.extend(table);
        file
    }

    fn build_info(flags: u8, text: &[u8]) -> Vec<u8> {
        let mut bytes = BUILD_INFO_MAGIC.to_vec();
        bytes.extend([8, flags]);
        bytes.resize(BUILD_INFO_HEADER, 0);
        bytes.extend(text);
        bytes
    }

    fn inspect(bytes: &[u8]) -> Executable {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Executables::default().inspect(file.path())
    }

    #[test]
    fn recognises_go() {
        let go = |go_version: Option<&str>| Executable {
            runtime: Runtime::Go,
            go_version: go_version.map(str::to_owned),
            goroutines: go_version.map(|_| Layout { g: -8, id: 152, parent: Some(272) }),
            net_http: None,
            tokio_task: None,
        };
        let text = b"\x08go1.22.1\x00";
        assert_eq!(inspect(&elf(&[(".text", b"x"), (".go.buildinfo", &build_info(2, text))])), go(Some("go1.22.1")));
        assert_eq!(
            inspect(&elf(&[(".go.buildinfo", &build_info(0, text))])),
            go(None),
            "Go before 1.18 has pointers there"
        );
        assert_eq!(inspect(&elf(&[(".go.buildinfo", &build_info(2, b"\xff\xff"))])), go(None));
        assert_eq!(inspect(&elf(&[(".go.buildinfo", b"short")])), go(None));
        assert_eq!(inspect(&elf(&[(".note.go.buildid", b"x")])), go(None));
    }

    #[test]
    fn everything_else_has_threads() {
        for bytes in [elf(&[(".text", b"x")]), b"#!/bin/sh\n".to_vec(), Vec::new(), b"\x7fELF\x02\x01".to_vec()] {
            assert_eq!(inspect(&bytes), Executable::default());
        }
        assert_eq!(Executables::default().inspect(Path::new("/proc/self/fd/none")), Executable::default());
    }

    #[test]
    fn tokios_tasks_are_found_in_a_real_program() {
        // The tests themselves, which have Tokio in them.
        let own = Executables::default().inspect(&std::env::current_exe().unwrap());
        assert_eq!(own.runtime, Runtime::Threads);
        assert!(own.tokio_task.is_some_and(|place| place < 0 && place % 8 == 0), "{own:?}");
    }

    #[test]
    fn a_huge_section_table_is_not_read() {
        let mut bytes = elf(&[(".go.buildinfo", &build_info(2, b"\x08go1.22.1"))]);
        bytes[60..62].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(inspect(&bytes), Executable::default());
        // No count in the header: it would be in the table, as a 64-bit number.
        bytes[60..62].copy_from_slice(&0_u16.to_le_bytes());
        assert_eq!(inspect(&bytes), Executable::default());
    }

    #[test]
    fn reads_a_real_go_program_where_there_is_one() {
        let path = Path::new("/usr/local/go/bin/gofmt");
        if !path.exists() {
            eprintln!("skipped: no Go toolchain here");
            return;
        }
        let executable = Executables::default().inspect(path);
        assert_eq!(executable.runtime, Runtime::Go);
        assert!(executable.go_version.unwrap().starts_with("go1."));
    }

    proptest! {
        #[test]
        fn damaged_files_do_not_panic(damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..12)) {
            let mut bytes = elf(&[(".text", b"x"), (".go.buildinfo", &build_info(2, b"\x08go1.22.1"))]);
            for (at, value) in damage {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            inspect(&bytes);
        }
    }
}
