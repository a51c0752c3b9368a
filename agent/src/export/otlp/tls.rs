//! Certificates of both transports.
//!
//! The collector is trusted by the authorities of `OTEL_EXPORTER_OTLP_CERTIFICATE`, or else by the system's; it is
//! shown the client's certificate if there is one.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::{ExportError, config::Collector};

/// For tonic, which reads PEM itself.
pub(super) fn for_grpc(config: &Collector) -> Result<ClientTlsConfig, ExportError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &config.certificate {
        Some(path) => {
            // tonic passes over what is no certificate; a file without any is a mistake that is said here.
            certificates(path)?;
            tls.ca_certificate(Certificate::from_pem(read(path)?))
        }
        None => tls.with_native_roots(),
    };
    if let Some((certificate, key)) = &config.client_identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// For reqwest. Plain HTTP gets a configuration too (the client wants one), without asking for the system's
/// certificates.
pub(super) fn for_http(config: &Collector) -> Result<ClientConfig, ExportError> {
    let mut roots = RootCertStore::empty();
    match &config.certificate {
        _ if config.endpoint.scheme() != "https" => {}
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| invalid(path, &error))?;
            }
        }
        None => {
            // Some of a system's certificates may be broken; the others serve.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ExportError::Client(error.to_string()))?
        .with_root_certificates(roots);
    match &config.client_identity {
        Some((certificate, key_path)) if config.endpoint.scheme() == "https" => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_path)?).map_err(|error| invalid(key_path, &error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(|error| invalid(certificate, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ExportError> {
    let pem = read(path)?;
    let certificates =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| invalid(path, &error))?;
    if certificates.is_empty() {
        return Err(invalid(path, &"no certificate in it"));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    fs::read(path).map_err(|source| ExportError::Read { path: path.to_owned(), source })
}

fn invalid(path: &Path, reason: &dyn std::fmt::Display) -> ExportError {
    ExportError::Certificate { path: path.to_owned(), reason: reason.to_string() }
}
