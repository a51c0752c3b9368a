//! Where a process that runs CPython keeps what is read of its threads: the context that each is in (`contextvars`, PEP 567).
//!
//! The interpreter's state hangs on the exported symbol `_PyRuntime`, of the executable or of `libpython3.N.so`. What leads from there is no part
//! of an interface, but the same for all releases of a minor version: the table has what `offsetof` says with each version's own headers
//! (`tests/tests/contexts.rs` compares it with the version that is there). Of a version that is not in it nothing is read, nor of a build whose
//! objects look different (debugging, free-threaded). Threads are told apart by what `pthread_self` says, which is the thread pointer
//! on x86-64 alone.

use std::path::Path;

use super::{
    library,
    proc::{Mapping, Proc},
};
use crate::event::Pid;

/// How the names of the executables begin.
const NAME: &str = "python3";
/// How the names of both files begin before the minor version.
const FILES: [&str; 2] = ["python3.", "libpython3."];
/// The interpreter's state.
const RUNTIME: &[u8] = b"_PyRuntime";

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
pub fn find(proc: &Proc, pid: Pid) -> Option<Layout> {
    if !cfg!(target_arch = "x86_64") || !is_python(&proc.exe(pid)?) {
        return None;
    }
    let mappings = proc.mappings(pid, |path| minor(path).is_some())?;
    let first =
        |(at, mapping): &(usize, &Mapping)| !mappings.iter().take(*at).any(|before| before.path == mapping.path);
    mappings.iter().enumerate().filter(first).find_map(|(_, mapping)| {
        let members = Members::of(minor(&mapping.path)?)?;
        let [runtime] = library::addresses(proc.file_in(pid, &mapping.path)?, mapping, [RUNTIME])?;
        Some(Layout { interpreter: runtime.checked_add(members.main.into())?, members })
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
