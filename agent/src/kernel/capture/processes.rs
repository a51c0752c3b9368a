//! Which processes are observed, and what else is told of each: the kernel's side of [`crate::processes`].

use std::path::Path;

use aya::maps::MapError;
use syspan_abi::{GoLayout, JavaLayout, Observed, PythonLayout, selection, watch};

use super::Capture;
use crate::{
    event::Pid,
    processes::{
        goroutines::Layout,
        java::{self, Carried},
        python,
        runtime::NetHttp,
    },
};

impl Capture {
    /// Observes a process from now on.
    ///
    /// # Errors
    /// The table is full.
    pub fn select(&mut self, pid: Pid) -> Result<(), MapError> {
        let known = self.processes.get(&pid, 0).unwrap_or_default();
        self.processes.insert(pid, Observed { selection: selection::SELECTED, ..known }, 0)
    }

    /// Observes the agent's own children from now on, and theirs (`syspan exec`).
    ///
    /// # Errors
    /// The table is full.
    pub fn select_children(&mut self) -> Result<(), MapError> {
        self.processes.insert(std::process::id(), only(selection::PARENT), 0)
    }

    /// Observes a process no longer.
    pub fn deselect(&mut self, pid: Pid) {
        let _ = self.processes.remove(&pid); // it may have ended, which removes it as well
        self.probes.forget(&mut self.ebpf, pid);
    }

    /// A process has ended: what was asked for it is forgotten.
    pub fn ended(&mut self, pid: Pid) {
        if self.all {
            // The kernel has done it, but perhaps before it was asked for.
            let _ = self.processes.remove(&pid);
        }
        self.probes.forget(&mut self.ebpf, pid);
    }

    /// Tells of a process, which is a Go program, which goroutines do what.
    pub fn follow_goroutines(&mut self, pid: Pid, layout: Layout) {
        let Layout { g, id, parent } = layout;
        self.change(pid, |observed| observed.go = GoLayout { g, id, parent: parent.unwrap_or(0) });
    }

    /// Tells of a process, which runs tasks on Tokio, which of them does what. `place`: of the id of the one that a thread polls, from the
    /// thread's pointer, bytes.
    pub fn follow_tasks(&mut self, pid: Pid, place: i32) {
        self.change(pid, |observed| {
            observed.watch |= watch::TASKS;
            observed.go = GoLayout { g: place, ..GoLayout::default() };
        });
    }

    /// Tells of a process, which runs CPython, in which context its threads do what.
    pub fn follow_contexts(&mut self, pid: Pid, python: &python::Interpreter) {
        let python::Interpreter { layout: python::Layout { interpreter, members }, copies } = python;
        let &python::Members { main: _, threads, next, thread_id, context } = members;
        let copy = copies.as_ref().map_or(0, |copies| copies.results.register);
        let layout = PythonLayout { interpreter: *interpreter, threads, next, thread_id, context, copy, reserved: 0 };
        if let Err(error) = self.pythons.insert(pid, layout, 0) {
            tracing::debug!(pid, %error, "contexts are not told");
            return;
        }
        self.change(pid, |observed| observed.watch |= watch::CONTEXTS);
    }

    /// Tells of a process, which copies its contexts at these places, which of them is made in which.
    pub fn watch_copies(&mut self, pid: Pid, copies: &python::Copies) {
        if self.probes.watch_copies(&mut self.ebpf, pid, copies) {
            self.change(pid, |observed| observed.watch |= watch::COPIES);
        }
    }

    /// Tells of a process, which runs Java, which virtual threads its threads carry.
    pub fn follow_virtual_threads(&mut self, pid: Pid, layout: java::Layout) {
        let java::Layout { threads, length, array, system, system_id, carried } = layout;
        let known = JavaLayout { threads, length, array, system, system_id, ..JavaLayout::default() };
        let layout = match carried {
            Carried::InThread { entry, id } => JavaLayout { carries: entry, current: id, ..known },
            Carried::InObject { own, current, id, collecting } => {
                JavaLayout { carries: own, current, id, collecting, ..known }
            }
        };
        match self.javas.insert(pid, layout, 0) {
            Ok(()) => self.change(pid, |observed| observed.watch |= watch::VIRTUAL_THREADS),
            Err(error) => tracing::debug!(pid, %error, "virtual threads are not told"),
        }
    }

    /// Tells of a process which of its threads wakes and starts which.
    pub fn watch_wakes(&mut self, pid: Pid) {
        self.change(pid, |observed| observed.watch |= watch::WAKES);
        self.probes.watch_wakes(&mut self.ebpf, pid);
    }

    /// Tells of a process, which is a Go program with these functions in its executable (`/proc/PID/exe`), which goroutine's requests
    /// its http.Client sends.
    pub fn watch_net_http(&mut self, pid: Pid, exe: &Path, http: &NetHttp) {
        if self.probes.watch_net_http(&mut self.ebpf, pid, exe, http) {
            self.change(pid, |observed| observed.watch |= watch::HANDOVERS);
        }
    }

    /// The process is another program now: what was asked for it is forgotten.
    pub fn forget_program(&mut self, pid: Pid) {
        // The kernel has done the same, but perhaps before it was asked for.
        self.change(pid, |observed| (observed.watch, observed.go) = (0, GoLayout::default()));
        self.probes.forget(&mut self.ebpf, pid);
    }

    /// Changes how a process is observed, if it is. Where all are, none has an entry before.
    fn change(&mut self, pid: Pid, change: impl FnOnce(&mut Observed)) {
        const BPF_NOEXIST: u64 = 1;
        const BPF_EXIST: u64 = 2;
        let (known, as_before) = match self.processes.get(&pid, 0) {
            Ok(known) => (known, BPF_EXIST),
            Err(_) if self.all => (only(selection::SELECTED), BPF_NOEXIST),
            Err(_) => return,
        };
        let mut changed = known;
        change(&mut changed);
        if changed != known
            && let Err(error) = self.processes.insert(pid, changed, as_before)
        {
            tracing::debug!(pid, %error, "the process has ended, or it is observed less closely than it could be");
        }
    }
}

/// A process that is selected so, and nothing else asked for it.
pub(super) fn only(selection: u32) -> Observed {
    Observed { selection, ..Observed::default() }
}
