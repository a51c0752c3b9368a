//! The hypotheses of one process under one expectation of how its requests act.

use std::{cmp::Ordering, collections::BTreeMap};

use foldhash::{HashMap, HashMapExt as _};

use super::{
    Made,
    hypothesis::{Arrival, Hypothesis, Stand},
    lessons::{self, Able, Lessons, Moment, Sight, Style},
};
use crate::{
    event::{SocketId, Time, Turn},
    protocols::likeness::Likeness,
    traces::tracker::NodeId,
};

/// Hypotheses kept of a process. More gave no better results in the simulations.
const HYPOTHESES: usize = 24;

/// Open requests of a process beyond which nothing is inferred: too many could have made any call.
const REQUEST_LIMIT: usize = 512;

/// Undecided calls of a process beyond which no more are guessed.
const CALL_LIMIT: usize = 1024;

/// How much of what it has foreseen counts after the next thing was.
const FADE: f64 = 0.998;

/// How far a solver can be believed of calls that another strand made than the one that has got what the request waited for.
const ELSEWHERE: f64 = 0.7;

/// The same where it is not certain that it had to be.
const SEEMING: f64 = 0.1;

/// How much the latest answer counts for how far the solver can be believed.
const RELEARN: f64 = 0.05;

/// How far a solver can be believed that has shown nothing yet.
const UNPROVEN: f64 = 0.8;

/// Who is less likely than this to do something next, compared with the likeliest one, is taken not to do it where requests are compared.
const UNLIKELY: f64 = 0.1;

/// What a hypothesis is worth that had to be put right.
const CORRECTED: f64 = 0.01;

/// An open request of a process.
#[derive(Debug, Clone, Copy)]
struct Request {
    sort: Likeness,
    received: Time,
}

/// A call whose request is not known.
#[derive(Debug, Clone)]
struct Call {
    /// The requests that could have made it and how they looked, in the likeliest hypothesis.
    able: Vec<Able>,
    sights: Vec<Sight>,
    moment: Moment,
    turn: Turn,
    /// Its response was read.
    returned: bool,
}

/// How a hypothesis could go on: weight, its number, the request that made a call. No request: it is nobody's.
type Branch = (f64, usize, Option<NodeId>);

/// The likelier one first.
fn likelier(a: &Branch, b: &Branch) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2))
}

/// Hypotheses and lessons of one process.
#[derive(Debug, Clone)]
pub(super) struct Solver {
    requests: HashMap<NodeId, Request>,
    calls: BTreeMap<NodeId, Call>,
    hypotheses: Vec<Hypothesis>,
    lessons: Lessons,
    /// Counts what requests waited for and what has come.
    arrivals: u64,
    /// The logarithm of the probability that it gave to what happened then, for what is certain; the past fades.
    foresight: f64,
    /// How likely it took the request that was answered for the one that would act, lately and on average.
    reliability: f64,
}

impl Solver {
    pub(super) fn new(style: Style) -> Self {
        Self {
            requests: HashMap::new(),
            calls: BTreeMap::new(),
            hypotheses: vec![Hypothesis::certain()],
            lessons: Lessons::new(style),
            arrivals: 0,
            foresight: 0.0,
            reliability: UNPROVEN,
        }
    }

    /// How well it has foreseen what happened: the greater (less below 0), the better.
    pub(super) fn foresight(&self) -> f64 {
        self.foresight
    }

    /// How far its probabilities of who made a call can be believed, from 0 to 1.
    pub(super) fn reliability(&self, number: NodeId, owner: NodeId) -> f64 {
        let Some(call) = self.calls.get(&number) else { return 0.0 };
        // With a single request there is nothing to be mistaken in.
        if call.able.len() == 1 {
            return 1.0;
        }
        let here = |able: &Able| able.request == owner && able.stand.came.turn.strand == call.turn.strand;
        // How requests are answered says little of what other strands do for them.
        if call.able.iter().any(here) { self.reliability } else { self.reliability * ELSEWHERE }
    }

    pub(super) fn request_read(&mut self, turn: Turn, request: NodeId, time: Time, sort: Likeness) {
        if self.requests.len() >= REQUEST_LIMIT {
            return;
        }
        self.requests.insert(request, Request { sort, received: time });
        self.arrivals += 1;
        let stand = Stand::new(Arrival { turn, number: self.arrivals });
        for hypothesis in &mut self.hypotheses {
            hypothesis.place(request, stand);
        }
    }

