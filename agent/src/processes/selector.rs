//! Which processes are observed: `--pid`, `--exe`, `--port`, `--all`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::PathBuf,
};

use globset::{GlobBuilder, GlobMatcher};

use super::proc::Proc;
use crate::event::Pid;

/// Why the selectors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// `--pid` of a process that is not there.
    #[error(
        "there is no process {0}: look its id up with `pgrep -a NAME`, in the host's pid namespace, or select by --exe"
    )]
    NoProcess(Pid),
    /// `--pid` of what is no program.
    #[error("process {0} is a thread of the kernel and makes no system calls: select a program's process")]
    KernelThread(Pid),
    /// `--pid` of syspan.
    #[error("process {0} is syspan itself, which it never observes: select another process")]
    Itself(Pid),
    /// The processes cannot be listed.
    #[error("the processes cannot be listed ({0}): mount proc on /proc")]
    NoProc(#[source] std::io::Error),
}

/// A pattern of `--exe`: matched against the executable's file name, or its full path where the pattern has a slash.
/// `*` and `?` do not match a slash, `**` does.
#[derive(Debug, Clone)]
pub struct ExePattern {
    matcher: GlobMatcher,
    whole_path: bool,
}

impl std::str::FromStr for ExePattern {
    type Err = globset::Error;

    fn from_str(pattern: &str) -> Result<Self, Self::Err> {
        let matcher = GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher();
        Ok(Self { matcher, whole_path: pattern.contains('/') })
    }
}

impl ExePattern {
    fn matches(&self, exe: &std::path::Path) -> bool {
        if self.whole_path {
            self.matcher.is_match(exe)
        } else {
            exe.file_name().is_some_and(|name| self.matcher.is_match(name))
        }
    }
}

/// The selectors of the command line; they add up.
#[derive(Debug, Clone, Default)]
pub struct Selectors {
    /// `--pid`: these processes and their descendants.
    pub pids: Vec<Pid>,
    /// `--exe`: processes that run such a program.
    pub exes: Vec<ExePattern>,
    /// `--port`: processes that listen on one of these TCP ports, in any network namespace.
    pub ports: Vec<u16>,
    /// `--all`: every process. It is what no selector means as well.
    pub all: bool,
}

/// Why a process is observed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectedBy {
    /// It was named by its id.
    Pid,
    /// Its executable matches this pattern.
    Exe(String),
    /// It listens on this port.
    Port(u16),
    /// Everything is.
    All,
    /// It is a child of this process, which is observed with its children.
    Parent(Pid),
}

impl fmt::Display for SelectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid => f.write_str("--pid"),
            Self::Exe(pattern) => write!(f, "--exe {pattern}"),
            Self::Port(port) => write!(f, "--port {port}"),
            Self::All => f.write_str("all processes"),
            Self::Parent(pid) => write!(f, "child of {pid}"),
        }
    }
}

impl SelectedBy {
    /// Whether the process's children are observed because it is.
    #[must_use]
    pub fn includes_children(&self) -> bool {
        matches!(self, Self::Pid | Self::Parent(_))
    }
}

/// What the decision about a process is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub pid: Pid,
    /// Its parent's.
    pub parent: Pid,
    /// Its executable.
    pub exe: Option<PathBuf>,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// The TCP ports it listens on.
    pub listens: Vec<u16>,
}

impl Selectors {
    /// Whether every process is meant.
    #[must_use]
    pub fn everything(&self) -> bool {
        self.all || (self.pids.is_empty() && self.exes.is_empty() && self.ports.is_empty())
    }

    /// Decides about one process: when it appears, executes another program or begins to listen. `parent` is why its
    /// parent is observed, if it is; `own` is syspan, which never is.
    #[must_use]
    pub fn decide(&self, candidate: &Candidate, parent: Option<&SelectedBy>, own: Pid) -> Option<SelectedBy> {
        if candidate.pid == own || candidate.kernel_thread {
            return None;
        }
        if self.pids.contains(&candidate.pid) {
            return Some(SelectedBy::Pid);
        }
        let pattern = candidate.exe.as_deref().and_then(|exe| self.exes.iter().find(|pattern| pattern.matches(exe)));
        if let Some(pattern) = pattern {
            return Some(SelectedBy::Exe(pattern.matcher.glob().glob().to_owned()));
        }
        if let Some(&port) = self.ports.iter().find(|port| candidate.listens.contains(port)) {
            return Some(SelectedBy::Port(port));
        }
        if parent.is_some_and(SelectedBy::includes_children) {
            return Some(SelectedBy::Parent(candidate.parent));
        }
        self.everything().then_some(SelectedBy::All)
    }

