//! OTLP over HTTP with protobuf bodies.

use std::{
    io::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::{Response, Url, redirect};

use super::{
    ExportError,
    config::Collector,
    tls,
    transport::{MAX_RESPONSE, Outcome, USER_AGENT, chain},
};

/// How much of a refusal's body is shown: enough for the collector's sentence.
const MAX_REASON: usize = 200;

/// Connections to the collector, kept alive between requests.
#[derive(Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    endpoint: Url,
    headers: HeaderMap,
    gzip: bool,
}

impl Client {
    pub(super) fn new(config: &Collector) -> Result<Self, ExportError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::for_http(config)?)
            .user_agent(USER_AGENT)
            .connect_timeout(config.timeout)
            // A redirected POST may arrive as a GET without spans: an endpoint that has moved is for the user to
            // correct.
            .redirect(redirect::Policy::none());
        if is_loopback(&config.endpoint) {
            // HTTP_PROXY leads out of the host, and what is meant for this host would not come back.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| ExportError::Client(chain(&error)))?;

        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if config.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in &config.headers {
            // The user's may say anything but what the body is.
            if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_ENCODING | header::CONTENT_LENGTH) {
                headers.insert(name, value.clone());
            }
        }
        Ok(Self { client, endpoint: config.endpoint.clone(), headers, gzip: config.gzip })
    }

    pub(super) fn prepare(&self, request: Vec<u8>) -> Bytes {
        if !self.gzip {
            return Bytes::from(request);
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(request.len() / 4), Compression::fast());
        // Writing to memory does not fail.
        let _ = encoder.write_all(&request);
        Bytes::from(encoder.finish().unwrap_or_default())
    }

    pub(super) async fn send(&self, body: Bytes) -> Outcome {
        let request = self.client.post(self.endpoint.clone()).headers(self.headers.clone()).body(body);
        match request.send().await {
            Ok(response) => answered(response).await,
            // The connection could not be made or broke; the URL is left out, it can hold a password.
            Err(error) if !error.is_builder() => Outcome::Retry { after: None, reason: chain(&error.without_url()) },
            Err(error) => Outcome::Refused(chain(&error.without_url())),
        }
    }
}

/// OTLP/HTTP, "Failures" and "Throttling": four status codes are worth another try, no other is.
async fn answered(response: Response) -> Outcome {
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
    let body = read(response).await;
    match status {
        _ if status.is_success() => {
            // Accepted, whatever the body is: what cannot be read cannot say that spans were rejected.
            let answer = body.and_then(|body| ExportTraceServiceResponse::decode(body.as_slice()).ok());
            Outcome::accepted(answer.unwrap_or_default())
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Retry { after, reason: format!("HTTP {status}") },
        _ => {
            let reason = match body.map(|body| reason(&body)) {
                Some(reason) if !reason.is_empty() => format!("HTTP {status}: {reason}"),
                _ => format!("HTTP {status}"),
            };
            match status {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                    Outcome::Unimplemented(reason)
                }
                _ => Outcome::Refused(reason),
            }
        }
    }
}

/// The body, unless it is too long or the connection breaks in it.
async fn read(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// What a refusal's body says: a `google.rpc.Status` in protobuf by the specification (its field 2 is the message), but
/// often text.
fn reason(body: &[u8]) -> String {
    #[derive(Clone, PartialEq, prost::Message)]
    struct RpcStatus {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let text = match RpcStatus::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    text.trim().chars().take(MAX_REASON).collect()
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        let parse = |text: &'static str| retry_after(&HeaderValue::from_static(text), now);
        assert_eq!(parse(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(parse("Wed, 21 Oct 2026 07:28:07 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Wed, 21 Oct 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn refusals_are_read_as_status_or_text() {
        assert_eq!(reason(b"\x08\x03\x12\x08bad span"), "bad span");
        assert_eq!(reason(b"404 page not found\n"), "404 page not found");
    }

    #[test]
    fn loopback_needs_no_proxy() {
        for (url, loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.2", true),
            ("http://[::1]:4318/x", true),
            ("http://collector:4318", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }
}
