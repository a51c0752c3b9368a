//! Events of different CPUs in the order in which they happened.
//!
//! A write counts from its entry but is told at its exit, so an effect can be told before its cause. Events wait here
//! until nothing earlier can come any more: for a bounded window of time, and a bounded number.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::event::{Event, Time};

/// How long an event may be told late, ns. A write that blocks for longer (the peer does not read) is taken out of order: its
/// exchange is still complete, but a request found on the other end may already have been called a root.
pub const WINDOW: Time = 100_000_000;

/// Events that wait at most; beyond it the earliest is let go. At 100 000 events/s the window holds 10 000.
const LIMIT: usize = 100_000;

/// The waiting room.
#[derive(Debug, Default)]
pub struct Order {
    waiting: BinaryHeap<Reverse<Waiting>>,
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
        self.waiting.push(Reverse(Waiting { key: (time, self.next), event }));
        self.next += 1;
    }

    /// The next event whose turn has come.
    pub fn pop(&mut self) -> Option<Event> {
        let ready = self.waiting.len() > LIMIT
            || self.waiting.peek().is_some_and(|Reverse(first)| first.key.0.saturating_add(WINDOW) <= self.now);
        if ready { self.drain() } else { None }
    }

    /// The next event, without waiting.
    pub fn drain(&mut self) -> Option<Event> {
        self.waiting.pop().map(|Reverse(waiting)| waiting.event)
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
    fn a_flood_is_bounded() {
        let mut order = Order::default();
        for n in 0..=LIMIT as u64 {
            order.push(5, tick(n));
        }
        assert_eq!(order.pop(), Some(tick(0)));
        assert_eq!(order.pop(), None);
    }
}
