//! The task that exports syspan's own metrics.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message as _;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    ExportError,
    config::MetricsConfig,
    transport::{Outcome, Transport},
};
use crate::{
    escape::harmless,
    export::metrics::{Period, Snapshot, message},
    processes::Process,
};

/// Exports what it was told last, at the end of each interval and at the end of the run.
#[derive(Debug)]
pub struct MetricsExporter {
    latest: watch::Sender<Snapshot>,
    pub(super) task: JoinHandle<()>,
}

impl MetricsExporter {
    /// Begins to export. `syspan` says who is measured. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If a certificate cannot be used. A collector that cannot be reached is no error: it may come.
    pub fn start(config: &MetricsConfig, syspan: Arc<Process>) -> Result<Self, ExportError> {
        let transport = Transport::new(&config.collector)?;
        let (latest, told) = watch::channel(Snapshot::default());
        let reporter = Reporter {
            transport,
            told,
            syspan,
            timeout: config.collector.timeout,
            start: unix_time(),
            asked_for: config.asked_for,
            is_failing: false,
        };
        Ok(Self { latest, task: tokio::spawn(reporter.run(config.interval)) })
    }

    /// What there is to tell now.
    pub fn tell(&self, snapshot: Snapshot) {
        self.latest.send_replace(snapshot);
    }

    /// Exports for the last time, for at most `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        let Self { latest, mut task } = self;
        drop(latest); // the end of the run, for the task
        if timeout(deadline, &mut task).await.is_err() {
            task.abort();
        }
    }
}

struct Reporter {
    transport: Transport,
    told: watch::Receiver<Snapshot>,
    syspan: Arc<Process>,
    timeout: Duration,
    start: u64,
    asked_for: bool,
    /// The last export failed, and that was said.
    is_failing: bool,
}

impl Reporter {
    async fn run(mut self, interval: Duration) {
        let mut due = interval_at(Instant::now() + interval, interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ends = self.told.clone();
        loop {
            let last = tokio::select! {
                _ = due.tick() => false,
                () = ended(&mut ends) => true,
            };
            if !self.export().await || last {
                return;
            }
        }
    }

    /// Sends once; `false` when there is no use in sending again. A failed export is not repeated: the next one says it all.
    async fn export(&mut self) -> bool {
        let period = Period { start: self.start, now: unix_time() };
        let request = message(&self.told.borrow(), &self.syspan, period).encode_to_vec();
        let request = self.transport.prepare(request);
        match self.transport.send(request, self.timeout).await {
            Outcome::Accepted { rejected, message } => {
                self.is_failing = false;
                if rejected > 0 || !message.is_empty() {
                    tracing::info!(rejected, "the collector says of metrics: {}", harmless(&message));
                }
                true
            }
            // A collector that is only for traces is no fault.
            Outcome::Refused(reason) | Outcome::Unimplemented(reason) if !self.asked_for => {
                tracing::info!("the collector takes no metrics, no more are sent: {}", harmless(&reason));
                false
            }
            Outcome::Unimplemented(reason) => {
                tracing::warn!("the collector takes no metrics, no more are sent: {}", harmless(&reason));
                false
            }
            Outcome::Refused(reason) | Outcome::Retry { reason, .. } => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    if self.asked_for {
                        tracing::warn!("metrics are not delivered: {}", harmless(&reason));
                    } else {
                        tracing::info!("metrics are not delivered: {}", harmless(&reason));
                    }
                }
                true
            }
        }
    }
}

/// Waits until nothing more will be told.
async fn ended(told: &mut watch::Receiver<Snapshot>) {
    while told.changed().await.is_ok() {}
}

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
