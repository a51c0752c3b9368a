//! What a process has shown of how its requests act.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::{
    Freed, Made,
    hypothesis::{Arrival, Stand},
};
use crate::{
    event::{Address, SocketId, Turn},
    protocols::likeness::Likeness,
    traces::tracker::NodeId,
};

/// Steps of requests that are remembered: by sort of request, and how many calls of which sort it has made.
const STEP_LIMIT: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// What is done, of which is remembered who does it: servers that a process calls.
const MOMENT_LIMIT: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Calls after which a request's steps are all alike: loops are as long as their input.
const MAX_STEPS: u32 = 24;

/// Different next steps of one step that are told apart.
const MAX_NEXT: usize = 16;

/// What is made beside a call that is under way more often than this, where it waits for no connection, is asked for at once with what was before.
const AT_ONCE: f64 = 0.25;

/// How much what was seen counts when something new is seen: processes change.
const FADE: f64 = 0.998;

/// How fast is learnt which sights speak for a request.
const RATE: f64 = 0.1;

/// The most that one kind of sight can speak for or against one.
const STRONGEST: f64 = 8.0;

/// How often a call is nobody's: made by a timer or in the background.
pub(super) const NOBODY: f64 = 0.002;

/// What is done, and of which sort it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    /// A request is answered.
    Answer(Likeness),
    /// A server is called.
    Call(Address, Likeness),
    /// It is called on a connection for which somebody may have waited.
    Freed(Freed, Address),
}

impl Moment {
    /// Of a call.
    pub(super) fn of(made: &Made) -> Self {
        let server = made.server.clone();
        match made.freed {
            Some(freed) => Self::Freed(freed, server),
            None => Self::Call(server, made.sort),
        }
    }
}

/// What is seen of a request when somebody acts: a bit for each kind that is so, see [`sights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight(u16);

impl Sight {
    /// The kinds that are so: few are.
    fn kinds(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let kind = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (kind < u16::BITS).then_some(kind as usize)
        })
    }
}

/// Kinds of what is seen, see [`sights`].
const SIGHTS: usize = TURNS + 5;

/// Turns ago that are told apart; the last stands for all before. Each hand-over from one callback to another takes an event loop a turn, so a
/// step takes as many turns each time.
const TURNS: usize = 8;

/// A request that could act.
#[derive(Debug, Clone, Copy)]
pub(super) struct Able {
    pub(super) request: NodeId,
    pub(super) stand: Stand,
    /// What it goes on from, if it waits for nothing that is under way.
    pub(super) due: Option<Arrival>,
    /// How likely what is done is its next step.
    pub(super) step: f64,
}

/// How the requests look when a strand acts, in the order that was given: when that came which they waited for, compared with the others.
pub(super) fn sights(able: &[Able], turn: Turn, socket: Option<SocketId>) -> Vec<Sight> {
    let number = |able: &Able| able.due.map(|due| due.number);
    // How many turns ago what it waited for came to this strand.
    let ago = |able: &Able| {
        let came = able.due?.turn;
        (came.strand == turn.strand).then_some((turn.number.wrapping_sub(came.number) as usize).min(TURNS - 1))
    };
    let used = |able: &Able| socket.is_some() && able.stand.socket == socket;
    let mut first: [Option<u64>; TURNS] = [None; TURNS];
    let mut last = None;
    for (ago, number) in able.iter().filter_map(|able| Some((ago(able)?, number(able)?))) {
        if let Some(first) = first.get_mut(ago) {
            *first = Some(first.map_or(number, |first: u64| first.min(number)));
        }
        if ago == 0 {
            last = last.max(Some(number));
        }
    }
    let oldest = able.iter().filter_map(number).min();
    let last_user = able.iter().filter(|able| used(able)).map(|able| able.stand.came.number).max();
    able.iter()
        .map(|able| {
            let due = number(able);
            let ago = ago(able);
            let others = [
                // What it waited for came before that of all others of the same turn.
                ago.and_then(|ago| first.get(ago)).is_some_and(|first| *first == due),
                // It has come just now: in this turn, as the last.
                ago == Some(0) && last == due,
                // Longer ago than with all others.
                due.is_some() && due == oldest,
                // It used the connection last on which the call is made now.
                used(able) && Some(able.stand.came.number) == last_user,
                // It waits for a call.
                due.is_none(),
            ];
            let others = others.into_iter().zip(TURNS..).filter(|(is_so, _)| *is_so).map(|(_, kind)| kind);
            Sight(ago.into_iter().chain(others).fold(0, |bits, kind| bits | 1 << kind))
        })
        .collect()
}

