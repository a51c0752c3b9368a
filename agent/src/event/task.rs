//! Who did something: a thread, and what it ran a piece of.

use serde::{Deserialize, Serialize};

use super::{Pid, Time};

/// Who did something, and how far its event loop had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    /// Process (thread group) id.
    pub pid: Pid,
    /// Thread id.
    pub tid: u32,
    /// How many times this thread has waited for several files at once (epoll, poll, select) since it was first seen.
    /// Two operations with the same number happened without such a wait in between.
    pub turn: u32,
    /// The goroutine that the thread was running (the low 32 bits of its id); `None` in other programs, and where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goroutine: Option<Goroutine>,
    /// The coroutine that the thread was running, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coroutine: Option<Coroutine>,
}

/// A goroutine: Go's own line of execution, which moves between threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Goroutine {
    /// Its id, the low 32 bits.
    pub id: u32,
    /// The goroutine for which it works now: the one whose request it writes (net/http's connections have goroutines of their own that
    /// write what others hand them), or else the one that started it; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub works_for: Option<WorksFor>,
}

/// How a goroutine is known to work for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorksFor {
    /// This goroutine started it.
    StartedBy(u32),
    /// This goroutine handed it what it now writes.
    HandedBy(u32),
}

/// What a thread runs a piece of, between other ones, until it waits for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coroutine {
    /// It has a number that no other one ever gets (the low 32 bits of it): a line of execution like a goroutine.
    Task(u32),
    /// It is known by where its context is (Python's `contextvars`; the low 32 bits of the address without its last four). Another one has the
    /// same address as soon as it has ended, and what it waits for may be read in another context (asyncio).
    Context(u32),
}

/// A coroutine in which another one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its context ([`Coroutine::Context`]).
    pub context: u32,
    /// When it began itself; `None`: that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
}

/// A line of execution: what happens on one happens one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strand {
    /// A thread of a process.
    Thread(Pid, u32),
    /// A goroutine of a process, on whatever thread.
    Goroutine(Pid, u32),
    /// A coroutine of a process, likewise.
    Coroutine(Pid, u32),
}

impl Strand {
    /// Its process.
    #[must_use]
    pub fn pid(self) -> Pid {
        match self {
            Strand::Thread(pid, _) | Strand::Goroutine(pid, _) | Strand::Coroutine(pid, _) => pid,
        }
    }
}

/// What a strand does between two waits for several files. A goroutine or coroutine waits for one thing at a time: it has a single turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Whose.
    pub strand: Strand,
    /// Which, counted up.
    pub number: u32,
}

impl Task {
    /// A thread in this turn.
    #[must_use]
    pub const fn thread(pid: Pid, tid: u32, turn: u32) -> Self {
        Self { pid, tid, turn, goroutine: None, coroutine: None }
    }

    /// The line of execution that did it.
    #[must_use]
    pub fn strand(&self) -> Strand {
        match (self.goroutine, self.coroutine) {
            (Some(goroutine), _) => Strand::Goroutine(self.pid, goroutine.id),
            (None, Some(Coroutine::Task(id))) => Strand::Coroutine(self.pid, id),
            (None, Some(Coroutine::Context(_)) | None) => Strand::Thread(self.pid, self.tid),
        }
    }

    /// The context in which the thread, an event loop's, did it. One that never waits for several files has a single context for all that
    /// it does: that says no more than the thread.
    #[must_use]
    pub fn context(&self) -> Option<Strand> {
        match self.coroutine {
            Some(Coroutine::Context(id)) if self.turn > 0 => Some(Strand::Coroutine(self.pid, id)),
            _ => None,
        }
    }

    /// The goroutine for which this one works, if it is known to work for one, as its turn.
    #[must_use]
    pub fn works_for(&self) -> Option<(Turn, WorksFor)> {
        let how = self.goroutine?.works_for?;
        let (WorksFor::StartedBy(id) | WorksFor::HandedBy(id)) = how;
        Some((Turn { strand: Strand::Goroutine(self.pid, id), number: 0 }, how))
    }

    /// The turn in which it was done.
    #[must_use]
    pub fn in_turn(&self) -> Turn {
        let strand = self.strand();
        Turn { strand, number: if matches!(strand, Strand::Thread(..)) { self.turn } else { 0 } }
    }
}
