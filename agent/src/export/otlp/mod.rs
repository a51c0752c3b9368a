//! OTLP: spans go to a collector, over gRPC or HTTP, in batches, without ever making the pipeline wait.
//!
//! The requests are built and sent here, with the messages of `opentelemetry-proto`, rather than by the exporter of
//! `opentelemetry-otlp`, from which the names and defaults of the variables come. That exporter serves a process that
//! traces itself: one exporter has one Resource, so this agent would send a request for each observed process instead
//! of one for all; retrying ends after `OTEL_EXPORTER_OTLP_TIMEOUT`; how many spans a partial success rejected is
//! logged but not given; certificates are left to the caller; and each span would be converted twice, by way of the
//! SDK's `SpanData`.

mod config;
mod endpoint;
mod environment;
mod grpc;
mod http;
mod metrics;
mod queue;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod worker;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

pub use config::{Collector, ConfigError, MetricsConfig, OtlpConfig, Protocol, TracesConfig};
pub use metrics::MetricsExporter;
use queue::Queue;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use transport::{Outcome, Transport};
use worker::Worker;

use super::report::{Counters, ExportReport, Pending};
use crate::traces::span::Span;

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file named by a variable.
    #[error("cannot read {}: check OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {reason}: a PEM file is expected", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client library refuses the settings.
    #[error("cannot set up the OTLP client: {0}")]
    Client(String),
}

/// What the collector says to a request without spans.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(String);

/// What the sender of spans and the task that exports them share.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    batch_spans: usize,
    /// A batch is full.
    full: Notify,
    counters: Counters,
}

/// Sends spans to a collector from a task of its own.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    /// Becomes true when nothing more will be sent.
    draining: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Begins to export; connects when the first spans are sent. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If a certificate cannot be used. A collector that cannot be reached is no error: it may come.
    pub fn start(config: &TracesConfig) -> Result<Self, ExportError> {
        let transport = Transport::new(&config.collector)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_spans),
            batch_spans: config.batch_spans.min(config.queue_spans),
            full: Notify::new(),
            counters: Counters::default(),
        });
        let (draining, drain) = watch::channel(false);
        let worker = Worker::new(config, transport, Arc::clone(&shared), drain);
        Ok(Self { shared, draining, task: tokio::spawn(worker.run()) })
    }

    /// Hands over finished spans. Never waits: what finds no room is dropped and counted.
    pub fn send(&self, spans: Vec<Span>) {
        let (waiting, dropped) = self.shared.queue.push(spans);
        self.shared.counters.dropped(dropped);
        if waiting >= self.shared.batch_spans {
            self.shared.full.notify_one();
        }
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn report(&self) -> ExportReport {
        self.shared.counters.report()
    }

    /// The spans on their way.
    #[must_use]
    pub fn pending(&self) -> Pending {
        let (waiting, in_flight) = (self.shared.queue.len() as u64, self.shared.counters.in_flight());
        Pending { waiting, in_flight, capacity: self.shared.queue.limit() as u64 }
    }

    /// Sends what waits, for at most `deadline`; what is left then is counted as failed.
    pub async fn shutdown(mut self, deadline: Duration) -> ExportReport {
        self.draining.send_replace(true);
        if tokio::time::timeout(deadline, &mut self.task).await.is_err() {
            self.task.abort();
            // Once it has ended, nothing is counted twice.
            let _ = (&mut self.task).await;
        }
        self.shared.counters.abandon(self.shared.queue.len());
        self.report()
    }
}

/// Asks the collector once, with a request without spans, which OTLP allows.
///
/// # Errors
/// If it cannot be reached or refuses: one sentence for the user.
pub async fn probe(config: &Collector) -> Result<(), Unreachable> {
    let mut transport = Transport::new(config).map_err(|error| Unreachable(error.to_string()))?;
    let empty = transport.prepare(Vec::new());
    match transport.send(empty, config.timeout).await {
        Outcome::Accepted { .. } => Ok(()),
        Outcome::Retry { reason, .. } | Outcome::Refused(reason) | Outcome::Unimplemented(reason) => {
            Err(Unreachable(reason))
        }
    }
}
