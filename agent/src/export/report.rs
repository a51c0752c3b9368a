//! What became of the spans: counters, and the lines that end a run.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::streams::{Loss, Losses};

/// Spans by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// The collector took them.
    pub exported: u64,
    /// The collector said that it rejected them ([`Loss::Rejected`]).
    pub rejected: u64,
    /// Never delivered ([`Loss::ExportFailed`]).
    pub failed: u64,
    /// No room in the queue ([`Loss::QueueFull`]).
    pub queue_full: u64,
}

impl ExportReport {
    /// Adds what is lost to the run's counters.
    pub fn add_to(&self, losses: &mut Losses) {
        let Self { exported: _, rejected, failed, queue_full } = *self;
        losses.add(Loss::Rejected, rejected);
        losses.add(Loss::ExportFailed, failed);
        losses.add(Loss::QueueFull, queue_full);
    }
}

/// The same while the exporter runs. Every span that was handed over is in one of them, in the queue, or in flight.
#[derive(Debug, Default)]
pub(super) struct Counters {
    exported: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    queue_full: AtomicU64,
    in_flight: AtomicU64,
}

impl Counters {
    /// These found no room.
    pub(super) fn dropped(&self, spans: usize) {
        self.queue_full.fetch_add(spans as u64, Relaxed);
    }

    /// These left the queue.
    pub(super) fn begin(&self, spans: usize) {
        self.in_flight.store(spans as u64, Relaxed);
    }

    /// The collector took these, but for some.
    pub(super) fn delivered(&self, spans: usize, rejected: usize) {
        self.exported.fetch_add(spans.saturating_sub(rejected) as u64, Relaxed);
        self.rejected.fetch_add(rejected as u64, Relaxed);
        self.in_flight.store(0, Relaxed);
    }

    /// These will not be delivered.
    pub(super) fn failed(&self, spans: usize) {
        self.failed.fetch_add(spans as u64, Relaxed);
        self.in_flight.store(0, Relaxed);
    }

    /// The exporter has stopped: what is in flight and what waits will not be delivered.
    pub(super) fn abandon(&self, waiting: usize) {
        let in_flight = self.in_flight.swap(0, Relaxed);
        self.failed.fetch_add(in_flight + waiting as u64, Relaxed);
    }

    pub(super) fn report(&self) -> ExportReport {
        ExportReport {
            exported: self.exported.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            failed: self.failed.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
        }
    }
}

/// The end of a run: how many spans were exported or shown, and everything that is missing, by cause, largest first.
#[must_use]
pub fn summary(exported: u64, losses: &Losses) -> String {
    let mut lines = format!("syspan: {exported} {}", if exported == 1 { "span" } else { "spans" });
    let mut counted: Vec<_> = losses.iter().collect();
    counted.sort_by_key(|&(loss, n)| (std::cmp::Reverse(n), loss));
    if counted.is_empty() {
        lines.push_str(", nothing lost");
        return lines;
    }
    let causes: Vec<_> = counted.iter().map(|(loss, n)| format!("{loss} {n}")).collect();
    let _ = write!(lines, "\nsyspan: not captured or lost: {}", causes.join(", "));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_every_loss() {
        let mut losses = Losses::default();
        assert_eq!(summary(1, &losses), "syspan: 1 span, nothing lost");
        ExportReport { exported: 5, rejected: 2, failed: 7, queue_full: 0 }.add_to(&mut losses);
        losses.add(Loss::RingFull, 7);
        assert_eq!(
            summary(5, &losses),
            "syspan: 5 spans\nsyspan: not captured or lost: ring_full 7, export_failed 7, rejected 2"
        );
    }
}
