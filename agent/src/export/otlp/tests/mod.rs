//! The exporter against scripted collectors, over real sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

mod grpc;
mod http;
mod metrics;
mod tls;

use std::time::{Duration, Instant};

use super::*;
use crate::export::samples;

const SECOND: Duration = Duration::from_secs(1);

fn config(protocol: Protocol, port: u16) -> TracesConfig {
    let url = format!("http://127.0.0.1:{port}");
    let variables = |name: &str| match name {
        "OTEL_BSP_SCHEDULE_DELAY" => Some("10".to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-team=shop,authorization=Bearer%20t".to_owned()),
        _ => None,
    };
    OtlpConfig::read(Some(&url), Some(protocol), variables).unwrap().0.traces.unwrap()
}

fn spans(count: u64) -> Vec<Span> {
    let process = samples::process("shop", 1);
    (1..=count).map(|id| samples::span(&process, id, None)).collect()
}

/// Waits for a condition that another task brings about.
async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < 10 * SECOND, "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_missing_certificate_is_said_at_the_start() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let mut config = config(protocol, 1);
        config.collector.endpoint = "https://localhost:1".parse().unwrap();
        config.collector.certificate = Some("/nonexistent/ca.pem".into());
        let error = Exporter::start(&config).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nonexistent/ca.pem"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no PEM").unwrap();
        config.collector.certificate = Some(file.path().to_owned());
        assert!(matches!(Exporter::start(&config), Err(ExportError::Certificate { .. })));
    }
}
