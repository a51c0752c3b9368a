//! A made-up `/proc` for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use rustix::fs::{FileType, Mode};
use tempfile::TempDir;

use super::proc::Proc;
use crate::event::Pid;

/// A folder that looks like `/proc`. The machine booted at 1 700 000 000.
pub(crate) struct Fake {
    folder: TempDir,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let fake = Self { folder: TempDir::new().unwrap() };
        fake.write("stat", b"cpu  1 2 3\nbtime 1700000000\nprocesses 5\n");
        fake.write("sys/kernel/hostname", b"pluto\n");
        fake.write("sys/kernel/random/boot_id", b"11111111-2222-3333-4444-555555555555\n");
        fake.link("self/ns/uts", "uts:[4026531838]");
        fake.write("1/status", b"Name:\tinit\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \n");
        fake.write("1/root/etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
        fake.write("1/root/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nshop:x:1000:1000::/srv:/bin/sh\n");
        fake
    }

    pub(crate) fn proc(&self) -> Proc {
        Proc::at(self.folder.path())
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    /// A process that runs `exe` with these arguments, started 12.34 s after boot by process 1.
    pub(crate) fn process(&self, pid: Pid, exe: &str, arguments: &[&str]) {
        self.link(&format!("{pid}/exe"), exe);
        self.link(&format!("{pid}/cwd"), "/srv/shop");
        let comm: String = exe.rsplit('/').next().unwrap().chars().take(15).collect();
        self.write(&format!("{pid}/comm"), format!("{comm}\n").as_bytes());
        let arguments: String = arguments.iter().flat_map(|argument| [*argument, "\0"]).collect();
        self.write(&format!("{pid}/cmdline"), arguments.as_bytes());
        self.environment(pid, &[]);
        self.write(&format!("{pid}/cgroup"), b"0::/\n");
        self.write(&format!("{pid}/status"), b"Name:\tx\nUid:\t1\t1000\t3\t4\nGid:\t1\t1001\t3\t4\nGroups:\t4 27\n");
        self.write(
            &format!("{pid}/root/etc/passwd"),
            b"root:x:0:0:root:/root:/bin/sh\nshop:x:1000:1000::/srv:/bin/sh\n",
        );
        self.stat(pid, 1, 0x40_0000, 1234);
    }

    pub(crate) fn stat(&self, pid: Pid, parent: Pid, flags: u64, started_ticks: u64) {
        let between = "0 ".repeat(12);
        let stat = format!("{pid} (a) name) S {parent} {pid} {pid} 0 -1 {flags} {between}{started_ticks} 99 99\n");
        self.write(&format!("{pid}/stat"), stat.as_bytes());
    }

    pub(crate) fn environment(&self, pid: Pid, entries: &[(&str, &str)]) {
        let text: String = entries.iter().map(|(key, value)| format!("{key}={value}\0")).collect();
        self.write(&format!("{pid}/environ"), text.as_bytes());
    }

    pub(crate) fn cgroup(&self, pid: Pid, path: &str) {
        self.write(&format!("{pid}/cgroup"), format!("0::{path}\n").as_bytes());
    }

    /// The process is in network namespace `netns` and listens on a port with socket `inode`.
    pub(crate) fn listens(&self, pid: Pid, netns: &str, inode: u64, port: u16) {
        self.link(&format!("{pid}/ns/net"), netns);
        self.link(&format!("{pid}/fd/3"), &format!("socket:[{inode}]"));
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let lines = format!(
            "   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 0\n   \
             1: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 777 1 0 0\n"
        );
        self.write(&format!("{pid}/net/tcp"), format!("{head}{lines}").as_bytes());
    }

    /// A file that whoever opens it waits for, until someone writes to it.
    pub(crate) fn hang(&self, path: &str) {
        let path = self.path(path);
        let _ = fs::remove_file(&path);
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    pub(crate) fn remove(&self, pid: Pid) {
        fs::remove_dir_all(self.path(&pid.to_string())).unwrap();
    }
}
