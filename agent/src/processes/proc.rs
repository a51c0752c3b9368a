//! What `/proc` says about a process, as proc(5) describes it.
//!
//! Everything a process shows there is its own choice: names, arguments and environment may be huge, broken or made to
//! confuse a terminal. So every read is bounded, and text is cleaned before it is handed on. A process may end between
//! any two reads, which is nothing special: such answers are `None`.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    os::{fd::AsRawFd as _, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat as FileStat};

use crate::{escape::harmless, event::Pid};

/// How much of a file is looked at: arguments and environment of real services stay far below.
const MAX_FILE: u64 = 64 * 1024;
/// How many open descriptors of a process are looked at when its sockets are wanted.
const MAX_DESCRIPTORS: usize = 65_536;
/// `net/tcp` of a busy host has a line for each connection, 150 bytes each; listening sockets come first.
const MAX_SOCKETS_FILE: u64 = 4 * 1024 * 1024;
/// Clock ticks a second in `/proc`: USER_HZ, which is part of the ABI and 100 on every architecture syspan runs on.
const NS_PER_TICK: u64 = 1_000_000_000 / 100;
/// How much of `/proc/PID/maps` is read, bytes: programs with some thousands of mappings have less.
const MAX_MAPS: u64 = 4 * 1024 * 1024;
/// `PF_KTHREAD` of include/linux/sched.h, in the flags field of `/proc/PID/stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// `TCP_LISTEN` of include/net/tcp_states.h, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";
/// And of a connection.
const ESTABLISHED: &str = "01";

/// A proc file system.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
    /// When the machine booted, in ns since the Unix epoch. Read once: the kernel computes it from the wall clock, and a
    /// process's start must not move when the clock is set.
    booted: u64,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The parent process.
    pub parent: Pid,
    /// Whether this is a thread of the kernel and no program.
    pub kernel_thread: bool,
    /// When it started, in clock ticks since boot: exact and never changed, unlike [`Stat::started`].
    pub started_ticks: u64,
    /// When it started, in ns since the Unix epoch.
    pub started: u64,
}

/// A part of a file that a process has mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// What is there, by its place in the file, bytes.
    pub offset: u64,
    /// The file, in the process's own mount namespace.
    pub path: PathBuf,
}