/// How much each kind of sight speaks for a request: a softmax over those that could act, learnt by its gradient.
#[derive(Debug, Clone, Copy)]
struct Leaning {
    weights: [f64; SIGHTS],
}

impl Leaning {
    fn score(&self, sight: Sight) -> f64 {
        sight.kinds().filter_map(|kind| self.weights.get(kind)).sum::<f64>().exp()
    }

    /// The probability of each.
    fn shares(&self, among: &[Sight]) -> Vec<f64> {
        let mut shares: Vec<f64> = Vec::with_capacity(among.len());
        for sight in among {
            // Most look like one before.
            let alike = among.iter().zip(&shares).find(|(other, _)| *other == sight).map(|(_, score)| *score);
            shares.push(alike.unwrap_or_else(|| self.score(*sight)));
        }
        let sum: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= sum);
        shares
    }

    /// The one at a place acted, and each had this share of the probability.
    fn learn(&mut self, at: usize, among: &[Sight], shares: &[f64], weight: f64) {
        let Some(acted) = among.get(at) else { return };
        let mut surprise = [0.0; SIGHTS];
        for (share, sight) in shares.iter().zip(among) {
            for kind in sight.kinds() {
                if let Some(surprise) = surprise.get_mut(kind) {
                    *surprise -= share;
                }
            }
        }
        for kind in acted.kinds() {
            if let Some(surprise) = surprise.get_mut(kind) {
                *surprise += 1.0;
            }
        }
        for (own, surprise) in self.weights.iter_mut().zip(surprise) {
            *own = (*own + RATE * weight * surprise).clamp(-STRONGEST, STRONGEST);
        }
    }
}

/// What comes after a step.
#[derive(Debug, Clone, Default)]
struct Next {
    counts: Vec<Count>,
    all: f64,
}

/// How often something came next.
#[derive(Debug, Clone, Copy)]
struct Count {
    /// `None` is the answer.
    next: Option<Likeness>,
    all: f64,
    /// Those that were certain and for which no connection was waited for.
    prompt: f64,
    /// Those of them that were made while a call was under way.
    beside: f64,
}

/// Everything that was learnt of a process.
#[derive(Debug, Clone)]
pub(super) struct Lessons {
    style: Style,
    leanings: LruCache<Moment, Leaning>,
    steps: LruCache<(Likeness, u32, Likeness), Next>,
}

/// How programs are known to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Who gets what it waited for goes on at once: libuv, threads, Tokio.
    AtOnce,
    /// It goes on in the loop's next turn, in the order in which it came: asyncio.
    NextTurn,
    /// Who has waited longest goes on, whenever that is.
    InOrder,
}

impl Style {
    pub(super) const ALL: [Self; 3] = [Self::AtOnce, Self::NextTurn, Self::InOrder];

    /// How much each kind of sight speaks for a request before anything is learnt, in the order of [`sights`].
    fn expects(self) -> Leaning {
        Leaning {
            weights: match self {
                Self::AtOnce => [2.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.5, 3.0, 0.5, 0.5, -5.0],
                Self::NextTurn => [0.0, 3.0, 1.5, 1.0, 0.5, 0.5, 0.5, 0.0, 2.0, 0.0, 0.5, 0.5, -5.0],
                Self::InOrder => [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 4.0, 0.0, -5.0],
            },
        }
    }
}

impl Lessons {
    /// Nothing is learnt yet. A connection that is scarce goes to who has waited longest.
    pub(super) fn new(style: Style) -> Self {
        Self { style, leanings: LruCache::new(MOMENT_LIMIT), steps: LruCache::new(STEP_LIMIT) }
    }

