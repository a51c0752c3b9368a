//! What a run has seen, and what became of each of it: the sums that must come out even.
//!
//! Three of them, one for each stage, each exact at every moment:
//! - transfers of bytes = [`Events::data`] + [`Loss::RingFull`];
//! - requests recognised = spans + [`Loss::Unfinished`] + never executed + left to SDKs + still open ([`Requests`]);
//! - spans = exported + [`Loss::QueueFull`] + [`Loss::ExportFailed`] + [`Loss::Rejected`] + still waiting.

use crate::{
    event::Event,
    streams::{Loss, Losses},
};

/// Counters of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Events that were told.
    pub events: Events,
    /// What became of the requests.
    pub requests: Requests,
    /// Everything that is missing.
    pub losses: Losses,
}

/// Events by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// Processes were introduced.
    pub process: u64,
    /// Processes ended.
    pub exit: u64,
    /// Threads woke others.
    pub wake: u64,
    /// Threads were started.
    pub thread: u64,
    /// Goroutines were about to have others send requests.
    pub goroutine: u64,
    /// Coroutines that had begun in others were first seen.
    pub coroutine: u64,
    /// Sockets were announced.
    pub socket: u64,
    /// Bytes were moved: one for each system call (or message of a call) that moved some on a followed socket.
    pub data: u64,
    /// Contexts of requests became known.
    pub context: u64,
    /// Directions of sockets ended.
    pub end: u64,
}

impl Events {
    /// Counts an event.
    pub fn count(&mut self, event: &Event) {
        let counter = match event {
            Event::Process(_) => &mut self.process,
            Event::Exit { .. } => &mut self.exit,
            Event::Wake { .. } => &mut self.wake,
            Event::Thread { .. } => &mut self.thread,
            Event::Goroutine { .. } => &mut self.goroutine,
            Event::Coroutine { .. } => &mut self.coroutine,
            Event::Socket(_) => &mut self.socket,
            Event::Data(_) => &mut self.data,
            Event::Context(_) => &mut self.context,
            Event::End { .. } => &mut self.end,
            Event::Start { .. } | Event::Lost { .. } | Event::Tick { .. } => return,
        };
        *counter += 1;
    }

    /// Each kind's name, as in recordings, and its count.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 10] {
        let Self { process, exit, wake, thread, goroutine, coroutine, socket, data, context, end } = *self;
        [
            ("process", process),
            ("exit", exit),
            ("wake", wake),
            ("thread", thread),
            ("goroutine", goroutine),
            ("coroutine", coroutine),
            ("socket", socket),
            ("data", data),
            ("context", context),
            ("end", end),
        ]
    }
}

/// Requests that a parser recognised, by what became of them; the rest was lost ([`Loss::Unfinished`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// All of them.
    pub opened: u64,
    /// Each made one span, [`Loss::Incomplete`] ones included.
    pub spans: u64,
    /// The server never executed them, because one before them had failed: no span, and nothing is missing.
    pub not_executed: u64,
    /// The program makes a span of it itself.
    pub left: u64,
    /// Under way.
    pub open: u64,
}

impl Accounts {
    /// Requests for which no end is known: 0, or the accounting is wrong.
    #[must_use]
    pub fn unaccounted_requests(&self) -> i64 {
        let Requests { opened, spans, not_executed, left, open } = self.requests;
        let ended = spans + not_executed + left + open + self.losses.get(Loss::Unfinished);
        opened.cast_signed() - ended.cast_signed()
    }
}
