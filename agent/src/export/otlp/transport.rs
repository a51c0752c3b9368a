//! One request to the collector, over gRPC or HTTP, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;

use super::{
    ExportError,
    config::{Collector, Protocol},
    grpc, http,
};

/// Whose requests these are. The number is that of the `opentelemetry-otlp` crate.
pub(super) const USER_AGENT: &str = concat!("syspan/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/0.33.1");

/// Most bytes of a response that are read (OTLP/HTTP: a client limits it; a response holds a message for people at
/// most).
pub(super) const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector took it, but for `rejected` spans or data points; the message is the collector's reason or advice.
    Accepted { rejected: u64, message: String },
    /// Worth another try, not before `after` if the collector named a time.
    Retry { after: Option<Duration>, reason: String },
    /// Not taken, and never will be.
    Refused(String),
    /// The same, because nothing there takes this signal.
    Unimplemented(String),
}

impl Outcome {
    /// The answer to a request that the collector accepted. A partial success is never retried (OTLP, "Partial
    /// Success"). The answers of all signals have the same form on the wire.
    pub(super) fn accepted(response: ExportTraceServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self::Accepted { rejected: u64::try_from(partial.rejected_spans).unwrap_or(0), message: partial.error_message }
    }
}

/// The connection to the collector, kept alive between requests and shared by all observed processes.
#[derive(Debug)]
pub(super) enum Transport {
    Grpc(Box<grpc::Client>),
    Http(http::Client),
}

impl Transport {
    pub(super) fn new(config: &Collector) -> Result<Self, ExportError> {
        Ok(match config.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Client::new(config)?)),
            Protocol::HttpProtobuf => Self::Http(http::Client::new(config)?),
        })
    }

    /// Does once what every attempt to send this request needs.
    pub(super) fn prepare(&self, request: Vec<u8>) -> Bytes {
        match self {
            Self::Grpc(_) => Bytes::from(request),
            Self::Http(client) => client.prepare(request),
        }
    }

    /// Sends a prepared request and waits for the answer, at most `timeout`.
    ///
    /// A request that took too long may have been received: trying again can deliver spans twice, which OTLP prefers to
    /// losing them.
    pub(super) async fn send(&mut self, request: Bytes, timeout: Duration) -> Outcome {
        let answer = async {
            match self {
                Self::Grpc(client) => client.send(request).await,
                Self::Http(client) => client.send(request).await,
            }
        };
        match tokio::time::timeout(timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) => {
                if let Self::Grpc(client) = self {
                    client.reconnect();
                }
                Outcome::Retry { after: None, reason: format!("no answer within {} ms", timeout.as_millis()) }
            }
        }
    }
}

/// An error and what caused it, in one line: the top of a chain alone says "transport error".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_names_the_crate_that_is_built_in() {
        let lock = include_str!("../../../../Cargo.lock");
        let (_, after) = lock.split_once("name = \"opentelemetry-otlp\"\nversion = \"").unwrap_or_default();
        let (version, _) = after.split_once('"').unwrap_or_default();
        assert!(
            !version.is_empty() && USER_AGENT.ends_with(&format!("/{version}")),
            "{USER_AGENT}, built with {version}"
        );
    }
}
