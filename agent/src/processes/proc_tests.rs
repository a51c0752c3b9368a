#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use super::*;
use crate::processes::fake::Fake;

#[test]
fn reads_a_process() {
    let fake = Fake::new();
    fake.process(42, "/usr/sbin/nginx", &["nginx", "-g", "daemon off;"]);
    fake.environment(42, &[("A", "1"), ("B", "x=y"), ("EMPTY", "")]);
    let proc = fake.proc();
    assert_eq!(proc.exe(42), Some(PathBuf::from("/usr/sbin/nginx")));
    assert_eq!(proc.comm(42).as_deref(), Some("nginx"));
    assert_eq!(proc.arguments(42).unwrap(), ["nginx", "-g", "daemon off;"]);
    let environment = proc.environment(42).unwrap();
    assert_eq!(environment[1], ("B".to_owned(), "x=y".to_owned()));
    assert_eq!(environment[2], ("EMPTY".to_owned(), String::new()));
    assert_eq!(proc.credentials(42).unwrap(), Credentials { user: 1000, groups: vec![4, 27, 1001] });
    let stat = proc.stat(42).unwrap();
    assert_eq!((stat.parent, stat.kernel_thread, stat.started_ticks), (1, false, 1234));
    assert_eq!(stat.started, 1_700_000_012_340_000_000);
    assert_eq!(proc.pids().unwrap(), [1, 42]);
}

#[test]
fn a_vanished_process_is_none() {
    let proc = Fake::new().proc();
    assert!(!proc.exists(42));
    assert_eq!(proc.exe(42), None);
    assert_eq!(proc.comm(42), None);
    assert_eq!(proc.arguments(42), None);
    assert_eq!(proc.environment(42), None);
    assert_eq!(proc.stat(42), None);
    assert_eq!(proc.credentials(42), None);
    assert!(proc.sockets(42).is_empty() && proc.listeners(42).is_empty());
}

#[test]
fn huge_and_broken_content_is_bounded() {
    let fake = Fake::new();
    fake.process(7, "/bin/x", &["x"]);
    let mut environment = b"FIRST=1\0NOVALUE\0HUGE=".to_vec();
    environment.resize(1 << 20, b'a');
    fake.write("7/environ", &environment);
    fake.write("7/cmdline", &vec![b'b'; 1 << 20]);
    let proc = fake.proc();
    assert_eq!(proc.environment(7).unwrap(), [("FIRST".to_owned(), "1".to_owned())], "the cut entry is left out");
    assert_eq!(proc.arguments(7).unwrap()[0].len(), 64 * 1024);
    for stat in [&b""[..], b"7 (x", b"7 (x) S", b"7 (x) S a b c d e f g h i j k l m n o p q r s t u", b"\xff\xfe)"] {
        fake.write("7/stat", stat);
        assert_eq!(proc.stat(7), None);
    }
}

#[test]
fn control_characters_are_neutralised() {
    let fake = Fake::new();
    fake.process(7, "/bin/\u{1b}[31mred (deleted)", &["a\u{1b}]0;title\u{7}", "b\nc", "d\u{202e}e"]);
    fake.write("7/comm", b"\x1b[2J\xff\n");
    let proc = fake.proc();
    assert_eq!(proc.exe(7), Some(PathBuf::from("/bin/\u{fffd}[31mred")));
    assert_eq!(proc.arguments(7).unwrap(), ["a\u{fffd}]0;title\u{fffd}", "b\u{fffd}c", "d\u{fffd}e"]);
    assert_eq!(proc.comm(7).as_deref(), Some("\u{fffd}[2J\u{fffd}"));
}

#[test]
fn padded_titles_are_one_argument() {
    let fake = Fake::new();
    fake.process(7, "/usr/sbin/nginx", &[]);
    assert!(fake.proc().arguments(7).unwrap().is_empty());
    fake.write("7/cmdline", b"nginx: worker process\0\0\0\0\0");
    assert_eq!(fake.proc().arguments(7).unwrap(), ["nginx: worker process"]);
}

#[test]
fn kernel_threads_are_told_apart() {
    let fake = Fake::new();
    fake.stat(2, 0, 0x20_8040, 0);
    assert!(fake.proc().stat(2).unwrap().kernel_thread);
}

