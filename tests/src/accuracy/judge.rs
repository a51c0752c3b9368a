//! The judgement: which spans there must be, below which others, and what syspan made of it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::Range,
};

use serde::{Deserialize, Serialize};

use crate::{
    causes::marker,
    otlp::{Kind, Span},
};

/// How many wrong parents are kept in words.
const DESCRIBED: usize = 10;

/// From this confidence on, what was inferred is to be right in 99 of 100 cases.
pub const CONFIDENT: f64 = 0.9;

/// What was asked of the traced processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Requests went to `/<path>?id=N`.
    pub path: String,
    /// One for each N.
    pub ids: Range<usize>,
    /// The processes of each hop. The first is asked, each asks the next, and the last runs the statements.
    pub hops: Vec<BTreeSet<u32>>,
}

/// How a parent is known: `syspan.parent.evidence`, what was inferred in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `header`.
    Header,
    /// `socket`.
    Socket,
    /// `task`.
    Task,
    /// `handoff`.
    Handoff,
    /// `inferred`, with a confidence of at least [`CONFIDENT`].
    Confident,
    /// `inferred`, with less or none.
    Unsure,
    /// Something else or nothing, which no span with a parent may have.
    Unlabelled,
}

impl Level {
    /// Whether timing and order were all there was.
    #[must_use]
    pub fn is_inferred(self) -> bool {
        matches!(self, Level::Confident | Level::Unsure)
    }

    fn of(span: &Span) -> Self {
        match span.attribute("syspan.parent.evidence") {
            "header" => Level::Header,
            "socket" => Level::Socket,
            "task" => Level::Task,
            "handoff" => Level::Handoff,
            "inferred" => {
                let confidence = span.attribute("syspan.parent.confidence").parse();
                if confidence.is_ok_and(|confidence: f64| confidence >= CONFIDENT) {
                    Level::Confident
                } else {
                    Level::Unsure
                }
            }
            _ => Level::Unlabelled,
        }
    }
}

/// Parents of one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// The span that caused it.
    pub right: usize,
    /// Another one, one of another trace, one that does not exist, or one where there is none.
    pub wrong: usize,
}

/// What became of the edges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many there must be: all that were asked for, seen or not.
    pub edges: usize,
    /// Those that have a parent.
    pub parents: BTreeMap<Level, Verdicts>,
    /// Those whose span has no parent.
    pub parentless: usize,
    /// Spans that must be there and are not, whether they should have a parent or not.
    pub absent: usize,
    /// Those of [`Self::absent`] that should have a parent.
    pub absent_edges: usize,
    /// Spans that are there once more than they must be.
    pub surplus: usize,
    /// The first wrong parents, in words.
    pub wrong: Vec<String>,
}

impl Tally {
    /// Parents of these levels.
    pub fn of(&self, levels: impl Fn(Level) -> bool) -> Verdicts {
        self.parents.iter().filter(|(level, _)| levels(**level)).fold(Verdicts::default(), |sum, (_, verdicts)| {
            Verdicts { right: sum.right + verdicts.right, wrong: sum.wrong + verdicts.wrong }
        })
    }

    /// Edges without any parent.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.parentless + self.absent_edges
    }

    fn count(&mut self, level: Level, right: bool) {
        let verdicts = self.parents.entry(level).or_default();
        if right {
            verdicts.right += 1;
        } else {
            verdicts.wrong += 1;
        }
    }
}

/// What a span is to the request that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// The request as it arrived.
    Server,
    /// The request as it was passed on.
    Onward,
    /// The call of the service that is not traced.
    Item,
    /// The first statement.
    First,
    /// The second.
    Second,
}

impl Role {
    /// What the last hop does for each request.
    const WORK: [Role; 3] = [Role::First, Role::Item, Role::Second];
}

/// A span that must be there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    id: usize,
    hop: usize,
    role: Role,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, hop, role } = self;
        let what = match role {
            Role::Server => "the request",
            Role::Onward => "the request passed on",
            Role::Item => "the call",
            Role::First => "statement a",
            Role::Second => "statement b",
        };
        write!(f, "{what} of id {id} (hop {hop})")
    }
}

/// Spans, ordered worst last: of a span that is there twice, the worse counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Right(Level),
    Parentless,
    Wrong(Level),
}