/// Whose rights a process has, as `/proc/PID/status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user id.
    pub user: u32,
    /// The effective and the supplementary group ids.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Whether the file's mode (inode(7)) lets such a process read it.
    fn may_read(&self, file: &FileStat) -> bool {
        let bit = if self.user == 0 {
            return true;
        } else if file.st_uid == self.user {
            Mode::RUSR
        } else if self.groups.contains(&file.st_gid) {
            Mode::RGRP
        } else {
            Mode::ROTH
        };
        Mode::from_raw_mode(file.st_mode).contains(bit)
    }
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Proc {
    /// The proc file system mounted at a folder.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let mut proc = Self { root: root.into(), booted: 0 };
        let seconds = proc
            .system_text("stat")
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok());
        proc.booted = seconds.unwrap_or(0).saturating_mul(1_000_000_000);
        proc
    }

    /// A file that is not a process's, such as `sys/kernel/hostname`.
    #[must_use]
    pub fn system_text(&self, path: &str) -> Option<String> {
        read(&self.root.join(path), MAX_FILE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The target of a link that is not a process's, such as `self/ns/uts`.
    #[must_use]
    pub fn system_link(&self, path: &str) -> Option<PathBuf> {
        std::fs::read_link(self.root.join(path)).ok()
    }

    /// The signals that this process ignores: bit 0 is signal 1.
    #[must_use]
    pub fn ignored_signals(&self) -> Option<u64> {
        let status = self.system_text("self/status")?;
        u64::from_str_radix(status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?.trim(), 16).ok()
    }

    /// All process ids, ascending.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn pids(&self) -> io::Result<Vec<Pid>> {
        let mut pids: Vec<Pid> = std::fs::read_dir(&self.root)?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// Whether a process is there.
    #[must_use]
    pub fn exists(&self, pid: Pid) -> bool {
        self.path(pid, "stat").exists()
    }

    /// The executable, through `/proc` and not by its path: right in any mount namespace, and after it was deleted.
    #[must_use]
    pub fn exe_file(&self, pid: Pid) -> PathBuf {
        self.path(pid, "exe")
    }

    /// The executable's path in its own mount namespace, without the mark of a deleted file.
    #[must_use]
    pub fn exe(&self, pid: Pid) -> Option<PathBuf> {
        let link = std::fs::read_link(self.exe_file(pid)).ok()?.into_os_string().into_vec();
        let path = link.strip_suffix(b" (deleted)").unwrap_or(&link);
        Some(PathBuf::from(shown(path)))
    }

    /// The working folder in its own mount namespace.
    #[must_use]
    pub fn cwd(&self, pid: Pid) -> Option<PathBuf> {
        std::fs::read_link(self.path(pid, "cwd")).ok()
    }

    /// The name of the main thread (at most 15 bytes).
    #[must_use]
    pub fn comm(&self, pid: Pid) -> Option<String> {
        self.read(pid, "comm").map(|bytes| shown(bytes.trim_ascii_end()))
    }

    /// The arguments, empty for kernel threads and zombies. A process may write anything there, such as one line that
    /// says what it does at the moment.
    #[must_use]
    pub fn arguments(&self, pid: Pid) -> Option<Vec<String>> {
        let bytes = self.read(pid, "cmdline")?;
        // A rewritten title is often padded with NULs; arguments may be empty, but not at the end.
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let bytes = bytes.get(..end).unwrap_or_default();
        Some(if bytes.is_empty() { Vec::new() } else { bytes.split(|&byte| byte == 0).map(shown).collect() })
    }

    /// The environment the program was started with. Entries without `=` and the unfinished last one of an environment
    /// longer than is read are left out.
    #[must_use]
    pub fn environment(&self, pid: Pid) -> Option<Vec<(String, String)>> {
        let mut bytes = self.read(pid, "environ")?;
        if bytes.len() as u64 == MAX_FILE {
            let end = memchr::memrchr(0, &bytes).unwrap_or(0);
            bytes.truncate(end);
        }
        let entry = |entry: &[u8]| {
            let at = memchr::memchr(b'=', entry)?;
            Some((shown(entry.get(..at)?), shown(entry.get(at + 1..)?)))
        };
        Some(bytes.split(|&byte| byte == 0).filter_map(entry).collect())
    }

    /// `/proc/PID/cgroup`: a line for each hierarchy.
    #[must_use]
    pub fn cgroup(&self, pid: Pid) -> Option<String> {
        let bytes = self.read(pid, "cgroup")?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Parent, start time and kind.
    #[must_use]
    pub fn stat(&self, pid: Pid) -> Option<Stat> {
        let bytes = self.read(pid, "stat")?;
        // "PID (NAME) STATE PPID …": the name is the process's choice and may contain `) `, the rest may not.
        let rest = bytes.get(memchr::memrchr(b')', &bytes)? + 1..)?;
        let fields: Vec<&str> = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().collect();
        // Numbers as in proc(5), which counts from 1 and has the state as the third.
        let field = |number: usize| fields.get(number - 3);
        let started_ticks: u64 = field(22)?.parse().ok()?;
        Some(Stat {
            parent: field(4)?.parse().ok()?,
            kernel_thread: field(9)?.parse::<u64>().ok()? & KERNEL_THREAD != 0,
            started_ticks,
            started: self.booted.saturating_add(started_ticks.saturating_mul(NS_PER_TICK)),
        })
    }

    /// Whose rights it has; `None` once it has ended.
    #[must_use]
    pub fn credentials(&self, pid: Pid) -> Option<Credentials> {
        let bytes = self.read(pid, "status")?;
        let text = String::from_utf8_lossy(&bytes);
        let numbers = |label: &str| -> Option<Vec<u32>> {
            let line = text.lines().find_map(|line| line.strip_prefix(label))?;
            Some(line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect())
        };
        // Real, effective, saved, file system: the second decides.
        let effective = |ids: Vec<u32>| ids.get(1).copied();
        let mut groups = numbers("Groups:").unwrap_or_default();
        groups.extend(numbers("Gid:").and_then(effective));
        Some(Credentials { user: effective(numbers("Uid:")?)?, groups })
    }

    /// A file's text as the process itself would see it.
    ///
    /// The path is resolved inside the process's root, so that neither `..` nor a symbolic link leads out of a container
    /// to a file of the host. Only regular files are opened, anything else (a FIFO, a device) would notice; and only those that
    /// the process may read by itself, for it chooses the path and the agent may read everything.
    ///
    /// The file may be on a file system that never answers: not for a thread that must not wait.
    #[must_use]
    pub fn file_of(&self, pid: Pid, path: &Path) -> Option<String> {
        let mut bytes = Vec::new();
        self.file_in(pid, path)?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same file, opened.
    #[must_use]
    pub fn file_in(&self, pid: Pid, path: &Path) -> Option<File> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, self.path(pid, "root"), folder, Mode::empty()).ok()?;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // Found, but not opened yet.
        let found = rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside).ok()?;
        let status = rustix::fs::fstat(&found).ok()?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || !self.credentials(pid)?.may_read(&status)
        {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let reopened = format!("/proc/self/fd/{}", found.as_raw_fd());
        rustix::fs::openat(CWD, reopened, flags, Mode::empty()).ok().map(File::from)
    }

    /// What a process has mapped of the files with such paths, by ascending addresses. The kernel may wait for the process: not for a thread
    /// that must not wait.
    #[must_use]
    pub fn mappings(&self, pid: Pid, wanted: impl Fn(&Path) -> bool) -> Option<Vec<Mapping>> {
        let maps = File::open(self.path(pid, "maps")).ok()?;
        let lines = BufReader::new(maps.take(MAX_MAPS)).lines().map_while(Result::ok);
        Some(lines.filter_map(|line| mapping(&line)).filter(|mapping| wanted(&mapping.path)).collect())
    }

    /// A process's memory, which can be read by addresses. Some of it may be a file that is slow to come: not for a thread that must not wait.
    #[must_use]
    pub fn memory(&self, pid: Pid) -> Option<File> {
        File::open(self.path(pid, "mem")).ok()
    }

    /// Which network namespace a process is in: equal links mean the same one.
    #[must_use]
    pub fn network_namespace(&self, pid: Pid) -> Option<PathBuf> {
        std::fs::read_link(self.path(pid, "ns/net")).ok()
    }

    /// The listening TCP sockets of the process's network namespace: inode number and port.
    #[must_use]
    pub fn listeners(&self, pid: Pid) -> Vec<(u64, u16)> {
        let mut found = Vec::new();
        for file in ["net/tcp", "net/tcp6"] {
            let Ok(file) = File::open(self.path(pid, file)) else { continue };
            let lines = BufReader::new(file.take(MAX_SOCKETS_FILE)).lines().map_while(Result::ok);
            // Those come first. For the rest the kernel walks through its table of connections, which takes it a good part
            // of a second where there are many.
            found.extend(lines.skip(1).map_while(|line| listener(&line)));
        }
        found
    }

    /// The established TCP connections to these ports in the process's network namespace: inode number and port. Where there are very many
    /// connections, only some of them.
    #[must_use]
    pub fn connections(&self, pid: Pid, ports: &[u16]) -> Vec<(u64, u16)> {
        let mut found = Vec::new();
        for file in ["net/tcp", "net/tcp6"] {
            let Ok(file) = File::open(self.path(pid, file)) else { continue };
            let lines = BufReader::new(file.take(MAX_SOCKETS_FILE)).lines().map_while(Result::ok);
            found.extend(lines.filter_map(|line| connection(&line)).filter(|(_, port)| ports.contains(port)));
        }
        found
    }

    /// The inode numbers of the sockets a process holds.
    #[must_use]
    pub fn sockets(&self, pid: Pid) -> Vec<u64> {
        self.socket_descriptors(pid).into_iter().map(|(_, inode)| inode).collect()
    }

    /// The same with the descriptors by which it holds them.
    #[must_use]
    pub fn socket_descriptors(&self, pid: Pid) -> Vec<(i32, u64)> {
        let Ok(entries) = std::fs::read_dir(self.path(pid, "fd")) else { return Vec::new() };
        let socket = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
        entries
            .flatten()
            .take(MAX_DESCRIPTORS)
            .filter_map(|entry| {
                let inode = socket(std::fs::read_link(entry.path()).ok()?)?;
                Some((entry.file_name().to_str()?.parse().ok()?, inode))
            })
            .collect()
    }

    fn path(&self, pid: Pid, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }

    fn read(&self, pid: Pid, file: &str) -> Option<Vec<u8>> {
        read(&self.path(pid, file), MAX_FILE)
    }
}

/// A file's mapping, of a line of `/proc/PID/maps`: `start-end rights offset device inode path`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let start = u64::from_str_radix(fields.next()?.split_once('-')?.0, 16).ok()?;
    let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
    let path = fields.nth(2)?.trim_ascii_start();
    path.starts_with('/').then(|| Mapping { start, offset, path: PathBuf::from(path) })
}

/// A listening socket of a line of `/proc/net/tcp`: `sl local_address rem_address st … inode`.
fn listener(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    Some((fields.get(9)?.parse().ok()?, port))
}

/// An established connection of such a line: its inode number and the other end's port.
fn connection(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    if *fields.get(3)? != ESTABLISHED {
        return None;
    }
    let port = u16::from_str_radix(fields.get(2)?.rsplit_once(':')?.1, 16).ok()?;
    Some((fields.get(9)?.parse().ok()?, port))
}

fn read(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Text that can be shown: valid UTF-8 without what a terminal would obey.
pub(super) fn shown(bytes: &[u8]) -> String {
    harmless(&String::from_utf8_lossy(bytes)).into_owned()
}

#[cfg(test)]
#[path = "proc_tests.rs"]
mod tests;