#[test]
fn files_are_looked_up_inside_the_process_root() {
    let fake = Fake::new();
    fake.process(7, "/bin/x", &["x"]);
    fake.write("secret", b"of the host");
    fake.write("7/root/app/package.json", b"inside");
    fake.link("7/root/app/absolute", "/app/package.json");
    fake.link("7/root/app/escape", "../../../../secret");
    let proc = fake.proc();
    let read = |path: &str| proc.file_of(7, Path::new(path));
    assert_eq!(read("/app/package.json").as_deref(), Some("inside"));
    assert_eq!(read("/app/absolute").as_deref(), Some("inside"), "links are the process's own");
    assert_eq!(read("/app/escape"), None);
    assert_eq!(read("/../../secret"), None);
    assert_eq!(read("/app"), None, "a folder is no file");
}

#[test]
fn only_regular_files_are_opened_and_only_their_beginning_is_read() {
    let fake = Fake::new();
    fake.process(7, "/bin/x", &["x"]);
    fake.write("7/root/app/sparse", b"{");
    std::fs::File::options().write(true).open(fake.path("7/root/app/sparse")).unwrap().set_len(1 << 30).unwrap();
    fake.hang("7/root/app/fifo");
    // /dev/zero, where root runs the tests: it has a mode that lets everybody read.
    let (zero, mode) = (fake.path("7/root/app/zero"), Mode::RUSR | Mode::ROTH);
    let _ = rustix::fs::mknodat(CWD, zero, FileType::CharacterDevice, mode, rustix::fs::makedev(1, 5));
    fake.link("7/root/app/to-zero", "zero");
    fake.link("7/root/app/loop", "loop");
    fake.link("7/root/app/magic", "/proc/self/exe");
    std::fs::create_dir(fake.path("7/root/proc")).unwrap();
    let proc = fake.proc();
    let read = |path: &str| proc.file_of(7, Path::new(path));
    assert_eq!(read("/app/sparse").map(|text| text.len() as u64), Some(MAX_FILE));
    assert_eq!(read("/app/fifo"), None);
    for path in ["/app/zero", "/app/to-zero", "/app/loop", "/app/magic", "/app/none", ""] {
        assert_eq!(read(path), None, "{path}");
    }
}

#[test]
fn what_the_process_may_not_read_is_not_read_for_it() {
    let fake = Fake::new();
    fake.process(7, "/bin/x", &["x"]);
    fake.write("7/root/secret", b"of root");
    let secret = fake.path("7/root/secret");
    let mode = |bits| rustix::fs::chmod(&secret, Mode::from_raw_mode(bits)).unwrap();
    let read = || fake.proc().file_of(7, Path::new("/secret")).is_some();
    let as_whom = |user: u32, group: u32, more: u32| {
        let status = format!("Uid:\t0\t{user}\t0\t0\nGid:\t0\t{group}\t0\t0\nGroups:\t{more} \n");
        fake.write("7/status", status.as_bytes());
    };
    let own = rustix::fs::stat(&secret).unwrap();
    let other = own.st_uid + 1000;
    as_whom(other, 7, 8);
    mode(0o440);
    assert!(!read());
    mode(0o444);
    assert!(read());
    mode(0o440);
    as_whom(other, own.st_gid, 8);
    assert!(read(), "its group");
    as_whom(other, 7, own.st_gid);
    assert!(read(), "one of its groups");
    as_whom(own.st_uid, 7, 8);
    assert!(read(), "its own");
}

#[test]
fn finds_listening_sockets() {
    let fake = Fake::new();
    fake.process(7, "/bin/x", &["x"]);
    fake.listens(7, "net:[1]", 4242, 8080);
    fake.write(
        "7/net/tcp6",
        b"  sl\n 0: 00000000000000000000000000000000:1F91 0:0 0A 0 0 0 0 0 99 1\n garbage\n 1: x 0A\n",
    );
    fake.link("7/fd/4", "/dev/null");
    fake.link("7/fd/5", "socket:[]");
    assert_eq!(fake.proc().listeners(7)[0], (4242, 8080));
    assert_eq!(fake.proc().sockets(7), [4242]);
}

#[test]
fn reads_this_very_process() {
    let proc = Proc::default();
    let own = std::process::id();
    assert_eq!(proc.exe(own), std::env::current_exe().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let age = now.saturating_sub(proc.stat(own).unwrap().started);
    // No test runs for an hour; another unit or clock would be further off.
    assert!(age < 3_600_000_000_000, "started {age} ns ago");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let inodes = proc.sockets(own);
    assert!(proc.listeners(own).iter().any(|(inode, p)| *p == port && inodes.contains(inode)));
}
