//! Who caused whom, judged by what the applications write into their URLs and statements: `/checkout?id=7` runs
//! `SELECT 'checkout-7-a'`. This needs `--sql-text raw`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Display,
};

use crate::otlp::{Kind, Span};

/// The first string literal of a statement: the marker that its application gave it.
#[must_use]
pub fn marker(span: &Span) -> Option<&str> {
    span.attribute("db.query.text").split('\'').nth(1)
}

/// How many SQL spans there are of each marker that begins so.
#[must_use]
pub fn markers(spans: &[Span], beginning: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for marker in spans.iter().filter(|span| span.is_sql()).filter_map(marker) {
        if marker.starts_with(beginning) {
            *counts.entry(marker.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

/// How many spans of requests that a process answered there are of each URL.
#[must_use]
pub fn requests(spans: &[Span]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for span in spans.iter().filter(|span| span.is_http_server()) {
        *counts.entry(span.target()).or_insert(0) += 1;
    }
    counts
}

/// How counts differ from what was expected, in at most ten sentences: an empty list if they do not.
#[must_use]
pub fn differences<K: Ord + Display>(found: &BTreeMap<K, usize>, expected: &BTreeMap<K, usize>) -> Vec<String> {
    let keys: BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    keys.into_iter()
        .map(|key| (key, found.get(key).unwrap_or(&0), expected.get(key).unwrap_or(&0)))
        .filter(|(_, found, expected)| found != expected)
        .map(|(key, found, expected)| format!("{key}: {found} times, not {expected}"))
        .take(10)
        .collect()
}

/// The parents of all `checkout-…` statements.
#[derive(Debug, Default)]
pub struct Parents {
    /// Statements below their own request's span.
    pub right: usize,
    /// Statements without a parent.
    pub missing: usize,
    /// What is wrong with the others.
    pub wrong: Vec<String>,
}

/// Judges the parent of each `checkout-<id>-…` statement.
#[must_use]
pub fn parents(spans: &[Span]) -> Parents {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut parents = Parents::default();
    for span in spans.iter().filter(|span| span.is_sql()) {
        let Some(id) = marker(span).and_then(|marker| marker.strip_prefix("checkout-")?.split('-').next()) else {
            continue;
        };
        let own = format!("/checkout?id={id}");
        match by_id.get(span.parent_span_id.as_str()) {
            None if span.parent_span_id.is_empty() => parents.missing += 1,
            None => parents.wrong.push(format!("{own}: a parent that does not exist")),
            Some(parent) if parent.trace_id != span.trace_id => {
                parents.wrong.push(format!("{own}: a parent of another trace"));
            }
            Some(parent) if parent.kind == Kind::Server && parent.target() == own => parents.right += 1,
            Some(parent) => parents.wrong.push(format!("{own}: below {:?} {}", parent.kind, parent.target())),
        }
    }
    parents
}

/// The spans of each trace.
#[must_use]
pub fn traces(spans: &[Span]) -> BTreeMap<&str, Vec<&Span>> {
    let mut traces: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(&span.trace_id).or_default().push(span);
    }
    traces
}
