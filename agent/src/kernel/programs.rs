//! The eBPF programs as the kernel took them, which `syspan doctor` shows.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::programs::{Program, ProgramError};
use serde::Serialize;

/// Where the kernel describes this process's descriptors (proc(5)).
const DESCRIPTORS: &str = "/proc/self/fdinfo";

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadedProgram {
    /// Its name.
    pub name: String,
    /// Whether the verifier took it. One that is optional may be missing.
    pub loaded: bool,
    /// Whether it is attached to a hook. One that is not is called by others.
    pub attached: bool,
    /// How many instructions the verifier walked through, branches counted each time; none before Linux 5.16, which does
    /// not tell.
    pub verified_instructions: Option<u32>,
}

/// What became of these programs of this process, by name.
#[must_use]
pub fn examine<'a>(programs: impl Iterator<Item = (&'a str, &'a Program)>) -> Vec<LoadedProgram> {
    let attached = attached(Path::new(DESCRIPTORS)).unwrap_or_default();
    let mut programs: Vec<_> = programs
        .map(|(name, program)| {
            let info = program.info().ok();
            LoadedProgram {
                name: name.to_owned(),
                loaded: info.is_some(),
                attached: info.as_ref().is_some_and(|info| attached.contains(&info.id())),
                verified_instructions: info.and_then(|info| info.verified_instruction_count()),
            }
        })
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

/// The ids of the programs that this process holds links of.
fn attached(descriptors: &Path) -> io::Result<HashSet<u32>> {
    let mut ids = HashSet::new();
    for entry in fs::read_dir(descriptors)? {
        // The descriptor of this listing is gone by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        ids.extend(linked(&text));
    }
    Ok(ids)
}

/// Why the kernel did not take a program, without the verifier's log: that has thousands of lines, one of which says why.
#[must_use]
pub fn refusal(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        return reason(&verifier_log.to_string(), io_error);
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The verifier's verdict, and the error of the system call.
fn reason(log: &str, error: &io::Error) -> String {
    // Then the log is cut off somewhere, and its last line says nothing.
    if error.kind() == io::ErrorKind::StorageFull {
        return "the verifier gave up, and its log is too long to be read".to_owned();
    }
    verdict(log).map_or_else(|| error.to_string(), |verdict| format!("{verdict} ({error})"))
}

/// The line of a verifier's log that says why: the last one before the statistics.
fn verdict(log: &str) -> Option<&str> {
    let is_statistics =
        |line: &&str| ["verification time", "stack depth", "processed "].iter().any(|word| line.starts_with(word));
    log.lines().map(str::trim).rev().find(|line| !line.is_empty() && !is_statistics(line))
}

/// How often the kernel did not run a program because it was running on that CPU already (`recursion_misses`, since 5.12).
#[must_use]
pub fn misses(program: &Program) -> Option<u64> {
    let descriptor = program.fd().ok()?.as_fd().as_raw_fd();
    missed(&fs::read_to_string(Path::new(DESCRIPTORS).join(descriptor.to_string())).ok()?)
}

fn missed(description: &str) -> Option<u64> {
    value(description, "recursion_misses")?.parse().ok()
}

/// A line of a descriptor's description.
fn value<'a>(description: &'a str, key: &str) -> Option<&'a str> {
    description.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
}

/// The program of a link, as its descriptor is described (`bpf_link_show_fdinfo` in the kernel's kernel/bpf/syscall.c);
/// none for other descriptors.
fn linked(description: &str) -> Option<u32> {
    value(description, "link_type")?;
    value(description, "prog_id")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{linked, missed, reason};

    #[test]
    fn a_link_tells_its_program() {
        let link = "pos:\t0\nflags:\t02000000\nmnt_id:\t15\nlink_type:\traw_tracepoint\nlink_id:\t4\nprog_tag:\t\
                    0f2f0b4b\nprog_id:\t17\ntp_name:\tsys_enter\n";
        assert_eq!(linked(link), Some(17));
    }

    #[test]
    fn of_a_verifiers_log_only_the_verdict_is_said() {
        let log = "984: (bf) r6 = r1\n985: (85) call bpf_probe_read_user#112\nR2 unbounded memory access, use 'var &= const'\n\
                   verification time 38 usec\nstack depth 216+0+0\nprocessed 2303 insns (limit 1000000)\n";
        let error = || std::io::Error::from_raw_os_error(13);
        let said = reason(log, &error());
        assert_eq!(said, "R2 unbounded memory access, use 'var &= const' (Permission denied (os error 13))");
        let cut_off = reason("1808: (db) lock", &std::io::Error::from_raw_os_error(28));
        assert_eq!(cut_off, "the verifier gave up, and its log is too long to be read");
        assert_eq!(reason("", &error()), "Permission denied (os error 13)");
        assert_eq!(reason("processed 0 insns\n", &error()), "Permission denied (os error 13)");
    }

    #[test]
    fn a_program_tells_its_misses() {
        assert_eq!(missed("run_cnt:\t0\nrecursion_misses:\t12\nverified_insns:\t99\n"), Some(12));
        assert_eq!(missed("prog_type:\t17\n"), None);
    }

    #[test]
    fn a_program_is_no_link() {
        assert_eq!(linked("pos:\t0\nprog_type:\t17\nprog_jited:\t1\nprog_tag:\t0f2f0b4b\nprog_id:\t17\n"), None);
        assert_eq!(linked("pos:\t0\nflags:\t0100002\n"), None);
        assert_eq!(linked(""), None);
    }
}
