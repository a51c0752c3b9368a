//! OTLP/HTTP.

use std::{
    collections::VecDeque,
    io::Read as _,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    at: Instant,
    connection: usize,
}

impl Received {
    fn spans(&self) -> usize {
        let mut body = self.body.clone();
        if self.head.contains("content-encoding: gzip") {
            body.clear();
            flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut body).unwrap();
        }
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
    }
}

pub(super) type Requests = Arc<Mutex<Vec<Received>>>;

/// Answers requests with these responses in turn, then with 200; an empty response closes the connection.
pub(super) async fn collector(listener: TcpListener, script: Vec<Vec<u8>>) -> Requests {
    let requests = Requests::default();
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let received = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            tokio::spawn(serve(stream, connections, Arc::clone(&script), Arc::clone(&received)));
        }
    });
    requests
}

async fn serve(mut stream: TcpStream, connection: usize, script: Arc<Mutex<VecDeque<Vec<u8>>>>, requests: Requests) {
    let mut bytes = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
        let length =
            head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        while bytes.len() < head_end + length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = bytes[head_end..head_end + length].to_vec();
        bytes.drain(..head_end + length);
        requests.lock().unwrap().push(Received { head, body, at: Instant::now(), connection });
        let response = script.lock().unwrap().pop_front().unwrap_or_else(|| answer("200 OK", "", b""));
        if response.is_empty() {
            return;
        }
        stream.write_all(&response).await.unwrap();
    }
}

pub(super) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

async fn start(script: Vec<Vec<u8>>, adapt: impl FnOnce(&mut TracesConfig)) -> (Exporter, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(Protocol::HttpProtobuf, listener.local_addr().unwrap().port());
    adapt(&mut config);
    let requests = collector(listener, script).await;
    (Exporter::start(&config).unwrap(), requests)
}

#[tokio::test]
async fn spans_arrive_with_headers_in_one_connection() {
    let (exporter, requests) = start(vec![], |_| {}).await;
    exporter.send(spans(3));
    until(|| exporter.report().exported == 3).await;
    exporter.send(spans(2));
    let report = exporter.shutdown(5 * SECOND).await;
    assert_eq!(report, ExportReport { exported: 5, ..ExportReport::default() });
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    let head = &requests[0].head;
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    for line in
        ["content-type: application/x-protobuf", "x-team: shop", "authorization: bearer t", "user-agent: syspan/"]
    {
        assert!(head.contains(&format!("\r\n{line}")), "{line} in {head}");
    }
    assert!(head.contains(" otel-otlp-exporter-rust/") && !head.contains("content-encoding"));
    assert_eq!((requests[0].spans(), requests[1].spans()), (3, 2));
    assert_eq!(requests[1].connection, 1);
}

#[tokio::test]
async fn gzip_is_applied_and_said() {
    let (exporter, requests) = start(vec![], |config| config.collector.gzip = true).await;
    exporter.send(spans(100));
    assert_eq!(exporter.shutdown(5 * SECOND).await.exported, 100);
    let requests = requests.lock().unwrap();
    assert!(requests[0].head.contains("\r\ncontent-encoding: gzip"));
    assert_eq!(requests[0].spans(), 100);
}

#[tokio::test]
async fn unavailable_and_throttled_requests_are_sent_again() {
    let script = vec![
        answer("503 Service Unavailable", "", b""),
        answer("429 Too Many Requests", "retry-after: 1\r\n", b""),
        vec![],
    ];
    let (exporter, requests) = start(script, |_| {}).await;
    exporter.send(spans(4));
    until(|| exporter.report().exported == 4).await;
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 4, "503, 429, connection closed, 200");
    assert!(requests[2].at - requests[1].at >= SECOND, "Retry-After was kept");
    assert!(requests.iter().all(|request| request.spans() == 4));
}

#[tokio::test]
async fn a_refusal_is_final() {
    for status in ["400 Bad Request", "404 Not Found", "500 Internal Server Error", "302 Found"] {
        let (exporter, requests) = start(vec![answer(status, "location: /x\r\n", b"no")], |_| {}).await;
        exporter.send(spans(2));
        until(|| exporter.report().failed == 2).await;
        exporter.send(spans(1));
        let report = exporter.shutdown(5 * SECOND).await;
        assert_eq!((report.failed, report.exported), (2, 1), "{status}");
        assert_eq!(requests.lock().unwrap().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn partial_success_is_counted_and_never_sent_again() {
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (exporter, requests) = start(vec![answer("200 OK", "", &body)], |_| {}).await;
    exporter.send(spans(5));
    let report = exporter.shutdown(5 * SECOND).await;
    assert_eq!(report, ExportReport { exported: 2, rejected: 3, ..ExportReport::default() });
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_outage_costs_nothing_within_the_queue() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut config = config(Protocol::HttpProtobuf, address.port());
    (config.queue_spans, config.batch_spans) = (10, 4);
    let exporter = Exporter::start(&config).unwrap();
    exporter.send(spans(4));
    // The first batch is taken to be sent; ten more fit behind it.
    until(|| exporter.shared.queue.len() == 0).await;
    exporter.send(spans(12));
    tokio::time::sleep(SECOND).await;
    assert_eq!(exporter.report(), ExportReport { queue_full: 2, ..ExportReport::default() });
    let requests = collector(TcpListener::bind(address).await.unwrap(), vec![]).await;
    until(|| exporter.report().exported == 14).await;
    assert_eq!(requests.lock().unwrap().iter().map(Received::spans).collect::<Vec<_>>(), [4, 4, 4, 2]);
}

#[tokio::test]
async fn shutdown_is_bounded_and_counts_what_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(Protocol::HttpProtobuf, listener.local_addr().unwrap().port());
    config.batch_spans = 2;
    drop(listener);
    let exporter = Exporter::start(&config).unwrap();
    exporter.send(spans(7));
    let began = Instant::now();
    let report = exporter.shutdown(SECOND / 2).await;
    assert!(began.elapsed() < 2 * SECOND);
    assert_eq!(report, ExportReport { failed: 7, unsent: 5, ..ExportReport::default() });
}

#[tokio::test]
async fn a_silent_collector_is_given_up_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(Protocol::HttpProtobuf, listener.local_addr().unwrap().port());
    config.collector.timeout = Duration::from_millis(50);
    let error = probe(&config.collector).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 50 ms");
    config.collector.timeout = SECOND;
    let _requests = collector(listener, vec![]).await;
    probe(&config.collector).await.unwrap();
}
