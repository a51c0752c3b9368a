//! Certificates: the collector's against the given authority, and the client's where the collector wants one.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::Arc,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, ServerTlsConfig},
};

use super::*;

/// PEM texts of an authority and what it has signed.
struct Pem {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Pem {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
    };
    Pem { authority: authority.pem(), server: signed("localhost"), client: signed("agent") }
}

/// A configuration for `https://localhost` with the authority and the client's certificate in files.
fn secure_config(protocol: Protocol, port: u16, pem: &Pem, folder: &Path) -> Collector {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let authority = file("ca.pem", &pem.authority);
    let (certificate, key) = (file("client.pem", &pem.client.0), file("client.key", &pem.client.1));
    let url = format!("https://localhost:{port}");
    let variables = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_CERTIFICATE" => Some(authority.clone()),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" => Some(certificate.clone()),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY" => Some(key.clone()),
        _ => None,
    };
    OtlpConfig::read(Some(&url), Some(protocol), variables).unwrap().0.traces.unwrap().collector
}

/// With everything it works; without the authority or the client's certificate it does not.
async fn check(config: Collector) {
    probe(&config).await.unwrap();
    let stranger = Collector { certificate: None, ..config.clone() };
    let error = probe(&stranger).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let anonymous = Collector { client_identity: None, ..config };
    assert!(probe(&anonymous).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_with_certificates_on_both_sides() {
    let (pem, folder) = (certificates(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = secure_config(Protocol::HttpProtobuf, listener.local_addr().unwrap().port(), &pem, folder.path());
    std::thread::spawn(move || answer_with_200(&listener, &pem));
    check(config).await;
}

/// One request a connection, with the client's certificate demanded.
fn answer_with_200(listener: &TcpListener, pem: &Pem) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let der = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(&pem.authority)).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.server.1.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der(&pem.server.0)], key)
        .unwrap();
    let config = Arc::new(config);
    for stream in listener.incoming() {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream.unwrap());
        if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    }
}

struct Accept;

#[tonic::async_trait]
impl TraceService for Accept {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn grpc_with_certificates_on_both_sides() {
    let (pem, folder) = (certificates(), tempfile::tempdir().unwrap());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&pem.server.0, &pem.server.1))
        .client_ca_root(Certificate::from_pem(&pem.authority));
    let server = tonic::transport::Server::builder().tls_config(tls).unwrap();
    tokio::spawn({ server }.add_service(TraceServiceServer::new(Accept)).serve(address));
    let config = secure_config(Protocol::Grpc, address.port(), &pem, folder.path());
    until(|| std::net::TcpStream::connect(address).is_ok()).await;
    check(config).await;
}
