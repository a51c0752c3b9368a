//! Metrics against scripted collectors.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, metric, number_data_point},
};
use prost::Message as _;
use tokio::net::TcpListener;

use super::{
    http::{Requests, answer, collector},
    *,
};
use crate::{accounts::Accounts, export::metrics::Snapshot, streams::Loss};

async fn start(script: Vec<Vec<u8>>, interval: Duration) -> (MetricsExporter, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = OtlpConfig::read(Some(&url), Some(Protocol::HttpProtobuf), |_| None).unwrap().0;
    let config = MetricsConfig { interval, ..config.metrics.unwrap() };
    let requests = collector(listener, script).await;
    (MetricsExporter::start(&config, samples::process("syspan", 1)).unwrap(), requests)
}

fn lost(n: u64) -> Snapshot {
    let mut accounts = Accounts::default();
    accounts.losses.add(Loss::RingFull, n);
    Snapshot { accounts, spans: None }
}

/// The sum of all causes' losses of each request so far.
fn told(requests: &Requests) -> Vec<i64> {
    let losses = |metric: &Metric| match &metric.data {
        Some(metric::Data::Sum(sum)) if metric.name == "syspan.losses" => sum
            .data_points
            .iter()
            .map(|point| match point.value {
                Some(number_data_point::Value::AsInt(value)) => value,
                _ => 0,
            })
            .sum(),
        _ => 0,
    };
    let decode = |body: &[u8]| ExportMetricsServiceRequest::decode(body).unwrap();
    let of_request = |request: &ExportMetricsServiceRequest| {
        request.resource_metrics[0].scope_metrics[0].metrics.iter().map(losses).sum()
    };
    requests.lock().unwrap().iter().map(|request| of_request(&decode(&request.body))).collect()
}

#[tokio::test]
async fn the_latest_is_told_at_each_interval_and_at_the_end() {
    let (exporter, requests) = start(vec![], Duration::from_millis(20)).await;
    exporter.tell(lost(3));
    until(|| told(&requests).contains(&3)).await;
    exporter.tell(lost(5));
    until(|| told(&requests).contains(&5)).await;
    exporter.tell(lost(7));
    exporter.shutdown(5 * SECOND).await;
    let told = told(&requests);
    assert!(told.is_sorted() && told.last() == Some(&7), "{told:?}");
    assert!(requests.lock().unwrap()[0].head.starts_with("post /v1/metrics http/1.1\r\n"));
}

#[tokio::test]
async fn a_collector_for_traces_only_is_asked_once() {
    for status in ["404 Not Found", "501 Not Implemented", "401 Unauthorized"] {
        let (exporter, requests) = start(vec![answer(status, "", b"")], Duration::from_millis(5)).await;
        exporter.tell(lost(1));
        until(|| exporter.task.is_finished()).await;
        exporter.shutdown(5 * SECOND).await;
        assert_eq!(requests.lock().unwrap().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_failed_export_is_made_good_by_the_next() {
    let unavailable = answer("503 Service Unavailable", "", b"");
    let (exporter, requests) = start(vec![unavailable, vec![]], Duration::from_millis(20)).await;
    exporter.tell(lost(4));
    until(|| requests.lock().unwrap().len() >= 4).await;
    exporter.shutdown(5 * SECOND).await;
    assert_eq!(told(&requests).last(), Some(&4));
}

#[tokio::test]
async fn the_end_is_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap(); // accepts, and never answers
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = OtlpConfig::read(Some(&url), None, |_| None).unwrap().0.metrics.unwrap();
    let exporter = MetricsExporter::start(&config, samples::process("syspan", 1)).unwrap();
    let began = Instant::now();
    exporter.shutdown(SECOND / 2).await;
    assert!(began.elapsed() < 5 * SECOND);
}
