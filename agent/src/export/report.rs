//! What became of the spans: counters, and the lines that end a run.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    accounts::Accounts,
    event::Time,
    streams::{Loss, Losses},
};

/// Spans by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// The collector took them.
    pub exported: u64,
    /// The collector said that it rejected them ([`Loss::Rejected`]).
    pub rejected: u64,
    /// Never delivered ([`Loss::ExportFailed`]).
    pub failed: u64,
    /// How many of those were not even sent, because the run ended.
    pub unsent: u64,
    /// No room in the queue ([`Loss::QueueFull`]).
    pub queue_full: u64,
}

impl ExportReport {
    /// Adds what is lost to the run's counters.
    pub fn add_to(&self, losses: &mut Losses) {
        let Self { exported: _, rejected, failed, unsent: _, queue_full } = *self;
        losses.add(Loss::Rejected, rejected);
        losses.add(Loss::ExportFailed, failed);
        losses.add(Loss::QueueFull, queue_full);
    }
}

/// Spans on their way to the collector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// In the queue.
    pub waiting: u64,
    /// In the request under way.
    pub in_flight: u64,
    /// Most that the queue takes.
    pub capacity: u64,
}

/// The same while the exporter runs. Every span that was handed over is in one of them, in the queue, or in flight.
#[derive(Debug, Default)]
pub(super) struct Counters {
    exported: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    unsent: AtomicU64,
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
        self.unsent.fetch_add(waiting as u64, Relaxed);
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn report(&self) -> ExportReport {
        ExportReport {
            exported: self.exported.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            failed: self.failed.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
        }
    }
}

/// The end of a run: how many spans were exported or shown; everything that is missing, by cause, largest first; and, where
/// something is, the sums that account for all that was seen ([`crate::accounts`]).
///
/// `losses` among the accounts are those of the capture and the engine; `report` is the exporter's, if there is one.
#[must_use]
pub fn summary(accounts: &Accounts, report: Option<&ExportReport>) -> String {
    let mut losses = accounts.losses.clone();
    if let Some(report) = report {
        report.add_to(&mut losses);
    }
    let spans = report.map_or(accounts.requests.spans, |report| report.exported);
    let spans = format!("syspan: {}", counted(spans, "span"));
    match losses_line(&losses) {
        None => format!("{spans}, nothing lost"),
        Some(lost) => format!("{spans}\n{lost}\n{}", sums(accounts, report)),
    }
}