    pub(super) fn request_done(&mut self, request: NodeId) {
        self.requests.remove(&request);
        for hypothesis in &mut self.hypotheses {
            hypothesis.remove(request);
        }
        self.merge();
    }

    pub(super) fn decided(&mut self, call: NodeId, owner: NodeId) {
        if self.calls.contains_key(&call) {
            self.learn(call, owner);
            self.correct(call, owner, CORRECTED);
            self.release(call);
        }
    }

    pub(super) fn seems(&mut self, call: NodeId, owner: NodeId) {
        if self.calls.contains_key(&call) && self.requests.contains_key(&owner) {
            self.correct(call, owner, SEEMING);
        }
    }

    pub(super) fn call_dropped(&mut self, call: NodeId) {
        self.calls.remove(&call);
        for hypothesis in &mut self.hypotheses {
            hypothesis.drop_call(call);
        }
        self.merge();
    }

    pub(super) fn call_is(&mut self, call: NodeId, sort: Likeness) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.returned = false;
        }
        let mut lessons = Vec::new();
        for hypothesis in &mut self.hypotheses {
            let Some((owner, before)) = hypothesis.call_is(call, sort) else { continue };
            let Some(request) = self.requests.get(&owner) else { continue };
            lessons.push((request.sort, before, hypothesis.weight));
            let of = |sort| self.lessons.step(request.sort, before, Some(sort)).0;
            hypothesis.weight *= of(sort) / of(Likeness::default());
        }
        for (request, before, weight) in lessons {
            self.lessons.learn_step(request, before, Some(sort), weight);
        }
        self.settle();
    }

    pub(super) fn is_likeliest_open(&self, call: NodeId) -> bool {
        self.likeliest(call).is_some_and(|(owner, _)| self.requests.contains_key(&owner))
    }

    pub(super) fn is_any_open(&self, call: NodeId) -> bool {
        self.calls.get(&call).is_some_and(|call| self.could_be_of_other(call, None))
    }

    pub(super) fn calls_without(&self, request: NodeId) -> Vec<NodeId> {
        let was_able = |call: &Call| call.able.iter().any(|able| able.request == request);
        let lost = |call: &Call| was_able(call) && !self.could_be_of_other(call, Some(request));
        self.calls.iter().filter(|(_, call)| lost(call)).map(|(number, _)| *number).collect()
    }

    fn could_be_of_other(&self, call: &Call, request: Option<NodeId>) -> bool {
        let is_other = |able: &Able| Some(able.request) != request && self.requests.contains_key(&able.request);
        call.able.iter().any(is_other)
    }

    /// A call of a known request: hypotheses in which it could hardly make one now are unlikely.
    pub(super) fn certain(&mut self, made: &Made, owner: NodeId) {
        let moment = Moment::of(made);
        self.acts(owner, made.turn, Some(made.socket), &moment, Some(made.sort));
        let sort = sort(&self.requests, owner);
        for hypothesis in &mut self.hypotheses {
            hypothesis.makes(owner, made, |stand, call| self.lessons.asked(sort, stand, call));
        }
    }

    pub(super) fn answered(&mut self, turn: Turn, request: NodeId) {
        let sort = sort(&self.requests, request);
        self.acts(request, turn, None, &Moment::Answer(sort), None);
        for hypothesis in &mut self.hypotheses {
            hypothesis.answers(request);
        }
    }

    /// A request is seen to act: weighs the hypotheses, and learns.
    fn acts(&mut self, request: NodeId, turn: Turn, socket: Option<SocketId>, moment: &Moment, next: Option<Likeness>) {
        let Some(&Request { sort, .. }) = self.requests.get(&request) else { return };
        let mut lesson = None;
        let (mut foreseen, mut expected) = (0.0, 0.0);
        for hypothesis in &mut self.hypotheses {
            let able = able(hypothesis, &self.requests, &self.lessons, Time::MAX, next);
            let Some(at) = able.iter().position(|able| able.request == request) else { continue };
            // Who is alone acts, and shows nothing of how one is told from others.
            let alone = able.len() == 1;
            let sights = if alone { Vec::new() } else { lessons::sights(&able, turn, socket) };
            let likely = if alone { Vec::new() } else { self.lessons.likely(moment, &sights) };
            let Some(&Able { stand, step, .. }) = able.get(at) else { continue };
            let share = likely.get(at).copied().unwrap_or(1.0);
            let weight = hypothesis.weight;
            hypothesis.weight *= share * step;
            foreseen += hypothesis.weight;
            expected += weight * share;
            lesson.get_or_insert((at, sights, likely, stand, weight));
        }
        if let Some((at, sights, likely, stand, weight)) = lesson {
            if !likely.is_empty() {
                self.lessons.learn_sight(moment, at, &sights, &likely, weight);
            }
            self.lessons.learn_step(sort, stand, next, weight);
            self.lessons.learn_asked(sort, stand, next, moment);
        }
        if matches!(moment, Moment::Answer(_)) {
            self.reliability += (expected - self.reliability) * RELEARN;
        }
        self.foresight = self.foresight * FADE + foreseen.max(f64::MIN_POSITIVE).ln();
        self.settle();
    }

    /// A call that could be any open request's: every hypothesis goes on as several.
    pub(super) fn guess(&mut self, made: &Made) {
        if self.calls.len() >= CALL_LIMIT {
            return;
        }
        let moment = Moment::of(made);
        let mut branches: Vec<Branch> = Vec::new();
        let mut call = None;
        for (number, hypothesis) in self.hypotheses.iter().enumerate() {
            // No branch is likelier than what it goes on from.
            let least = if branches.len() < HYPOTHESES { None } else { branches.last().map(|(weight, ..)| *weight) };
            if least.is_some_and(|least| hypothesis.weight <= least) {
                continue;
            }
            let able = able(hypothesis, &self.requests, &self.lessons, made.time, Some(made.sort));
            let sights = lessons::sights(&able, made.turn, Some(made.socket));
            branches.push((hypothesis.weight * lessons::NOBODY, number, None));
            for (able, likely) in able.iter().zip(self.lessons.likely(&moment, &sights)) {
                branches.push((hypothesis.weight * likely * able.step, number, Some(able.request)));
            }
            call.get_or_insert(Call { able, sights, moment: moment.clone(), turn: made.turn, returned: false });
            if branches.len() >= HYPOTHESES {
                branches.select_nth_unstable_by(HYPOTHESES - 1, likelier);
                branches.truncate(HYPOTHESES);
            }
        }
        branches.sort_by(likelier);
        // Which call follows which is learnt at once: the first requests are still open when the next ones make theirs.
        let sum: f64 = branches.iter().map(|(weight, ..)| weight).sum();
        for &(weight, number, request) in &branches {
            let request = request.and_then(|request| Some((request, self.requests.get(&request)?.sort)));
            let stand = |request| self.hypotheses.get(number).and_then(|hypothesis| hypothesis.stand(request));
            if let Some((request, sort)) = request
                && let Some(stand) = stand(request)
            {
                self.lessons.learn_step(sort, stand, Some(made.sort), weight / sum);
            }
        }
        let branch = |&(weight, number, request): &Branch| {
            let mut branch = self.hypotheses.get(number)?.branch(weight);
            if let Some(request) = request {
                let sort = sort(&self.requests, request);
                branch.makes(request, made, |stand, call| self.lessons.asked(sort, stand, call));
            }
            Some(branch)
        };
        self.hypotheses = branches.iter().filter_map(branch).collect();
        if let Some(call) = call {
            self.calls.insert(made.call, call);
        }
        self.settle();
    }

    pub(super) fn returned(&mut self, turn: Turn, call: NodeId) {
        self.arrivals += 1;
        for hypothesis in &mut self.hypotheses {
            hypothesis.returned(call, Arrival { turn, number: self.arrivals });
        }
        match self.calls.get_mut(&call) {
            Some(call) => call.returned = true,
            None => self.hypotheses.iter_mut().for_each(|hypothesis| hypothesis.release(call)),
        }
    }

    /// What is now known of a call teaches how requests act.
    pub(super) fn learn(&mut self, call: NodeId, owner: NodeId) {
        let probability = self.probability(call, owner);
        let Some(Call { able, sights, moment, .. }) = self.calls.get(&call) else { return };
        if let Some(at) = able.iter().position(|able| able.request == owner) {
            let likely = self.lessons.likely(moment, sights);
            self.lessons.learn_sight(moment, at, sights, &likely, probability);
        }
    }

    fn probability(&self, call: NodeId, owner: NodeId) -> f64 {
        self.hypotheses.iter().filter(|hypothesis| hypothesis.owner(call) == Some(owner)).map(|h| h.weight).sum()
    }

    pub(super) fn likeliest(&self, call: NodeId) -> Option<(NodeId, f64)> {
        if !self.calls.contains_key(&call) {
            return None;
        }
        let mut owners: BTreeMap<NodeId, f64> = BTreeMap::new();
        for hypothesis in &self.hypotheses {
            if let Some(owner) = hypothesis.owner(call) {
                *owners.entry(owner).or_default() += hypothesis.weight;
            }
        }
        owners.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// A call is this request's: what took it for another's is unlikely (`penalty`), and is put right.
    fn correct(&mut self, call: NodeId, owner: NodeId, penalty: f64) {
        let sort = sort(&self.requests, owner);
        for hypothesis in &mut self.hypotheses {
            if hypothesis.owner(call) != Some(owner) {
                hypothesis.correct(call, owner, |stand, call| self.lessons.asked(sort, stand, call));
                hypothesis.weight *= penalty;
            }
        }
        self.settle();
    }

    /// Nobody asks for a call any more.
    pub(super) fn release(&mut self, call: NodeId) {
        if self.calls.remove(&call).is_some_and(|call| call.returned) {
            for hypothesis in &mut self.hypotheses {
                hypothesis.release(call);
            }
            self.merge();
        }
    }

    /// The likeliest hypotheses, with weights that add up to 1.
    fn settle(&mut self) {
        self.hypotheses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        self.hypotheses.truncate(HYPOTHESES);
        let sum: f64 = self.hypotheses.iter().map(|hypothesis| hypothesis.weight).sum();
        for hypothesis in &mut self.hypotheses {
            hypothesis.weight = if sum > 0.0 { hypothesis.weight / sum } else { 1.0 };
        }
        // What is next to impossible costs as much as what is likely.
        self.hypotheses.retain(|hypothesis| hypothesis.weight > 1e-6);
        if self.hypotheses.is_empty() {
            self.hypotheses.push(Hypothesis::certain());
        }
    }

    /// Hypotheses that differ in nothing that is still asked for are one.
    fn merge(&mut self) {
        if self.hypotheses.len() < 2 {
            return;
        }
        let mut merged: Vec<Hypothesis> = Vec::with_capacity(self.hypotheses.len());
        for hypothesis in self.hypotheses.drain(..) {
            match merged.iter_mut().find(|other| other.is_like(&hypothesis)) {
                Some(other) => other.weight += hypothesis.weight,
                None => merged.push(hypothesis),
            }
        }
        self.hypotheses = merged;
        self.hypotheses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    }

    /// Nothing is open, and nothing is in doubt.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        let certain = Hypothesis::certain();
        self.requests.is_empty() && self.calls.is_empty() && self.hypotheses.iter().all(|it| it.is_like(&certain))
    }
}

/// What sort of request one is.
fn sort(requests: &HashMap<NodeId, Request>, request: NodeId) -> Likeness {
    requests.get(&request).map(|request| request.sort).unwrap_or_default()
}

/// The requests that could act at a time, for one of which this comes `next`.
fn able(
    hypothesis: &Hypothesis,
    requests: &HashMap<NodeId, Request>,
    lessons: &Lessons,
    time: Time,
    next: Option<Likeness>,
) -> Vec<Able> {
    let able = |(request, stand): (NodeId, Stand)| {
        let &Request { sort, received } = requests.get(&request).filter(|_| !stand.answering)?;
        let (step, due) = lessons.step(sort, stand, next);
        (received <= time).then_some(Able { request, stand, due, step })
    };
    let mut able: Vec<Able> = hypothesis.stands().filter_map(able).collect();
    let most = able.iter().filter(|able| able.due.is_some()).map(|able| able.step).fold(0.0, f64::max);
    for able in &mut able {
        able.due = able.due.filter(|_| able.step >= most * UNLIKELY);
    }
    able
}
