//! A control group that limits memory, in whichever hierarchy has the memory controller.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::wait;

/// A group of its own, removed when dropped.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl MemoryGroup {
    /// A new, empty group; `None` where no hierarchy that is mounted here offers the memory controller.
    pub fn create(name: &str) -> Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        for (root, version) in mounts.lines().filter_map(hierarchy) {
            let Ok(()) = offer(&root, version) else { continue };
            let folder = root.join(name);
            if fs::create_dir(&folder).is_ok() {
                let group = Self { folder, version };
                if group.file("limit").exists() {
                    return Ok(Some(group));
                }
            }
        }
        Ok(None)
    }

    /// The file that a process writes its id to in order to join.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Allows no more memory than is used now. Version 1 refuses a limit below what is used: what the group needs next
    /// is then refused instead.
    pub fn squeeze(&self) -> Result<()> {
        let used = fs::read_to_string(self.file("usage"))?;
        let limit = if self.version == Version::One { used.trim() } else { "0" };
        // Busy: more was used meanwhile.
        let _ = fs::write(self.file("limit"), limit);
        Ok(())
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub fn killed(&self) -> Result<u64> {
        let text = fs::read_to_string(self.file("events"))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.with_context(|| format!("no oom_kill in {text:?}"))?.trim().parse()?)
    }

    fn file(&self, what: &str) -> PathBuf {
        self.folder.join(match (what, self.version) {
            ("limit", Version::One) => "memory.limit_in_bytes",
            ("limit", Version::Two) => "memory.max",
            ("usage", Version::One) => "memory.usage_in_bytes",
            ("usage", Version::Two) => "memory.current",
            (_, Version::One) => "memory.oom_control",
            (_, Version::Two) => "memory.events",
        })
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The group is busy until the kernel is done with its last process.
        let removed = wait::until_ended("the control group to be empty", wait::START, || {
            Ok(fs::remove_dir(&self.folder).is_ok().then_some(()))
        });
        if let Err(error) = removed {
            eprintln!("{} stays behind: {error}", self.folder.display());
        }
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)) that mounts a hierarchy which may have the memory controller: `… / MOUNT
/// OPTIONS … - TYPE SOURCE OPTIONS`.
fn hierarchy(line: &str) -> Option<(PathBuf, Version)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let folder = Path::new(mount.split(' ').nth(4)?).to_owned();
    let mut filesystem = filesystem.split(' ');
    match filesystem.next()? {
        "cgroup" if filesystem.nth(1)?.split(',').any(|option| option == "memory") => Some((folder, Version::One)),
        "cgroup2" => Some((folder, Version::Two)),
        _ => None,
    }
}

/// Makes sure that groups below this one have the memory controller.
fn offer(root: &Path, version: Version) -> Result<()> {
    if version == Version::Two {
        fs::write(root.join("cgroup.subtree_control"), "+memory")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Version, hierarchy};

    #[test]
    fn the_memory_controller_is_found_where_it_is_mounted() {
        let one = "35 29 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let two = "26 24 0:23 / /mnt/groups rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(hierarchy(one), Some((PathBuf::from("/sys/fs/cgroup/memory"), Version::One)));
        assert_eq!(hierarchy(two), Some((PathBuf::from("/mnt/groups"), Version::Two)));
        assert_eq!(hierarchy("36 29 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
        assert_eq!(hierarchy("22 1 0:21 / /proc rw - proc proc rw"), None);
    }
}