/// The end of a recording: how many events it holds, and what is missing in it.
#[must_use]
pub fn recording_summary(events: u64, file: &str, losses: &Losses) -> String {
    let mut lines = format!("syspan: {} in {file}", counted(events, "event"));
    if let Some(lost) = losses_line(losses) {
        let _ = write!(lines, "\n{lost}");
    }
    lines
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn losses_line(losses: &Losses) -> Option<String> {
    let mut counted: Vec<_> = losses.iter().collect();
    counted.sort_by_key(|&(loss, n)| (std::cmp::Reverse(n), loss));
    let causes: Vec<_> = counted.iter().map(|(loss, n)| format!("{loss} {n}")).collect();
    (!causes.is_empty()).then(|| format!("syspan: not captured or lost: {}", causes.join(", ")))
}

/// `syspan: accounts: 7 transfers = 5 seen + 2 ring_full; 3 requests = 2 spans + 1 unfinished`
fn sums(accounts: &Accounts, report: Option<&ExportReport>) -> String {
    let Accounts { events, requests, losses } = accounts;
    let lost = |loss: Loss| (losses.get(loss), loss.name());
    let mut sums = vec![
        sum("transfer", &[(events.data, "seen"), lost(Loss::RingFull)]),
        sum(
            "request",
            &[
                (requests.spans, "spans"),
                lost(Loss::Unfinished),
                (requests.not_executed, "not executed"),
                (requests.left, "left to SDKs"),
            ],
        ),
    ];
    if let Some(&ExportReport { exported, rejected, failed, unsent: _, queue_full }) = report {
        let (rejected, failed) = ((rejected, Loss::Rejected.name()), (failed, Loss::ExportFailed.name()));
        sums.push(sum("span", &[(exported, "exported"), (queue_full, Loss::QueueFull.name()), failed, rejected]));
    }
    format!("syspan: accounts: {}", sums.join("; "))
}

/// What there is of a thing, and its parts but for those that are none.
fn sum(what: &str, parts: &[(u64, &str)]) -> String {
    let all = parts.iter().map(|&(n, _)| n).sum();
    let parts: Vec<_> = parts
        .iter()
        .enumerate()
        .filter(|&(at, &(n, _))| n > 0 || at == 0)
        .map(|(_, (n, name))| format!("{n} {name}"))
        .collect();
    format!("{} = {}", counted(all, what), parts.join(" + "))
}

/// Looks once a minute whether something was lost that the user can do something about.
#[derive(Debug)]
pub struct Watch {
    since: Time,
    before: Losses,
}

impl Watch {
    /// How often, ns.
    const PERIOD: Time = 60_000_000_000;

    /// Begins now, with what was lost so far.
    #[must_use]
    pub fn new(now: Time, losses: Losses) -> Self {
        Self { since: now, before: losses }
    }

    /// One line with what was lost since the last look, by cause and with the remedy; `None` before a minute has passed,
    /// and when nothing was.
    pub fn look(&mut self, now: Time, losses: &Losses) -> Option<String> {
        let passed = now.saturating_sub(self.since);
        if passed < Self::PERIOD {
            return None;
        }
        let before = std::mem::replace(&mut self.before, losses.clone());
        self.since = now;
        let causes: Vec<_> = losses
            .iter()
            .filter_map(|(loss, n)| {
                let more = n.saturating_sub(before.get(loss));
                let remedy = loss.remedy()?;
                (more > 0).then(|| format!("{loss} {more} ({remedy})"))
            })
            .collect();
        (!causes.is_empty()).then(|| format!("lost in the last {} s: {}", passed / 1_000_000_000, causes.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::{Events, Requests};

    fn losses(counts: &[(Loss, u64)]) -> Losses {
        let mut losses = Losses::default();
        counts.iter().for_each(|&(loss, n)| losses.add(loss, n));
        losses
    }

    #[test]
    fn a_run_without_losses_ends_with_one_line() {
        let requests = Requests { opened: 3, spans: 1, not_executed: 2, left: 0, open: 0 };
        let accounts = Accounts { requests, ..Accounts::default() };
        assert_eq!(summary(&accounts, None), "syspan: 1 span, nothing lost");
        let report = ExportReport { exported: 1, ..ExportReport::default() };
        assert_eq!(summary(&accounts, Some(&report)), "syspan: 1 span, nothing lost");
    }

    #[test]
    fn the_summary_names_every_loss_and_accounts_for_everything() {
        let accounts = Accounts {
            events: Events { data: 40, ..Events::default() },
            requests: Requests { opened: 20, spans: 17, not_executed: 1, left: 0, open: 0 },
            losses: losses(&[(Loss::RingFull, 7), (Loss::Unfinished, 2)]),
        };
        assert_eq!(
            summary(&accounts, None),
            "syspan: 17 spans\n\
             syspan: not captured or lost: ring_full 7, unfinished 2\n\
             syspan: accounts: 47 transfers = 40 seen + 7 ring_full; 20 requests = 17 spans + 2 unfinished + 1 not executed"
        );
        let report = ExportReport { exported: 5, rejected: 2, failed: 7, unsent: 4, queue_full: 3 };
        assert_eq!(
            summary(&accounts, Some(&report)),
            "syspan: 5 spans\n\
             syspan: not captured or lost: ring_full 7, export_failed 7, queue_full 3, unfinished 2, rejected 2\n\
             syspan: accounts: 47 transfers = 40 seen + 7 ring_full; 20 requests = 17 spans + 2 unfinished + 1 not executed; \
             17 spans = 5 exported + 3 queue_full + 7 export_failed + 2 rejected"
        );
    }

    #[test]
    fn a_recording_ends_with_its_events_and_losses() {
        assert_eq!(recording_summary(1, "a", &Losses::default()), "syspan: 1 event in a");
        let lost = losses(&[(Loss::RingFull, 2)]);
        assert_eq!(
            recording_summary(2, "a", &lost),
            "syspan: 2 events in a\nsyspan: not captured or lost: ring_full 2"
        );
    }

    #[test]
    fn once_a_minute_and_only_while_losing() {
        const SECOND: Time = 1_000_000_000;
        let mut watch = Watch::new(5 * SECOND, Losses::default());
        let some = losses(&[(Loss::RingFull, 3), (Loss::Gap, 9)]);
        assert_eq!(watch.look(64 * SECOND, &some), None, "not yet");
        let told = watch.look(65 * SECOND, &some);
        assert_eq!(
            told.as_deref(),
            Some("lost in the last 60 s: ring_full 3 (--ring-size, fewer processes, or more CPU for syspan)")
        );
        assert_eq!(watch.look(66 * SECOND, &losses(&[(Loss::RingFull, 9)])), None, "not again in this minute");
        let more = losses(&[(Loss::RingFull, 10), (Loss::QueueFull, 1)]);
        let told = watch.look(128 * SECOND, &more).unwrap_or_default();
        assert!(
            told.starts_with("lost in the last 63 s: ring_full 7 (") && told.contains(", queue_full 1 ("),
            "{told}"
        );
        assert_eq!(watch.look(200 * SECOND, &more), None, "nothing more was lost");
        let natural = losses(&[(Loss::RingFull, 10), (Loss::QueueFull, 1), (Loss::UnknownProtocol, 50)]);
        assert_eq!(watch.look(300 * SECOND, &natural), None, "nothing can be done about it");
    }
}
