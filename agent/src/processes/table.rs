//! The processes that were seen, by their ids: each is read once for each program it runs.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::{
    identity::Identity,
    reader::{Answer, Reader},
};
use crate::event::Pid;

/// How many processes are remembered. A host runs some thousand; those forgotten are read again when they are needed.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// What is known of a process.
#[derive(Debug, Clone)]
enum Entry {
    /// It is a copy of this one, and nobody has asked for it yet.
    Forked(Answer),
    /// It was asked for.
    Asked(Answer),
}

/// A bounded memory of processes, kept right by what the kernel tells of their lives.
#[derive(Debug)]
pub struct ProcessTable {
    reader: Reader,
    entries: LruCache<Pid, Entry>,
}

impl ProcessTable {
    /// An empty table.
    #[must_use]
    pub fn new(reader: Reader) -> Self {
        Self { reader, entries: LruCache::new(MAX_PROCESSES) }
    }

    /// Who reads the processes.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Who a process is, now or soon: it is read when it is asked for the first time.
    pub fn ask(&mut self, pid: Pid) -> Answer {
        let answer = match self.entries.get(&pid) {
            Some(Entry::Asked(answer)) => return answer.clone(),
            Some(Entry::Forked(parent)) => self.reader.read_copy(parent.clone(), pid),
            None => self.reader.read(pid),
        };
        self.entries.put(pid, Entry::Asked(answer.clone()));
        answer
    }

    /// Asks once more about a process that had only begun to run its program when it was read.
    pub fn ask_again(&mut self, pid: Pid) {
        if let Some(Entry::Asked(answer)) = self.entries.get(&pid)
            && answer.known().is_some()
            && answer.best().is_some_and(Identity::is_unfinished)
        {
            let answer = self.reader.read_copy(answer.clone(), pid);
            self.entries.put(pid, Entry::Asked(answer));
        }
    }

    /// Whether this is still the answer for the process: it has not ended or become another program since.
    #[must_use]
    pub fn is_current(&self, pid: Pid, answer: &Answer) -> bool {
        matches!(self.entries.peek(&pid), Some(Entry::Asked(current)) if current.is(answer))
    }

    /// The process executes another program: what was known of it is no longer true.
    pub fn on_exec(&mut self, pid: Pid) {
        self.entries.pop(&pid);
    }

    /// A process made a copy of itself. A thread is no process and must not be told.
    pub fn on_fork(&mut self, parent: Pid, child: Pid) {
        match self.entries.get(&parent).cloned() {
            Some(Entry::Asked(answer) | Entry::Forked(answer)) => {
                self.entries.put(child, Entry::Forked(answer));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use super::*;
    use std::sync::Arc;

    use crate::processes::{Process, fake::Fake, identity::Identifier, reader::LIMIT};

    fn table(fake: &Fake) -> ProcessTable {
        ProcessTable::new(Reader::new(Identifier::new(fake.proc())))
    }

    impl ProcessTable {
        fn get(&mut self, pid: Pid) -> Option<Arc<Process>> {
            let answer = self.ask(pid);
            self.reader.wait([&answer], 60 * LIMIT);
            answer.known().expect("it was read")
        }
    }

    #[test]
    fn reads_once_until_another_program_runs() {
        let fake = Fake::new();
        fake.process(42, "/bin/first", &["first"]);
        let mut table = table(&fake);
        let first = table.get(42).unwrap();
        assert_eq!(first.service_name(), "first");
        fake.process(42, "/bin/second", &["second"]);
        assert!(Arc::ptr_eq(&first, &table.get(42).unwrap()));
        table.on_exec(42);
        assert_eq!(table.get(42).unwrap().service_name(), "second");
        table.on_exit(42);
        fake.remove(42);
        assert!(table.get(42).is_none());
    }

    #[test]
    fn a_copy_has_its_parents_name_and_its_own_instance() {
        let fake = Fake::new();
        fake.process(42, "/bin/server", &["server"]);
        let mut table = table(&fake);
        let parent = table.get(42).unwrap();
        table.on_fork(42, 43);
        table.on_fork(43, 44);
        fake.process(43, "/bin/server", &["server: worker 1"]);
        fake.stat(43, 42, 0, 9999);
        let child = table.get(43).unwrap();
        assert_eq!((child.pid, child.service_name()), (43, "server"));
        assert_eq!(child.attribute("process.pid"), Some("43"));
        assert_eq!(child.attribute("process.parent_pid"), Some("42"));
        assert_ne!(child.attribute("service.instance.id"), parent.attribute("service.instance.id"));
        assert_ne!(child.started, parent.started);
        let gone = table.get(44).unwrap();
        assert_eq!((gone.pid, gone.service_name(), gone.started), (44, "server", 0), "ended before it was read");
        assert_eq!((gone.attribute("process.pid"), gone.attribute("service.instance.id")), (Some("44"), None));
    }

    #[test]
    fn a_copy_that_runs_another_program_is_read() {
        let fake = Fake::new();
        fake.process(42, "/bin/shell", &["shell"]);
        let mut table = table(&fake);
        table.get(42).unwrap();
        table.on_fork(42, 43);
        table.on_exec(43);
        fake.process(43, "/bin/server", &["server"]);
        assert_eq!(table.get(43).unwrap().service_name(), "server");
    }

    #[test]
    fn the_copy_of_an_unknown_process_is_read() {
        let fake = Fake::new();
        fake.process(43, "/bin/old", &["old"]);
        let mut table = table(&fake);
        table.get(43).unwrap();
        fake.process(43, "/bin/new", &["new"]);
        table.on_fork(42, 43);
        assert_eq!(table.get(43).unwrap().service_name(), "new", "the id was used again");
    }

    #[test]
    fn is_bounded() {
        let fake = Fake::new();
        fake.process(1, "/bin/x", &["x"]);
        let mut table = table(&fake);
        table.get(1).unwrap();
        for child in 2..40_000 {
            table.on_fork(child - 1, child);
        }
        assert_eq!(table.entries.len(), MAX_PROCESSES.get());
    }
}
