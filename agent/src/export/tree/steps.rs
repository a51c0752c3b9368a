//! A trace as the steps that a reader sees: a call and its answering side are one, and repetitions are one.

use std::collections::{HashMap, HashSet};

use opentelemetry_semantic_conventions::attribute as key;

use crate::traces::span::{Kind, Span, SpanId, Value};

/// Siblings that are alike are shown as one from this number on.
const FOLD: usize = 3;
/// And pointed out from this one on: a loop around a query or call is the commonest cause of a slow request.
const POINT_OUT: usize = 5;

/// One span, or a CLIENT span with the SERVER span that answered it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The span, or the caller's.
    pub(super) span: &'a Span,
    /// The answering side's.
    pub(super) answer: Option<&'a Span>,
}

/// What becomes one row: one call, or several that are alike.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// In order of their start; at least one.
    pub(super) calls: Vec<Call<'a>>,
    /// Distance from the root.
    pub(super) depth: usize,
    /// For each level above, whether more steps follow there.
    pub(super) open: Vec<bool>,
    /// Whose step this one is part of: the service of the row above.
    pub(super) within: Option<&'a str>,
    /// It, or a step above, was folded.
    folded: bool,
    /// A step above was folded already.
    inside_fold: bool,
}

/// The steps of a trace, each after the one it is part of. Spans that no root leads to are left out.
pub(super) fn steps(spans: &[Span]) -> Vec<Step<'_>> {
    let known: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let mut children: HashMap<SpanId, Vec<&Span>> = HashMap::new();
    let mut roots = Vec::new();
    for span in spans {
        match span.parent {
            Some(parent) if known.contains(&parent.span_id) && parent.span_id != span.span_id => {
                children.entry(parent.span_id).or_default().push(span);
            }
            _ => roots.push(span),
        }
    }

    // A stack rather than recursion: the depth of a trace is up to those who send it.
    let mut ready = Vec::new();
    let mut waiting = rows(roots, &mut children, None);
    waiting.reverse();
    while let Some(step) = waiting.pop() {
        let below = step.calls.iter().flat_map(|call| {
            let own = children.remove(&call.span.span_id).unwrap_or_default();
            let answering = call.answer.and_then(|answer| children.remove(&answer.span_id)).unwrap_or_default();
            own.into_iter().chain(answering)
        });
        let below: Vec<&Span> = below.collect();
        let mut below = rows(below, &mut children, Some(&step));
        below.reverse();
        ready.push(step);
        waiting.append(&mut below);
    }
    ready
}

/// Siblings as rows in order of their start, those that are alike folded.
fn rows<'a>(
    mut siblings: Vec<&'a Span>,
    children: &mut HashMap<SpanId, Vec<&'a Span>>,
    above: Option<&Step<'a>>,
) -> Vec<Step<'a>> {
    siblings.sort_by_key(|span| (span.start, span.span_id));
    let mut alike: HashMap<Likeness<'a>, usize> = HashMap::new();
    let mut groups: Vec<Vec<Call<'a>>> = Vec::new();
    for span in siblings {
        let call = Call { span, answer: answer(span, children) };
        let at = *alike.entry(call.likeness()).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(call),
            None => groups.push(vec![call]),
        }
    }
    let mut rows: Vec<Vec<Call<'a>>> = Vec::new();
    for group in groups {
        if group.len() >= FOLD {
            rows.push(group);
        } else {
            rows.extend(group.into_iter().map(|call| vec![call]));
        }
    }
    rows.sort_by_key(|calls| calls.first().map(|call| (call.span.start, call.span.span_id)));

    let last = rows.len().saturating_sub(1);
    rows.into_iter()
        .enumerate()
        .map(|(at, calls)| {
            let inside_fold = above.is_some_and(|above| above.folded);
            let mut open = above.map(|above| above.open.clone()).unwrap_or_default();
            open.push(at != last);
            Step {
                depth: above.map_or(0, |above| above.depth + 1),
                open,
                within: above.and_then(Step::service),
                folded: inside_fold || calls.len() >= FOLD,
                inside_fold,
                calls,
            }
        })
        .collect()
}

/// The SERVER span right below a CLIENT span, taken from its children, if there is exactly one: the other end of its
/// connection.
fn answer<'a>(span: &Span, children: &mut HashMap<SpanId, Vec<&'a Span>>) -> Option<&'a Span> {
    if span.kind != Kind::Client {
        return None;
    }
    let below = children.get_mut(&span.span_id)?;
    let mut servers = below.iter().enumerate().filter(|(_, child)| child.kind == Kind::Server).map(|(at, _)| at);
    match (servers.next(), servers.next()) {
        (Some(at), None) => Some(below.remove(at)),
        _ => None,
    }
}

/// What calls have in common that are shown as one.
type Likeness<'a> = (&'a str, Option<&'a str>, bool, &'a str, &'a str);

