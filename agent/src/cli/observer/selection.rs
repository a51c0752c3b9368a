//! Which processes are observed, as they come and go.

use super::{Failure, Observer};
use crate::{
    event::Pid,
    processes::selector::{Candidate, SelectedBy, Survey},
};

impl Observer {
    /// Observes those there are.
    pub(super) fn select_existing(&mut self) -> Result<(), Failure> {
        if self.selectors.everything() {
            return Ok(());
        }
        let candidates = Survey::candidates(&self.proc, &self.selectors)?;
        for (pid, by) in self.selectors.select(&candidates, std::process::id()).unwrap_or_default() {
            self.capture.select(pid)?;
            self.chosen.entry(pid).or_insert(by);
        }
        Ok(())
    }

    /// A process is another program now. Who one that was chosen by itself is, is asked before its sockets are seen: it may not
    /// live long.
    pub(super) fn executed(&mut self, pid: Pid) {
        self.table.on_exec(pid);
        self.told.remove(&pid);
        self.capture.forget_program(pid);
        // Who listened by what it inherited, or was found by its program's name, may be another kind of program now; one that
        // ended already may have been.
        if !self.selectors.exes.is_empty() || !self.selectors.ports.is_empty() {
            match Survey::one(&self.proc, &self.selectors, pid) {
                Some(candidate) => self.decide(&candidate),
                None if self.is_taken_in(pid) => {}
                None => self.dismiss(pid),
            }
        }
        if self.chosen.contains_key(&pid) {
            self.ask(pid);
        }
    }

    /// Observes a process or stops observing it, by what it is now.
    pub(super) fn decide(&mut self, candidate: &Candidate) {
        let pid = candidate.pid;
        // A child that was taken in stays so, though its parent may have ended.
        let because = if self.is_taken_in(pid) { pid } else { candidate.parent };
        match self.selectors.decide(candidate, self.chosen.get(&because), std::process::id()) {
            Some(by) => match self.capture.select(pid) {
                Ok(()) => {
                    self.dismissed.pop(&pid);
                    self.chosen.insert(pid, by);
                    self.ask(pid);
                }
                Err(error) => tracing::warn!(pid, %error, "the process is not observed"),
            },
            None => self.dismiss(pid),
        }
    }

    /// Whether a process is observed because it descends from one that was named.
    fn is_taken_in(&self, pid: Pid) -> bool {
        self.chosen.get(&pid).is_some_and(SelectedBy::includes_children)
    }

    /// Observes a process no longer.
    fn dismiss(&mut self, pid: Pid) {
        if self.chosen.remove(&pid).is_some() {
            self.capture.deselect(pid);
            self.dismissed.put(pid, ());
        }
    }
}
