//! OTLP/gRPC.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::{Code, Request, Response, Status, codec::CompressionEncoding, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

type Answer = Result<ExportTraceServiceResponse, Status>;

/// Answers with these in turn, then accepts.
#[derive(Debug, Default)]
struct Collector {
    script: Mutex<VecDeque<Answer>>,
    received: Mutex<Vec<(MetadataMap, ExportTraceServiceRequest)>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.received.lock().unwrap().push((metadata, message));
        let answer = self.script.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| Ok(ExportTraceServiceResponse::default())).map(Response::new)
    }
}

async fn free_address() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn serve(address: SocketAddr, script: Vec<Answer>) -> Arc<Collector> {
    let collector = Arc::new(Collector { script: Mutex::new(script.into()), ..Collector::default() });
    let service = TraceServiceServer::from_arc(Arc::clone(&collector)).accept_compressed(CompressionEncoding::Gzip);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve(address));
    collector
}

async fn start(script: Vec<Answer>, adapt: impl FnOnce(&mut TracesConfig)) -> (Exporter, Arc<Collector>) {
    let address = free_address().await;
    let collector = serve(address, script);
    let mut config = config(Protocol::Grpc, address.port());
    adapt(&mut config);
    (Exporter::start(&config).unwrap(), collector)
}

fn received_spans(collector: &Collector) -> Vec<usize> {
    let count = |request: &ExportTraceServiceRequest| {
        request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
    };
    collector.received.lock().unwrap().iter().map(|(_, request)| count(request)).collect()
}

#[tokio::test]
async fn spans_arrive_with_headers_plain_and_compressed() {
    for gzip in [false, true] {
        let (exporter, collector) = start(vec![], |config| config.collector.gzip = gzip).await;
        exporter.send(spans(3));
        assert_eq!(exporter.shutdown(5 * SECOND).await, ExportReport { exported: 3, ..ExportReport::default() });
        assert_eq!(received_spans(&collector), [3]);
        let received = collector.received.lock().unwrap();
        let metadata = &received[0].0;
        assert_eq!(metadata.get("x-team").unwrap(), "shop");
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer t");
        assert!(metadata.get("user-agent").unwrap().to_str().unwrap().starts_with("syspan/"));
        assert_eq!(metadata.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip"), gzip);
    }
}

#[tokio::test]
async fn retryable_codes_are_retried_and_retry_info_is_kept() {
    let throttled =
        Status::with_error_details(Code::ResourceExhausted, "slow down", ErrorDetails::with_retry_info(Some(SECOND)));
    let (exporter, collector) = start(vec![Err(Status::unavailable("starting")), Err(throttled)], |_| {}).await;
    let began = Instant::now();
    exporter.send(spans(2));
    until(|| exporter.report().exported == 2).await;
    assert!(began.elapsed() >= SECOND);
    assert_eq!(received_spans(&collector), [2, 2, 2]);
}

#[tokio::test]
async fn other_codes_are_final() {
    for code in [Code::InvalidArgument, Code::Unauthenticated, Code::ResourceExhausted, Code::Unimplemented] {
        let (exporter, collector) = start(vec![Err(Status::new(code, "no"))], |_| {}).await;
        exporter.send(spans(2));
        until(|| exporter.report().failed == 2).await;
        assert_eq!(received_spans(&collector), [2], "{code:?}");
    }
}

#[tokio::test]
async fn partial_success_is_counted_and_never_sent_again() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "bad".to_owned() };
    let (exporter, collector) =
        start(vec![Ok(ExportTraceServiceResponse { partial_success: Some(partial) })], |_| {}).await;
    exporter.send(spans(2));
    let report = exporter.shutdown(5 * SECOND).await;
    assert_eq!(report, ExportReport { exported: 1, rejected: 1, ..ExportReport::default() });
    assert_eq!(received_spans(&collector), [2]);
}

#[tokio::test]
async fn a_collector_that_comes_later_gets_everything() {
    let address = free_address().await;
    let exporter = Exporter::start(&config(Protocol::Grpc, address.port())).unwrap();
    exporter.send(spans(5));
    tokio::time::sleep(SECOND).await;
    assert_eq!(exporter.report(), ExportReport::default());
    let collector = serve(address, vec![]);
    until(|| exporter.report().exported == 5).await;
    assert_eq!(received_spans(&collector), [5]);
}
