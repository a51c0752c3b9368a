//! Where a process that runs CPython keeps what is read of its threads: the context that each is in (`contextvars`, PEP 567).
//!
//! The interpreter's state hangs on the exported symbol `_PyRuntime`, of the executable or of `libpython3.N.so`. What leads from there is no part
//! of an interface, but the same for all releases of a minor version: the table has what `offsetof` says with each version's own headers
//! (`tests/tests/contexts.rs` compares it with the version that is there). Of a version that is not in it nothing is read, nor of a build whose
//! objects look different (debugging, free-threaded). Threads are told apart by what `pthread_self` says, which is the thread pointer
//! on x86-64 alone.
//!
//! The function that copies contexts is exported too; where it has made one is found in its code ([`results`]).

use std::{fs::File, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use super::{
    library,
    proc::{Mapping, Proc},
    results::Results,
    runtime::FileId,
};
use crate::event::Pid;

/// How the names of the executables begin.
const NAME: &str = "python3";
/// How the names of both files begin before the minor version.
const FILES: [&str; 2] = ["python3.", "libpython3."];
/// The interpreter's state.
const RUNTIME: &[u8] = b"_PyRuntime";
/// The function that makes every copy of a context: `PyObject *PyContext_CopyCurrent(void)`.
const COPY: &[u8] = b"PyContext_CopyCurrent";

/// What is found of it in a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Where its threads are.
    pub layout: Layout,
    /// Where it copies contexts, if its code is such as can be read.
    pub copies: Option<Copies>,
}

/// Where `PyContext_CopyCurrent` has made a copy.
#[derive(Debug, Clone)]
pub struct Copies {
    /// The file with its code, held open: who attaches probes must not wait for a file system.
    pub file: Arc<File>,
    /// As it was when it was read.
    pub id: FileId,
    /// The places in it.
    pub results: Results,
}

impl PartialEq for Copies {
    fn eq(&self, other: &Self) -> bool {
        (self.id, &self.results) == (other.id, &other.results)
    }
}

impl Eq for Copies {}

/// Where it is, and byte offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Address of the pointer to the main interpreter's state.
    pub interpreter: u64,
    /// From there.
    pub members: Members,
}

/// Byte offsets in CPython's structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Members {
    /// In `_PyRuntime`: `interpreters.main`.
    pub main: u32,
    /// In `PyInterpreterState`: `threads.head`, or `tstate_head`.
    pub threads: u32,
    /// In `PyThreadState`: `next`.
    pub next: u32,
    /// In `PyThreadState`: `thread_id`.
    pub thread_id: u32,
    /// In `PyThreadState`: `context`.
    pub context: u32,
}

impl Members {
    /// Of a minor version of Python 3, on 64-bit machines.
    fn of(minor: u32) -> Option<Self> {
        let [main, threads, thread_id, context] = match minor {
            8..=10 => [40, 8, 176, 240],
            11 => [48, 16, 152, 224],
            12 => [48, 72, 136, 208],
            13 => [640, 7344, 152, 208],
            _ => return None,
        };
        Some(Self { main, threads, next: 8, thread_id, context })
    }
}

/// Whether a process seems to run CPython, by its executable.
#[must_use]
pub fn is_python(exe: &Path) -> bool {
    exe.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NAME))
}

/// Finds it in a process; `None` also where the interpreter is not loaded yet. (The executable may have been started just now.)
#[must_use]
pub fn find(proc: &Proc, pid: Pid) -> Option<Interpreter> {
    if !cfg!(target_arch = "x86_64") || !is_python(&proc.exe(pid)?) {
        return None;
    }
    let mappings = proc.mappings(pid, |path| minor(path).is_some())?;
    // A file's first mapping is its first segment's, for the kernel maps them in their order.
    let first =
        |(at, mapping): &(usize, &Mapping)| !mappings.iter().take(*at).any(|before| before.path == mapping.path);
    mappings.iter().enumerate().filter(first).find_map(|(_, mapping)| {
        let members = Members::of(minor(&mapping.path)?)?;
        let (runtime, copies) = read(proc.file_in(pid, &mapping.path)?, mapping)?;
        if copies.is_none() {
            tracing::debug!(
                pid,
                "which of its contexts are copies of which is not seen: its code is not such as is known"
            );
        }
        let layout = Layout { interpreter: runtime.checked_add(members.main.into())?, members };
        Some(Interpreter { layout, copies })
    })
}

/// The minor version of Python 3 that a file's name tells: of `python3.11`, or `libpython3.11.so.1.0`.
fn minor(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let rest = FILES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (minor, rest) = rest.split_at_checked(digits)?;
    // Other builds have a letter there.
    (rest.is_empty() || rest.starts_with(".so")).then(|| minor.parse().ok())?
}

/// Where the interpreter's state is in a process that has mapped the beginning of the file there, and where it copies contexts.
fn read(file: File, mapping: &Mapping) -> Option<(u64, Option<Copies>)> {
    let metadata = file.metadata().ok()?;
    let id = FileId { device: metadata.dev(), inode: metadata.ino(), changed: metadata.ctime() };
    let (runtime, results) = library::inspect(&file, mapping, |library| {
        let results = library.symbol(COPY).and_then(|function| library.results(function));
        Some((library.address(RUNTIME)?, results))
    })?;
    Some((runtime, results.map(|results| Copies { file: Arc::new(file), id, results })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name() {
        let minor = |name: &str| minor(&Path::new("/usr/lib").join(name));
        assert_eq!(minor("python3.11"), Some(11));
        assert_eq!(minor("libpython3.9.so.1.0"), Some(9));
        assert_eq!(minor("libpython3.12.so"), Some(12));
        for other in
            ["python3", "python3.13t", "libpython3.13t.so.1.0", "python3.11d", "libpython3.so", "python2.7", "x"]
        {
            assert_eq!(minor(other), None, "{other}");
        }
    }

    #[test]
    fn unknown_versions_are_left_alone() {
        assert!((8..=13).all(|minor| Members::of(minor).is_some()));
        assert!([0, 7, 14, 99].iter().all(|minor| Members::of(*minor).is_none()));
    }
}
