//! OTLP over gRPC.

use std::error::Error as _;

use bytes::{BufMut as _, Bytes};
use http::{HeaderMap, uri::PathAndQuery};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{
    ExportError,
    config::Collector,
    tls,
    transport::{MAX_RESPONSE, Outcome, USER_AGENT, chain},
};

/// One connection to the collector, opened when it is first needed and again after it was lost.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    channel: Channel,
    metadata: MetadataMap,
    gzip: bool,
    method: &'static str,
}

impl Client {
    pub(super) fn new(config: &Collector) -> Result<Self, ExportError> {
        let unusable = |error: tonic::transport::Error| ExportError::Client(chain(&error));
        let mut endpoint = Endpoint::from_shared(config.endpoint.to_string())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(unusable)?
            .connect_timeout(config.timeout);
        if config.endpoint.scheme() == "https" {
            endpoint = endpoint.tls_config(tls::for_grpc(config)?).map_err(unusable)?;
        }
        let channel = endpoint.connect_lazy();
        let headers: HeaderMap = config.headers.iter().cloned().collect();
        let metadata = MetadataMap::from_headers(headers);
        Ok(Self { endpoint, channel, metadata, gzip: config.gzip, method: config.signal.method() })
    }

    /// Forgets the connection: a peer that vanished without a word would otherwise be asked until the kernel gives up,
    /// minutes later.
    pub(super) fn reconnect(&mut self) {
        self.channel = self.endpoint.connect_lazy();
    }

    pub(super) async fn send(&mut self, message: Bytes) -> Outcome {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE);
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        }
        if let Err(error) = client.ready().await {
            return Outcome::Retry { after: None, reason: chain(&error) };
        }
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        match client.unary(request, PathAndQuery::from_static(self.method), Encoded).await {
            Ok(response) => Outcome::accepted(response.into_inner()),
            Err(status) => failed(&status),
        }
    }
}

/// OTLP/gRPC, "Failures": the codes that are worth another try, and the one that is if the server says when.
fn failed(status: &Status) -> Outcome {
    let after = status.get_details_retry_info().map(|info| info.retry_delay.unwrap_or_default());
    let unimplemented = status.code() == Code::Unimplemented;
    let retry = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted if after.is_some() => true,
        // A status with a source was made on this side, because the connection broke; a server's has none.
        _ => status.source().is_some(),
    };
    let mut reason = format!("{:?}", status.code());
    for part in [status.message().to_owned(), status.source().map(chain).unwrap_or_default()] {
        if !part.is_empty() && !reason.contains(&part) {
            reason.push_str(": ");
            reason.push_str(&part);
        }
    }
    match retry {
        true => Outcome::Retry { after, reason },
        false if unimplemented => Outcome::Unimplemented(reason),
        false => Outcome::Refused(reason),
    }
}

/// Takes a request that is encoded already, so that another try costs nothing, and decodes the response.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // The server took the request, else there were no message: one that cannot be read says nothing against that.
        Ok(Some(ExportTraceServiceResponse::decode(input).unwrap_or_default()))
    }
}