    /// How likely each of those that could act is the one that does.
    pub(super) fn likely(&self, moment: &Moment, among: &[Sight]) -> Vec<f64> {
        self.leanings.peek(moment).copied().unwrap_or_else(|| self.expected(moment)).shares(among)
    }

    fn expected(&self, moment: &Moment) -> Leaning {
        match moment {
            // Connections go to who has waited longest, once the loop goes on.
            Moment::Freed(Freed::JustNow, _) => Style::InOrder.expects(),
            Moment::Freed(Freed::LastTurn, _) if self.style == Style::NextTurn => Style::InOrder.expects(),
            _ => self.style.expects(),
        }
    }

    /// The one at a place acted, when each was as likely as this ([`Self::likely`]); `weight`: how certain that is.
    pub(super) fn learn_sight(&mut self, moment: &Moment, at: usize, among: &[Sight], likely: &[f64], weight: f64) {
        let expected = self.expected(moment);
        self.leanings.get_or_insert_mut(moment.clone(), || expected).learn(at, among, likely, weight);
    }

    /// How likely a request of this sort takes this step next: a call of that sort, or (`None`) its answer. And what had come when it asked for
    /// that, if it waits for nothing that is under way. What is made at once with what was before is asked for with that, though it may be made
    /// later: when there is a connection for it.
    pub(super) fn step(&self, sort: Likeness, stand: Stand, next: Option<Likeness>) -> (f64, Option<Arrival>) {
        // Before anything is known, calls and answers are as likely.
        const UNKNOWN: f64 = 0.5;
        let due = (stand.open == 0).then_some(stand.came);
        let Some(step) = self.steps.peek(&key(sort, stand)) else { return (UNKNOWN, due) };
        let any_call = next == Some(Likeness::default());
        let is_next = |count: &&Count| count.next == next || (any_call && count.next.is_some());
        let seen: f64 = step.counts.iter().filter(is_next).map(|count| count.all).sum();
        let likely = (seen + UNKNOWN) / (step.all + 1.0);
        let is_at_once = |count: &Count| count.next == next && count.beside > (count.prompt + 1.0) * AT_ONCE;
        (likely, if step.counts.iter().any(is_at_once) { Some(stand.asked) } else { due })
    }

    /// What had come when a request of this sort asked for a call that it makes.
    pub(super) fn asked(&self, sort: Likeness, stand: Stand, call: Likeness) -> Arrival {
        self.step(sort, stand, Some(call)).1.unwrap_or(stand.came)
    }

    /// A request of this sort has made its next step.
    pub(super) fn learn_step(&mut self, sort: Likeness, stand: Stand, next: Option<Likeness>, weight: f64) {
        if next == Some(Likeness::default()) {
            return; // a call of which is not known yet what it is
        }
        let step = self.steps.get_or_insert_mut(key(sort, stand), Next::default);
        step.all = step.all * FADE + weight;
        for count in &mut step.counts {
            count.all *= FADE;
        }
        if let Some(count) = step.counts.iter_mut().find(|count| count.next == next) {
            count.all += weight;
        } else if step.counts.len() < MAX_NEXT {
            step.counts.push(Count { next, all: weight, prompt: 0.0, beside: 0.0 });
        }
    }

    /// A request of this sort is certain to have made its next step, after [`Self::learn_step`]: what waited for no connection shows when it was
    /// asked for.
    pub(super) fn learn_asked(&mut self, sort: Likeness, stand: Stand, next: Option<Likeness>, moment: &Moment) {
        let step = self.steps.peek_mut(&key(sort, stand)).filter(|_| !matches!(moment, Moment::Freed(..)));
        if let Some(count) = step.and_then(|step| step.counts.iter_mut().find(|count| count.next == next)) {
            count.prompt = count.prompt * FADE + 1.0;
            count.beside = count.beside * FADE + if stand.open > 0 { 1.0 } else { 0.0 };
        }
    }
}

fn key(sort: Likeness, stand: Stand) -> (Likeness, u32, Likeness) {
    (sort, stand.made.min(MAX_STEPS), stand.last)
}
