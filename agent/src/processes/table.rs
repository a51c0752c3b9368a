//! The processes that were seen, by their ids: `/proc` is read once for each program a process runs.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::{Process, identity::Identifier};
use crate::event::Pid;

/// How many processes are remembered. A host runs some thousand; those forgotten are read again when they are needed.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// What is known of a process.
#[derive(Debug, Clone)]
enum Entry {
    /// It is a copy of this one, and nobody has asked for it yet.
    Forked(Arc<Process>),
    /// It was read.
    Known(Arc<Process>),
}

/// A bounded memory of processes, kept right by what the kernel tells of their lives.
#[derive(Debug)]
pub struct ProcessTable {
    identifier: Identifier,
    entries: LruCache<Pid, Entry>,
}

impl ProcessTable {
    /// An empty table.
    #[must_use]
    pub fn new(identifier: Identifier) -> Self {
        Self { identifier, entries: LruCache::new(MAX_PROCESSES) }
    }

    /// Who a process is; `None` if it ended before anything was learnt of it. Reads `/proc` the first time, see
    /// [`Identifier::identify`].
    pub fn get_or_read(&mut self, pid: Pid) -> Option<Arc<Process>> {
        let process = match self.entries.get(&pid) {
            Some(Entry::Known(process)) => return Some(Arc::clone(process)),
            // It ended already: all that is known is whose copy it was, and its id.
            Some(Entry::Forked(parent)) => self
                .identifier
                .inherit(parent, pid)
                .unwrap_or_else(|| Process { pid, started: 0, ..Process::clone(parent) }.without_instance()),
            None => self.identifier.identify(pid)?.process,
        };
        let process = Arc::new(process);
        self.entries.put(pid, Entry::Known(Arc::clone(&process)));
        Some(process)
    }

    /// The process executes another program: what was known of it is no longer true.
    pub fn on_exec(&mut self, pid: Pid) {
        self.entries.pop(&pid);
    }

    /// A process made a copy of itself. A thread is no process and must not be told.
    pub fn on_fork(&mut self, parent: Pid, child: Pid) {
        match self.entries.get(&parent).cloned() {
            Some(Entry::Known(process) | Entry::Forked(process)) => {
                self.entries.put(child, Entry::Forked(process));
            }
            // Whatever had this id before is gone.
            None => self.on_exec(child),
        }
    }

    /// The process ended, and its id may be given to another.
    pub fn on_exit(&mut self, pid: Pid) {
        self.entries.pop(&pid);
    }
}

impl Process {
    /// The Resource without what belonged to the process it was copied from.
    fn without_instance(mut self) -> Self {
        self.resource.retain(|(key, _)| {
            !matches!(key.as_str(), "service.instance.id" | "process.creation.time" | "process.parent_pid")
        });
        if let Some((_, pid)) = self.resource.iter_mut().find(|(key, _)| key == "process.pid") {
            *pid = self.pid.to_string();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use super::*;
    use crate::processes::fake::Fake;

    fn table(fake: &Fake) -> ProcessTable {
        ProcessTable::new(Identifier::new(fake.proc()))
    }

    #[test]
    fn reads_once_until_another_program_runs() {
        let fake = Fake::new();
        fake.process(42, "/bin/first", &["first"]);
        let mut table = table(&fake);
        let first = table.get_or_read(42).unwrap();
        assert_eq!(first.service_name(), "first");
        fake.process(42, "/bin/second", &["second"]);
        assert!(Arc::ptr_eq(&first, &table.get_or_read(42).unwrap()));
        table.on_exec(42);
        assert_eq!(table.get_or_read(42).unwrap().service_name(), "second");
        table.on_exit(42);
        fake.remove(42);
        assert!(table.get_or_read(42).is_none());
    }

    #[test]
    fn a_copy_has_its_parents_name_and_its_own_instance() {
        let fake = Fake::new();
        fake.process(42, "/bin/server", &["server"]);
        let mut table = table(&fake);
        let parent = table.get_or_read(42).unwrap();
        table.on_fork(42, 43);
        table.on_fork(43, 44);
        fake.process(43, "/bin/server", &["server: worker 1"]);
        fake.stat(43, 42, 0, 9999);
        let child = table.get_or_read(43).unwrap();
        assert_eq!((child.pid, child.service_name()), (43, "server"));
        assert_eq!(child.attribute("process.pid"), Some("43"));
        assert_eq!(child.attribute("process.parent_pid"), Some("42"));
        assert_ne!(child.attribute("service.instance.id"), parent.attribute("service.instance.id"));
        assert_ne!(child.started, parent.started);
        let gone = table.get_or_read(44).unwrap();
        assert_eq!((gone.pid, gone.service_name(), gone.started), (44, "server", 0), "ended before it was read");
        assert_eq!((gone.attribute("process.pid"), gone.attribute("service.instance.id")), (Some("44"), None));
    }

    #[test]
    fn a_copy_that_runs_another_program_is_read() {
        let fake = Fake::new();
        fake.process(42, "/bin/shell", &["shell"]);
        let mut table = table(&fake);
        table.get_or_read(42).unwrap();
        table.on_fork(42, 43);
        table.on_exec(43);
        fake.process(43, "/bin/server", &["server"]);
        assert_eq!(table.get_or_read(43).unwrap().service_name(), "server");
    }

    #[test]
    fn the_copy_of_an_unknown_process_is_read() {
        let fake = Fake::new();
        fake.process(43, "/bin/old", &["old"]);
        let mut table = table(&fake);
        table.get_or_read(43).unwrap();
        fake.process(43, "/bin/new", &["new"]);
        table.on_fork(42, 43);
        assert_eq!(table.get_or_read(43).unwrap().service_name(), "new", "the id was used again");
    }

    #[test]
    fn is_bounded() {
        let fake = Fake::new();
        fake.process(1, "/bin/x", &["x"]);
        let mut table = table(&fake);
        table.get_or_read(1).unwrap();
        for child in 2..40_000 {
            table.on_fork(child - 1, child);
        }
        assert_eq!(table.entries.len(), MAX_PROCESSES.get());
    }
}
