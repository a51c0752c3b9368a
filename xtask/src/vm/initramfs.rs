//! The file system of the virtual machines: the agent, the program that tests it, and from this machine PostgreSQL and
//! a few tools, each with the libraries that it is linked to.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// What the tests run, by the paths that they use.
const PROGRAMS: [&str; 6] = [
    "/usr/bin/sh",
    "/usr/bin/setpriv",
    "/usr/bin/timeout",
    "/usr/sbin/ip",
    "/usr/lib/postgresql/15/bin/initdb",
    "/usr/lib/postgresql/15/bin/postgres",
];
/// Modules that `initdb` loads.
const MODULES: [&str; 2] = ["/usr/lib/postgresql/15/lib/dict_snowball.so", "/usr/lib/postgresql/15/lib/plpgsql.so"];
/// Files and folders that are copied as they are.
const DATA: [&str; 4] = ["/usr/share/postgresql/15", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"];
/// Folders that the first process and PostgreSQL expect.
const FOLDERS: [&str; 6] = ["proc", "sys", "dev", "tmp", "run", "etc"];
/// Debian's merged /usr.
const LINKS: [(&str, &str); 4] = [("usr/bin", "bin"), ("usr/sbin", "sbin"), ("usr/lib", "lib"), ("usr/lib64", "lib64")];

/// Where the agent is in the machine.
pub(crate) const AGENT: &str = "/usr/bin/syspan";

/// Where tests/apps/go-goroutines is in the machine: a program without libraries.
const GO: &str = "/usr/bin/go-goroutines";

/// Writes the archive that the kernels unpack: `guest` becomes their first process.
pub(crate) fn build(agent: &Path, guest: &Path) -> Result<PathBuf> {
    let folder = workspace::target().join("vm");
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for (target, name) in LINKS {
        fs::create_dir_all(root.join(target))?;
        symlink(target, root.join(name))?;
    }
    for name in FOLDERS {
        fs::create_dir_all(root.join(name))?;
    }
    install_stripped(agent, &inside(&root, AGENT))?;
    install_stripped(guest, &root.join("init"))?;
    fs::copy(workspace::apps().join("go/go-goroutines"), inside(&root, GO)).context("`cargo xtask setup` builds it")?;

    let mut linked: Vec<PathBuf> = [agent, guest].map(Path::to_owned).into();
    for path in PROGRAMS.iter().chain(&MODULES) {
        copy(Path::new(path), &root)?;
        linked.push(path.into());
    }
    for library in libraries(&linked)? {
        copy(&library, &root)?;
    }
    for path in DATA {
        copy(Path::new(path), &root)?;
    }
    archive(&root, &folder.join("initramfs"))
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Debug information is several times the size of the rest, and memory in the machine.
fn install_stripped(program: &Path, place: &Path) -> Result<()> {
    run(Command::new("strip").arg("-o").arg(place).arg(program))
}

/// Copies a file or folder to the same path below `root`, symbolic links as what they name.
fn copy(path: &Path, root: &Path) -> Result<()> {
    let place = inside(root, &path.to_string_lossy());
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    run(Command::new("cp").args(["--recursive", "--dereference", "--preserve=mode"]).arg(path).arg(place))
}

/// All libraries that programs are linked to, and their loader, as `ldd` says.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").args(programs).output().context("ldd could not be started")?;
    ensure!(output.status.success(), "ldd failed: {}", String::from_utf8_lossy(&output.stderr));
    // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/') && !word.ends_with(':')))
        .map(PathBuf::from)
        .collect())
}

/// Packs a folder in the format that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
fn archive(root: &Path, place: &Path) -> Result<PathBuf> {
    let mut find = Command::new("find").args([".", "-print0"]).current_dir(root).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    run(Command::new("cpio")
        .args(["--create", "--null", "--format=newc", "--owner=+0:+0", "--quiet"])
        .current_dir(root)
        .stdin(names)
        .stdout(File::create(place)?))?;
    ensure!(find.wait()?.success(), "find failed");
    Ok(place.to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    crate::steps::run(command)
}
