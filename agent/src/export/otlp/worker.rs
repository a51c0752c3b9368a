//! The task that takes batches from the queue and sees each delivered or counted.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Shared,
    config::TracesConfig,
    transport::{Outcome, Transport},
};
use crate::{escape::harmless, export::proto::resource_spans};

/// First pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause: how long a collector that came back may wait for spans.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The same while shutting down, where there are seconds in all.
const LONGEST_DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait a collector can impose (Retry-After, RetryInfo): its word is taken, but not for a day.
const LONGEST_THROTTLE: Duration = Duration::from_secs(300);

/// A batch is tried for as long as there is room for others behind it. Once the queue is nearly full, a batch that was
/// tried for this long makes room: it is the oldest, and a collector that answers others may never take this one.
const TRY_AT_LEAST: Duration = Duration::from_secs(300);

/// The exporting task.
#[derive(Debug)]
pub(super) struct Worker {
    transport: Transport,
    shared: Arc<Shared>,
    drain: watch::Receiver<bool>,
    timeout: Duration,
    delay: Duration,
    /// Since when the collector has taken nothing.
    outage: Option<Instant>,
    /// Why it refused the last batch, if it did.
    refusal: Option<String>,
}

impl Worker {
    pub(super) fn new(
        config: &TracesConfig,
        transport: Transport,
        shared: Arc<Shared>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        Self {
            transport,
            shared,
            drain,
            timeout: config.collector.timeout,
            delay: config.schedule_delay,
            outage: None,
            refusal: None,
        }
    }

    /// Runs until the exporter shuts down and the queue is empty. One request at a time: it keeps the collector's pace
    /// and the spans' order.
    pub(super) async fn run(mut self) {
        loop {
            let draining = self.is_draining();
            if !draining && self.shared.queue.len() < self.shared.batch_spans {
                let mut drain = self.drain.clone();
                let wake = async {
                    tokio::select! {
                        () = self.shared.full.notified() => {}
                        _ = drain.wait_for(|draining| *draining) => {}
                    }
                };
                // The delay is over: what there is goes.
                let _ = timeout(self.delay, wake).await;
            }
            let batch = self.shared.queue.take(self.shared.batch_spans);
            if !batch.is_empty() {
                let count = batch.len();
                self.shared.counters.begin(count);
                // `TracesData` and `ExportTraceServiceRequest` are the same message on the wire.
                let request = TracesData { resource_spans: resource_spans(&batch) }.encode_to_vec();
                drop(batch);
                let request = self.transport.prepare(request);
                self.deliver(request, count).await;
            } else if draining {
                return;
            }
        }
    }

    /// Sends one request until it is taken or given up.
    async fn deliver(&mut self, request: Bytes, spans: usize) {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.transport.send(request.clone(), self.timeout).await {
                Outcome::Accepted { rejected, message } => {
                    self.recovered();
                    self.refusal = None;
                    let rejected = usize::try_from(rejected).unwrap_or(spans).min(spans);
                    if rejected > 0 || !message.is_empty() {
                        tracing::warn!(rejected, spans, "the collector says: {}", harmless(&message));
                    }
                    return self.shared.counters.delivered(spans, rejected);
                }
                Outcome::Refused(reason) | Outcome::Unimplemented(reason) => {
                    // A collector that refuses all is said once: how much is lost is said every minute.
                    if self.refusal.as_ref() != Some(&reason) {
                        tracing::warn!(spans, "the collector refused spans, they are lost: {}", harmless(&reason));
                        self.refusal = Some(reason);
                    }
                    return self.shared.counters.failed(spans);
                }
                Outcome::Retry { after, reason } => {
                    if began.elapsed() >= TRY_AT_LEAST && self.shared.queue.is_nearly_full() {
                        tracing::warn!(spans, "spans are given up to make room for others: {}", harmless(&reason));
                        return self.shared.counters.failed(spans);
                    }
                    if self.outage.is_none() {
                        self.outage = Some(began);
                        tracing::warn!("the collector takes no spans, they wait: {}", harmless(&reason));
                    }
                    pause = self.pause(pause, after).await;
                }
            }
        }
    }

    /// Waits before another try, and gives the pause that follows after it.
    async fn pause(&mut self, pause: Duration, after: Option<Duration>) -> Duration {
        let longest = if self.is_draining() { LONGEST_DRAIN_PAUSE } else { LONGEST_PAUSE };
        let pause = pause.min(longest);
        let wait = after.unwrap_or_default().min(LONGEST_THROTTLE) + jitter(pause);
        if self.is_draining() || after.is_some() {
            sleep(wait).await;
        } else {
            // The end of the run is a reason to try at once.
            let _ = timeout(wait, self.drain.wait_for(|draining| *draining)).await;
        }
        pause * 2
    }

    fn recovered(&mut self) {
        if let Some(since) = self.outage.take() {
            tracing::info!("the collector takes spans again after {:.1} s", since.elapsed().as_secs_f64());
        }
    }

    fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }
}

/// A random time between half and the whole of it: agents of a cluster must not come back all at once.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 1_000;
    pause / 2 + pause.mul_f64(random as f64 / 2_000.0)
}