/// Judges all spans of a run, of which those of other ids are passed over.
#[must_use]
pub fn judge(asked: &Asked, spans: &[Span]) -> Tally {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut found: HashMap<Place, Vec<&Span>> = HashMap::new();
    for span in spans {
        if let Some(place) = asked.place(span) {
            found.entry(place).or_default().push(span);
        }
    }
    let mut tally = Tally::default();
    for (place, parent) in asked.places() {
        tally.edges += usize::from(parent.is_some());
        let spans = found.get(&place).map(Vec::as_slice).unwrap_or_default();
        let verdicts = spans.iter().map(|span| asked.verdict(span, place, parent, &by_id, &mut tally.wrong));
        let Some(verdict) = verdicts.max() else {
            tally.absent += 1;
            tally.absent_edges += usize::from(parent.is_some());
            continue;
        };
        tally.surplus += spans.len() - 1;
        match verdict {
            // A request from outside has no parent, and none is counted.
            Verdict::Parentless => tally.parentless += usize::from(parent.is_some()),
            Verdict::Right(level) => tally.count(level, true),
            Verdict::Wrong(level) => tally.count(level, false),
        }
    }
    tally
}

impl Asked {
    /// All spans that there must be, and their parents.
    fn places(&self) -> Vec<(Place, Option<Place>)> {
        let hops = self.hops.len();
        let mut places = Vec::new();
        for id in self.ids.clone() {
            for hop in 0..hops {
                let place = |role| Place { id, hop, role };
                let before = hop.checked_sub(1).map(|hop| Place { id, hop, role: Role::Onward });
                places.push((place(Role::Server), before));
                let inside: &[Role] = if hop + 1 == hops { &Role::WORK } else { &[Role::Onward] };
                places.extend(inside.iter().map(|role| (place(*role), Some(place(Role::Server)))));
            }
        }
        places
    }

    /// What a span is, by what its application wrote into it.
    fn place(&self, span: &Span) -> Option<Place> {
        let pid = span.resource.get("process.pid")?.parse().ok()?;
        let hop = self.hops.iter().position(|processes| processes.contains(&pid))?;
        let own = |target: &str| -> Option<usize> {
            target.strip_prefix('/')?.strip_prefix(&self.path)?.strip_prefix("?id=")?.parse().ok()
        };
        let (role, id) = if span.is_sql() {
            let (id, step) = marker(span)?.strip_prefix(&self.path)?.strip_prefix('-')?.split_once('-')?;
            let role = match step {
                "a" => Role::First,
                "b" => Role::Second,
                _ => return None,
            };
            (role, id.parse().ok()?)
        } else if span.kind == Kind::Server {
            (Role::Server, own(&span.target())?)
        } else {
            let target = called(span)?;
            match target.strip_prefix("/item?id=") {
                Some(id) => (Role::Item, id.parse().ok()?),
                None => (Role::Onward, own(target)?),
            }
        };
        self.ids.contains(&id).then_some(Place { id, hop, role })
    }

    fn verdict(
        &self,
        span: &Span,
        place: Place,
        expected: Option<Place>,
        by_id: &HashMap<&str, &Span>,
        wrong: &mut Vec<String>,
    ) -> Verdict {
        if span.parent_span_id.is_empty() {
            return Verdict::Parentless;
        }
        let level = Level::of(span);
        let parent = by_id.get(span.parent_span_id.as_str());
        let (right, what) = match parent {
            None => (false, "a span that does not exist".to_owned()),
            Some(parent) => match self.place(parent) {
                Some(found) if parent.trace_id != span.trace_id => (false, format!("{found}, in another trace")),
                Some(found) => (Some(found) == expected, found.to_string()),
                None => (false, format!("{:?} {:?}, none of these requests", parent.kind, parent.name)),
            },
        };
        if right {
            return Verdict::Right(level);
        }
        if wrong.len() < DESCRIBED {
            let confidence = match span.attribute("syspan.parent.confidence") {
                "" => String::new(),
                confidence => format!(" {confidence}"),
            };
            wrong.push(format!("{place} is below {what} ({level:?}{confidence}; span {})", span.span_id));
        }
        Verdict::Wrong(level)
    }
}

/// The path and query of an HTTP client's `url.full`.
fn called(span: &Span) -> Option<&str> {
    let (_, rest) = span.attribute("url.full").split_once("://")?;
    rest.get(rest.find('/')?..)
}

#[cfg(test)]
mod tests;
