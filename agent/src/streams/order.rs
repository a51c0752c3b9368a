//! Events of different CPUs in the order in which they happened.
//!
//! A write counts from its entry but is told at its exit, so an effect can be told before its cause. Events wait here
//! until nothing earlier can come any more: for a bounded window of time, and a bounded number.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use crate::event::{Event, Time};

/// How long an event may be told late, ns. A write that blocks for longer (the peer does not read) is taken out of order: its
/// exchange is still complete, but a request found on the other end may already have been called a root.
pub const WINDOW: Time = 100_000_000;

/// Events that wait at most; beyond it the earliest is let go. At 100 000 events/s the window holds 10 000.
const LIMIT: usize = 100_000;

/// The waiting room. Nearly all events are told in order and need no heap, in which each would be moved many times.
#[derive(Debug, Default)]
pub struct Order {
    /// Each is not earlier than the one before it.
    in_order: VecDeque<Waiting>,
    /// Those that were told after a later one.
    late: BinaryHeap<Reverse<Waiting>>,
    /// The latest time seen.
    now: Time,
    /// Number of the next event: equal times keep their order.
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    key: (Time, u64),
    event: Event,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Order {
    /// Takes an event in.
    pub fn push(&mut self, time: Time, event: Event) {
        self.now = self.now.max(time);
        let waiting = Waiting { key: (time, self.next), event };
        self.next += 1;
        if self.in_order.back().is_none_or(|last| last.key <= waiting.key) {
            self.in_order.push_back(waiting);
        } else {
            self.late.push(Reverse(waiting));
        }
    }

    /// The next event whose turn has come.
    pub fn pop(&mut self) -> Option<Event> {
        let ready = self.in_order.len() + self.late.len() > LIMIT
            || self.first().is_some_and(|(time, _)| time.saturating_add(WINDOW) <= self.now);
        if ready { self.drain() } else { None }
    }

    /// The next event, without waiting.
    pub fn drain(&mut self) -> Option<Event> {
        let first = self.first()?;
        let waiting = if self.in_order.front().is_some_and(|waiting| waiting.key == first) {
            self.in_order.pop_front()
        } else {
            self.late.pop().map(|Reverse(waiting)| waiting)
        };
        waiting.map(|waiting| waiting.event)
    }

    /// The key of the earliest.
    fn first(&self) -> Option<(Time, u64)> {
        let in_order = self.in_order.front().map(|waiting| waiting.key);
        let late = self.late.peek().map(|Reverse(waiting)| waiting.key);
        match (in_order, late) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(time: Time) -> Event {
        Event::Tick { time }
    }

    #[test]
    fn late_events_are_put_in_order_within_the_window() {
        let mut order = Order::default();
        for time in [50, 40, 60] {
            order.push(time, tick(time));
        }
        assert_eq!(order.pop(), None);
        order.push(55 + WINDOW, tick(55 + WINDOW));
        assert_eq!(order.pop(), Some(tick(40)));
        assert_eq!(order.pop(), Some(tick(50)));
        assert_eq!(order.pop(), None, "60 may still get an earlier one");
        assert_eq!(order.drain(), Some(tick(60)));
    }

    #[test]
    fn equal_times_keep_their_order() {
        let event = |pid| Event::Exit { time: 5, pid };
        let mut order = Order::default();
        order.push(5, event(1));
        order.push(9, tick(9));
        order.push(5, event(2));
        order.push(5, event(3));
        let all: Vec<_> = std::iter::from_fn(|| order.drain()).collect();
        assert_eq!(all, [event(1), event(2), event(3), tick(9)]);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut order = Order::default();
        for n in 0..=LIMIT as u64 {
            order.push(5, tick(n));
        }
        assert_eq!(order.pop(), Some(tick(0)));
        assert_eq!(order.pop(), None);
    }
}
