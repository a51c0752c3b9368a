//! Spans that wait for the collector: bounded in number and in memory, and taking one never waits.

use std::{collections::VecDeque, sync::Mutex};

use crate::traces::span::{Attribute, Span, Status, Value};

/// Most memory of waiting spans, by [`weight`]. The bound on their number is for spans of ordinary size; long SQL texts
/// would make it half a gigabyte.
pub(super) const MAX_BYTES: usize = 128 * 1024 * 1024;

/// Most bytes in one request, by [`weight`]: gRPC servers refuse messages above 4 MiB unless told otherwise, and the
/// weight is an estimate.
pub(super) const MAX_REQUEST_BYTES: usize = 3 * 1024 * 1024;

/// First in, first out.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Span>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// Adds spans while there is room. Gives how many wait now and how many were dropped.
    pub(super) fn push(&self, spans: Vec<Span>) -> (usize, usize) {
        let mut dropped = 0;
        let mut waiting = self.waiting();
        for span in spans {
            let weight = weight(&span);
            if waiting.spans.len() < self.limit && waiting.bytes.saturating_add(weight) <= MAX_BYTES {
                waiting.bytes += weight;
                waiting.spans.push_back(span);
            } else {
                dropped += 1;
            }
        }
        (waiting.spans.len(), dropped)
    }

    /// Takes the oldest, at most `limit`, and no more than fit in one request.
    pub(super) fn take(&self, limit: usize) -> Vec<Span> {
        let mut waiting = self.waiting();
        let (mut count, mut bytes) = (0, 0);
        for span in waiting.spans.iter().take(limit) {
            let weight = weight(span);
            if count > 0 && bytes + weight > MAX_REQUEST_BYTES {
                break;
            }
            count += 1;
            bytes += weight;
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        waiting.spans.drain(..count).collect()
    }

    /// Most that may wait.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().spans.len()
    }

    /// Whether spans are dropped, or soon will be: less than a tenth of the room is left.
    pub(super) fn is_nearly_full(&self) -> bool {
        let waiting = self.waiting();
        waiting.spans.len() >= self.limit - self.limit / 10 || waiting.bytes >= MAX_BYTES - MAX_BYTES / 10
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Nothing panics while holding it, and even then the queue is whole between two statements.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// About how many bytes a span takes, in memory and encoded: its texts, and a constant for each part.
fn weight(span: &Span) -> usize {
    const SPAN: usize = 160;
    const ATTRIBUTE: usize = 24;
    let attribute = |(key, value): &Attribute| {
        let value = match value {
            Value::String(text) => text.len(),
            Value::Int(_) | Value::Bool(_) | Value::Double(_) => 8,
            Value::Strings(texts) => texts.iter().map(|text| text.len() + ATTRIBUTE).sum(),
        };
        key.len() + value + ATTRIBUTE
    };
    let status = match &span.status {
        Status::Unset => 0,
        Status::Error(text) => text.len(),
    };
    let attributes: usize = span.attributes.iter().map(attribute).sum();
    let links: usize = span.links.iter().map(|link| 24 + link.attributes.iter().map(attribute).sum::<usize>()).sum();
    SPAN + span.name.len() + span.trace_state.len() + status + attributes + links
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::export::samples;

    #[test]
    fn what_does_not_fit_is_dropped_and_the_oldest_come_first() {
        let process = samples::process("a", 1);
        let queue = Queue::new(3);
        let spans = |ids: &[u64]| ids.iter().map(|&id| samples::span(&process, id, None)).collect::<Vec<_>>();
        assert_eq!(queue.push(spans(&[1, 2])), (2, 0));
        assert_eq!(queue.push(spans(&[3, 4, 5])), (3, 2));
        assert!(queue.is_nearly_full());
        assert_eq!(queue.take(2), spans(&[1, 2]));
        assert_eq!(queue.take(2), spans(&[3]));
        assert_eq!(queue.take(2), vec![]);
        assert!(!queue.is_nearly_full());
    }

    #[test]
    fn requests_and_memory_are_bounded_in_bytes() {
        let process = samples::process("a", 1);
        let queue = Queue::new(1_000);
        let mut large = samples::span(&process, 1, None);
        large.attributes.push(("db.query.text".into(), "x".repeat(MAX_REQUEST_BYTES / 2).into()));
        let many = MAX_BYTES / (MAX_REQUEST_BYTES / 2) + 1;
        let (waiting, dropped) = queue.push(vec![large; many]);
        assert!(dropped > 0 && waiting + dropped == many);
        assert_eq!(queue.take(10).len(), 1);
        let mut taken = 1;
        while !queue.take(10).is_empty() {
            taken += 1;
        }
        assert_eq!(taken, waiting);
        assert_eq!(queue.waiting().bytes, 0);
    }
}