    /// Decides about all processes there are, in the order of their ids.
    ///
    /// # Errors
    /// When a process named by its id is none that can be observed.
    pub fn select(&self, candidates: &[Candidate], own: Pid) -> Result<Vec<(Pid, SelectedBy)>, SelectError> {
        let by_pid: HashMap<Pid, &Candidate> = candidates.iter().map(|candidate| (candidate.pid, candidate)).collect();
        for &pid in &self.pids {
            match by_pid.get(&pid) {
                None => return Err(SelectError::NoProcess(pid)),
                Some(candidate) if candidate.kernel_thread => return Err(SelectError::KernelThread(pid)),
                Some(_) if pid == own => return Err(SelectError::Itself(pid)),
                Some(_) => {}
            }
        }
        let named: HashSet<Pid> = self.pids.iter().copied().collect();
        let mut selected: Vec<(Pid, SelectedBy)> = candidates
            .iter()
            .filter_map(|candidate| {
                // A descendant of a named process has a parent that is observed for that reason.
                let parent = descends(candidate, &named, &by_pid, own).then_some(SelectedBy::Pid);
                Some((candidate.pid, self.decide(candidate, parent.as_ref(), own)?))
            })
            .collect();
        selected.sort_unstable_by_key(|(pid, _)| *pid);
        Ok(selected)
    }
}

/// Whether one of a process's ancestors is among these. Those of syspan are not followed: it may have been started from
/// an observed shell.
fn descends(candidate: &Candidate, of: &HashSet<Pid>, by_pid: &HashMap<Pid, &Candidate>, own: Pid) -> bool {
    let mut parent = candidate.parent;
    // A snapshot that was taken while ids were reused could have a circle in it.
    for _ in 0..by_pid.len() {
        if parent == own || of.is_empty() {
            return false;
        }
        if of.contains(&parent) {
            return true;
        }
        match by_pid.get(&parent) {
            Some(next) => parent = next.parent,
            None => return false,
        }
    }
    false
}

/// Reads what is needed to decide, doing without what no selector asks for: sockets are a link to read each.
#[derive(Debug, Default)]
pub struct Survey {
    /// Listening sockets of the network namespaces that were seen, by the namespace's link.
    namespaces: HashMap<PathBuf, HashMap<u64, u16>>,
}

impl Survey {
    /// Reads all processes there are.
    ///
    /// # Errors
    /// [`SelectError::NoProc`].
    pub fn candidates(proc: &Proc, selectors: &Selectors) -> Result<Vec<Candidate>, SelectError> {
        let mut survey = Self::default();
        let pids = proc.pids().map_err(SelectError::NoProc)?;
        Ok(pids.into_iter().filter_map(|pid| survey.candidate(proc, selectors, pid)).collect())
    }

    /// Reads one process, as it is now; `None` once it has ended.
    #[must_use]
    pub fn one(proc: &Proc, selectors: &Selectors, pid: Pid) -> Option<Candidate> {
        Self::default().candidate(proc, selectors, pid)
    }

    fn candidate(&mut self, proc: &Proc, selectors: &Selectors, pid: Pid) -> Option<Candidate> {
        let stat = proc.stat(pid)?;
        let exe = if selectors.exes.is_empty() { None } else { proc.exe(pid) };
        let listens = if selectors.ports.is_empty() { Vec::new() } else { self.listens(proc, pid) };
        Some(Candidate { pid, parent: stat.parent, exe, kernel_thread: stat.kernel_thread, listens })
    }

    /// The ports a process listens on: the listening sockets of its network namespace that it holds a descriptor of.
    fn listens(&mut self, proc: &Proc, pid: Pid) -> Vec<u16> {
        let Some(namespace) = proc.network_namespace(pid) else { return Vec::new() };
        let listeners = self.namespaces.entry(namespace).or_insert_with(|| proc.listeners(pid).into_iter().collect());
        let mut ports: Vec<u16> = if listeners.is_empty() {
            Vec::new()
        } else {
            proc.sockets(pid).iter().filter_map(|inode| listeners.get(inode).copied()).collect()
        };
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