impl<'a> Call<'a> {
    fn likeness(&self) -> Likeness<'a> {
        let answering = self.answer.map(|answer| answer.process.service_name());
        // `GET /user/1` and `GET /user/2` are alike, `GET /cart` is another thing.
        let first_segment = self.path().and_then(|path| path.split('/').nth(1)).unwrap_or_default();
        let caller = self.span.process.service_name();
        (caller, answering, self.span.kind == Kind::Client, self.name(), first_segment)
    }

    /// The name of the side that knows more: a server may know the route.
    pub(super) fn name(&self) -> &'a str {
        match self.answer {
            Some(answer) if answer.name.len() > self.span.name.len() => &answer.name,
            _ => &self.span.name,
        }
    }

    /// The path of an HTTP request.
    pub(super) fn path(&self) -> Option<&'a str> {
        let sides = [self.answer, Some(self.span)];
        sides.into_iter().flatten().find_map(|span| {
            span.string(key::URL_PATH).or_else(|| {
                let (_, after_scheme) = span.string(key::URL_FULL)?.split_once("://")?;
                let path = after_scheme.find('/').and_then(|at| after_scheme.get(at..)).unwrap_or("/");
                path.split(['?', '#']).next()
            })
        })
    }

    /// Error or other remarkable status, of the side that has one.
    pub(super) fn error(&self) -> Option<String> {
        [Some(self.span), self.answer].into_iter().flatten().find_map(|span| match &span.status {
            crate::traces::span::Status::Error(description) => Some(match span.string(key::ERROR_TYPE) {
                Some(kind) => kind.to_owned(),
                None if description.is_empty() => "error".to_owned(),
                None => description.clone(),
            }),
            crate::traces::span::Status::Unset => None,
        })
    }

    /// An HTTP status from 400 on, which is no error for a server.
    pub(super) fn remarkable_status(&self) -> Option<i64> {
        [self.answer, Some(self.span)].into_iter().flatten().find_map(|span| {
            match span.attribute(key::HTTP_RESPONSE_STATUS_CODE) {
                Some(Value::Int(code)) if *code >= 400 => Some(*code),
                _ => None,
            }
        })
    }
}

impl<'a> Step<'a> {
    /// The service that does the work, if it was seen: the answering one, or that of a SERVER span.
    pub(super) fn service(&self) -> Option<&'a str> {
        let call = self.calls.first()?;
        Some(call.answer.unwrap_or(call.span).process.service_name())
    }

    /// The service whose span it is, or that calls.
    pub(super) fn caller(&self) -> Option<&'a str> {
        self.calls.first().map(|call| call.span.process.service_name())
    }

    /// What is called where the other side was not seen: a database's kind or a server's address.
    pub(super) fn unseen_peer(&self) -> Option<String> {
        let call = self.calls.first().filter(|call| call.answer.is_none() && call.span.kind == Kind::Client)?;
        if let Some(system) = call.span.string(key::DB_SYSTEM_NAME) {
            return Some(system.to_owned());
        }
        let address = call.span.string(key::SERVER_ADDRESS).or_else(|| call.span.string(key::NETWORK_PEER_ADDRESS))?;
        Some(match call.span.attribute(key::SERVER_PORT) {
            Some(Value::Int(port)) if !matches!(port, 80 | 443) => format!("{address}:{port}"),
            _ => address.to_owned(),
        })
    }

    /// The name, and for HTTP the path where the name has none; what the paths of several calls have in common.
    pub(super) fn title(&self) -> String {
        let Some(first) = self.calls.first() else { return String::new() };
        let name = first.name();
        match first.path() {
            Some(path) if !name.contains(' ') => {
                let common = self.calls.iter().filter_map(Call::path).fold(path, common_path);
                format!("{name} {common}{}", if common.len() < path.len() { "…" } else { "" })
            }
            _ => name.to_owned(),
        }
    }

    /// What to say of many calls that are alike, unless it was said above.
    pub(super) fn repeated(&self) -> Option<&'static str> {
        let first = self.calls.first().filter(|_| self.calls.len() >= POINT_OUT && !self.inside_fold)?;
        match first.span.kind {
            Kind::Client if first.span.attribute(key::DB_SYSTEM_NAME).is_some() => Some("repeated query"),
            Kind::Client => Some("repeated call"),
            Kind::Server => None,
        }
    }
}

/// The longest common start of two paths that ends with a `/`, or the path if they are equal.
fn common_path<'a>(a: &'a str, b: &str) -> &'a str {
    if a == b {
        return a;
    }
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let slash = a.bytes().take(same).rposition(|byte| byte == b'/').map_or(0, |at| at + 1);
    a.get(..slash).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_paths_end_at_a_segment() {
        assert_eq!(common_path("/user/12/cart", "/user/13"), "/user/");
        assert_eq!(common_path("/user/", "/user/"), "/user/");
        assert_eq!(common_path("/a", "b"), "");
        assert_eq!(common_path("/é", "/è"), "/");
    }
}
