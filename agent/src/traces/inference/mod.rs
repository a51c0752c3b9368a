//! Who made a call when nothing but timing and order tells: evidence `inferred`.
//!
//! Each process has solvers. A solver keeps several hypotheses of who made which calls, each with its probability: a call that nobody claims lets
//! each hypothesis go on as several, one for each request that could have made it; what is certain (a request is answered, a call turns
//! out to be somebody's) makes some likelier than others. So a wrong guess does not pull the next ones after it, and what is seen later
//! decides what was seen before. The probability of a parent is that of all hypotheses that have it.
//!
//! How likely a request is to act next follows from two things that are learnt for each process ([`lessons`]): when requests act after what
//! they waited for has come (at once, in the next turn of the loop, in the order in which it came), and which calls
//! requests of its sort make, one after the other or at once: those that are begun at once may wait for connections, which serve first who asked
//! first.
//!
//! Who learns from guesses can learn what is wrong, and then guess accordingly. So a process begins with one solver for each way in which
//! programs are known to act ([`Style`]), and those that foresee badly what is certain are given up.

mod hypothesis;
mod lessons;
mod solver;

use std::num::NonZeroUsize;

use lru::LruCache;

use self::{lessons::Style, solver::Solver};
use crate::{
    event::{Address, Pid, SocketId, Time, Turn},
    protocols::likeness::Likeness,
    traces::{span::Confidence, tracker::NodeId},
};

/// Processes with solvers; the least recently active is forgotten, with what it has learnt.
const PROCESS_LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// A parent that is not more likely than this is not named, nor is one by a solver that foresees little of what happens.
const CLEARLY: f64 = 0.5;

/// How much better one solver has foreseen what happened, as a logarithm, for another one to be given up: e³⁰ times.
const BETTER: f64 = 30.0;

/// A call, as the solvers are told of it.
#[derive(Debug, Clone)]
pub struct Made {
    /// It.
    pub call: NodeId,
    /// Who wrote it.
    pub turn: Turn,
    /// When.
    pub time: Time,
    /// Its connection.
    pub socket: SocketId,
    /// The server at its other end.
    pub server: Address,
    /// What sort of request it is.
    pub sort: Likeness,
    /// When the connection became free, if somebody may have waited for it.
    pub freed: Option<Freed>,
}

/// When the process's only idle connection to a server became free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freed {
    /// By what this strand has read last, in this turn: nobody has acted since.
    JustNow,
    /// In this turn of this strand, which has read something else since.
    ThisTurn,
    /// In the strand's turn before.
    LastTurn,
}

/// The solvers of all processes.
#[derive(Debug)]
pub struct Inference {
    processes: LruCache<Pid, Vec<Solver>>,
}

impl Default for Inference {
    fn default() -> Self {
        Self { processes: LruCache::new(PROCESS_LIMIT) }
    }
}

impl Inference {
    /// A strand has read a request.
    pub fn request_read(&mut self, turn: Turn, request: NodeId, time: Time, sort: Likeness) {
        let start = || Style::ALL.map(Solver::new).to_vec();
        for solver in self.processes.get_or_insert_mut(turn.strand.pid(), start) {
            solver.request_read(turn, request, time, sort);
        }
    }

    /// A call was made, for this request if that is known.
    pub fn call_made(&mut self, made: &Made, owner: Option<NodeId>) {
        for solver in self.of(made.turn.strand.pid()) {
            match owner {
                Some(owner) => solver.certain(made, owner),
                None => solver.guess(made),
            }
        }
    }

    /// What sort of call one is that was made before that was known.
    pub fn call_is(&mut self, pid: Pid, call: NodeId, sort: Likeness) {
        self.of(pid).iter_mut().for_each(|solver| solver.call_is(call, sort));
    }

    /// The response to a call was read completely.
    pub fn call_returned(&mut self, turn: Turn, call: NodeId) {
        self.of(turn.strand.pid()).iter_mut().for_each(|solver| solver.returned(turn, call));
    }

    /// The first part of the response to a request was written.
    pub fn answered(&mut self, turn: Turn, request: NodeId) {
        let Some(solvers) = self.processes.get_mut(&turn.strand.pid()) else { return };
        solvers.iter_mut().for_each(|solver| solver.answered(turn, request));
        if solvers.len() > 1 {
            solvers.sort_by(|a, b| b.foresight().total_cmp(&a.foresight()));
            let best = solvers.first().map_or(0.0, Solver::foresight);
            solvers.retain(|solver| best - solver.foresight() < BETTER);
        }
    }

    /// A call turned out to be this request's.
    pub fn decided(&mut self, pid: Pid, call: NodeId, owner: NodeId) {
        self.of(pid).iter_mut().for_each(|solver| solver.decided(call, owner));
    }

    /// A call seems to be this request's: work was probably handed back.
    pub fn seems(&mut self, pid: Pid, call: NodeId, owner: NodeId) {
        self.of(pid).iter_mut().for_each(|solver| solver.seems(call, owner));
    }

    /// The likeliest request of a call, if it is clearly likelier than the others, and how likely it is.
    #[must_use]
    pub fn parent(&self, pid: Pid, call: NodeId) -> Option<(NodeId, Confidence)> {
        let solver = self.best(pid)?;
        let (owner, probability) = solver.likeliest(call)?;
        let confidence = probability * solver.reliability(call, owner);
        (confidence > CLEARLY).then(|| (owner, Confidence::new(confidence)))
    }

    /// Whether the likeliest request of a call is open.
    #[must_use]
    pub fn is_likeliest_open(&self, pid: Pid, call: NodeId) -> bool {
        self.best(pid).is_some_and(|solver| solver.is_likeliest_open(call))
    }

    /// Whether any request is open that could have made a call.
    #[must_use]
    pub fn is_any_open(&self, pid: Pid, call: NodeId) -> bool {
        self.best(pid).is_some_and(|solver| solver.is_any_open(call))
    }

    /// The calls that no open request could have made once this one is over.
    #[must_use]
    pub fn calls_without(&self, pid: Pid, request: NodeId) -> Vec<NodeId> {
        self.best(pid).map(|solver| solver.calls_without(request)).unwrap_or_default()
    }

    /// A call was decided without more being known of it.
    pub fn forget_call(&mut self, pid: Pid, call: NodeId) {
        for solver in self.of(pid) {
            if let Some((owner, _)) = solver.likeliest(call).filter(|(_, probability)| *probability > CLEARLY) {
                solver.learn(call, owner);
            }
            solver.release(call);
        }
    }

    /// A call will never be answered.
    pub fn call_dropped(&mut self, pid: Pid, call: NodeId) {
        self.of(pid).iter_mut().for_each(|solver| solver.call_dropped(call));
    }

    /// A request is over.
    pub fn request_done(&mut self, pid: Pid, request: NodeId) {
        self.of(pid).iter_mut().for_each(|solver| solver.request_done(request));
    }

    fn of(&mut self, pid: Pid) -> &mut [Solver] {
        self.processes.get_mut(&pid).map(Vec::as_mut_slice).unwrap_or_default()
    }

    /// The one that has foreseen best.
    fn best(&self, pid: Pid) -> Option<&Solver> {
        self.processes.peek(&pid)?.first()
    }
}

#[cfg(test)]
mod tests;
