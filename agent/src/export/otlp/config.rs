//! Where and how to export: the OpenTelemetry environment variables and the command line, which beats them.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>: an empty variable is an unset
//! one, and a value that cannot be used is warned about and ignored.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue};
use opentelemetry_otlp as names;
use percent_encoding::percent_decode_str;
use reqwest::Url;

/// Spans that may wait for the collector. Larger than the SDKs' 2 048, which is meant for one process: this agent sees
/// all of a host, and an outage of 20 s at 3 000 spans/s must cost nothing. [`super::queue::MAX_BYTES`] bounds the
/// memory.
const DEFAULT_QUEUE_SPANS: usize = 65_536;
/// Spans in one request. Larger than the SDKs' 512: at 20 000 spans/s a collector that answers within 100 ms keeps up
/// with one request at a time. [`super::queue::MAX_REQUEST_BYTES`] keeps requests below what gRPC servers accept.
const DEFAULT_BATCH_SPANS: usize = 2_048;
/// Longest wait of a span for others to be sent with. Shorter than the SDKs' 5 s, so that what was just traced can be
/// seen.
const DEFAULT_SCHEDULE_DELAY: Duration = Duration::from_secs(1);

/// What the HTTP transport appends to a base URL.
const TRACES_PATH: &str = "v1/traces";

/// gRPC's registered OTLP port, by which a `--otlp` without a protocol is understood.
const GRPC_PORT: u16 = 4317;

/// How OTLP is transported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    HttpProtobuf,
}

impl FromStr for Protocol {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            names::OTEL_EXPORTER_OTLP_PROTOCOL_GRPC => Ok(Self::Grpc),
            names::OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF => Ok(Self::HttpProtobuf),
            _ => Err(ConfigError::Protocol(text.to_owned())),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => names::OTEL_EXPORTER_OTLP_PROTOCOL_GRPC,
            Self::HttpProtobuf => names::OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF,
        })
    }
}

/// A command line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `--otlp`
    #[error("--otlp {0:?} is not a collector's URL: give one like http://localhost:4318")]
    Endpoint(String),
    /// `--protocol`
    #[error("{0:?} is not a protocol: use grpc or http/protobuf")]
    Protocol(String),
}

/// Everything the exporter needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// For HTTP the whole URL of requests, for gRPC the server's (its path is not used).
    pub endpoint: Url,
    /// Sent with every request. May hold secrets: never shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest time one request may take, connecting included.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM files of the client's certificate chain and private key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// Most spans that wait to be sent; more are dropped and counted.
    pub queue_spans: usize,
    /// Most spans in one request.
    pub batch_spans: usize,
    /// Longest wait of a span for others to be sent with.
    pub schedule_delay: Duration,
}

impl OtlpConfig {
    /// Reads `--otlp`, `--protocol` and the environment.
    ///
    /// `None` if nothing asks for OTLP: no `--otlp`, none of the OTLP exporter's variables is set and
    /// `OTEL_TRACES_EXPORTER` does not name `otlp`; or if it is switched off by `OTEL_SDK_DISABLED=true`, or by an
    /// `OTEL_TRACES_EXPORTER` without `otlp`, which `--otlp` beats. The strings are warnings for the user.
    ///
    /// `--otlp` is a base URL like `OTEL_EXPORTER_OTLP_ENDPOINT`, unless its path already ends in `/v1/traces`. Where
    /// nothing names a protocol, a `--otlp` with port 4317 means gRPC.
    ///
    /// `OTEL_BSP_EXPORT_TIMEOUT` has no effect: a batch is tried for as long as there is room behind it (see `worker`).
    ///
    /// # Errors
    /// If `--otlp` is no `http` or `https` URL.
    pub fn read(
        otlp: Option<&str>,
        protocol: Option<Protocol>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Option<Self>, Vec<String>), ConfigError> {
        let mut environment = Environment { variable: &variable, warnings: Vec::new() };
        let config = environment.config(otlp, protocol)?;
        Ok((config, environment.warnings))
    }
}

struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<String>,
}

impl Environment<'_> {
    fn config(&mut self, otlp: Option<&str>, protocol: Option<Protocol>) -> Result<Option<OtlpConfig>, ConfigError> {
        if self.get("OTEL_CONFIG_FILE").is_some() {
            self.warnings.push("OTEL_CONFIG_FILE is not supported: the other OTEL_* variables apply".to_owned());
        }
        if self.enabled("OTEL_SDK_DISABLED") {
            if otlp.is_some() {
                self.warnings.push("OTEL_SDK_DISABLED=true: nothing is exported to --otlp".to_owned());
            }
            return Ok(None);
        }
        if otlp.is_none() && !self.asks_for_otlp() {
            return Ok(None);
        }

        let given = protocol.or_else(|| self.signal("PROTOCOL", |text| text.parse().ok(), "grpc or http/protobuf"));
        let (protocol, endpoint) = match otlp {
            Some(text) => {
                let url = server_url(text).ok_or_else(|| ConfigError::Endpoint(text.to_owned()))?;
                let by_port = if url.port() == Some(GRPC_PORT) { Protocol::Grpc } else { Protocol::HttpProtobuf };
                let protocol = given.unwrap_or(by_port);
                let whole = url.path().trim_end_matches('/').ends_with(TRACES_PATH);
                (protocol, if protocol == Protocol::Grpc || whole { url } else { with_traces_path(url) })
            }
            None => {
                let protocol = given.unwrap_or(Protocol::HttpProtobuf);
                match self.endpoint(protocol) {
                    Some(url) => (protocol, url),
                    None => return Ok(None),
                }
            }
        };

        Ok(Some(OtlpConfig {
            protocol,
            endpoint,
            headers: self.headers(),
            timeout: self
                .signal("TIMEOUT", milliseconds, "milliseconds above 0")
                .unwrap_or(names::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT),
            gzip: self.signal("COMPRESSION", compression, "gzip or none").unwrap_or(false),
            certificate: self.signal("CERTIFICATE", path, "a path"),
            client_identity: self.client_identity(),
            queue_spans: self
                .value("OTEL_BSP_MAX_QUEUE_SIZE", count, "a number above 0")
                .unwrap_or(DEFAULT_QUEUE_SPANS),
            batch_spans: self
                .value("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", count, "a number above 0")
                .unwrap_or(DEFAULT_BATCH_SPANS),
            schedule_delay: self
                .value("OTEL_BSP_SCHEDULE_DELAY", milliseconds, "milliseconds above 0")
                .unwrap_or(DEFAULT_SCHEDULE_DELAY),
        }))
    }

    /// Whether the environment alone means that traces go to a collector.
    fn asks_for_otlp(&mut self) -> bool {
        const SETTINGS: [&str; 9] = [
            "ENDPOINT",
            "PROTOCOL",
            "HEADERS",
            "TIMEOUT",
            "COMPRESSION",
            "INSECURE",
            "CERTIFICATE",
            "CLIENT_KEY",
            "CLIENT_CERTIFICATE",
        ];
        match self.get("OTEL_TRACES_EXPORTER") {
            Some(exporters) => {
                let mut otlp = false;
                for exporter in exporters.split(',').map(str::trim) {
                    match exporter {
                        "otlp" => otlp = true,
                        "none" | "console" => {}
                        other => self.warnings.push(format!(
                            "OTEL_TRACES_EXPORTER: {other:?} is ignored: there are otlp, console (--output text) and none"
                        )),
                    }
                }
                otlp
            }
            None => SETTINGS.iter().any(|name| signal_names(name).iter().any(|name| self.get(name).is_some())),
        }
    }

    /// The endpoint by the rules of the specification: the signal's own is used as it is (`/` if it has no path), the
    /// general one is a base, and there is a default.
    fn endpoint(&mut self, protocol: Protocol) -> Option<Url> {
        const EXPECTED: &str = "a URL like http://localhost:4318";
        let insecure = match signal_names("INSECURE").iter().find(|name| self.get(name).is_some()) {
            Some(name) => self.enabled(name),
            None => false,
        };
        // Only gRPC may leave out the scheme; INSECURE decides then.
        let parse = |text: &str| match protocol {
            Protocol::Grpc if !text.contains("://") => {
                server_url(&format!("{}://{text}", if insecure { "http" } else { "https" }))
            }
            _ => server_url(text),
        };
        if let Some(url) = self.value(names::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, parse, EXPECTED) {
            return Some(url);
        }
        let base = self.value(names::OTEL_EXPORTER_OTLP_ENDPOINT, parse, EXPECTED);
        match protocol {
            Protocol::Grpc => base.or_else(|| server_url("http://localhost:4317")),
            Protocol::HttpProtobuf => base.or_else(|| server_url("http://localhost:4318")).map(with_traces_path),
        }
    }

    /// `key=value` pairs separated by commas, values percent-decoded (W3C Baggage without properties). One bad pair
    /// does not cost the others. No value is shown: they are credentials.
    fn headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let names = signal_names("HEADERS");
        let Some((variable, text)) = names.iter().find_map(|name| Some((name, self.get(name)?))) else {
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (at, pair) in text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
            match header(pair) {
                Some(header) => headers.push(header),
                None => self
                    .warnings
                    .push(format!("{variable}: pair {} is ignored: expected key=value (value not shown)", at + 1)),
            }
        }
        headers
    }

    fn client_identity(&mut self) -> Option<(PathBuf, PathBuf)> {
        let certificate = self.signal("CLIENT_CERTIFICATE", path, "a path");
        let key = self.signal("CLIENT_KEY", path, "a path");
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                self.warnings.push(
                    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY are ignored: one needs the other"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A boolean variable: only `true` is true; other words than `false` are warned about.
    fn enabled(&mut self, name: &str) -> bool {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        self.value(name, parse, "true or false").unwrap_or(false)
    }

    /// One variable's value, warned about if it cannot be used.
    fn value<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Option<T> {
        let text = self.get(name)?;
        let value = parse(&text);
        if value.is_none() {
            // A URL can hold a password.
            let shown = if text.contains('@') { "(value not shown)".to_owned() } else { format!("{text:?}") };
            self.warnings.push(format!("{name}: {shown} is ignored: expected {expected}"));
        }
        value
    }

    /// The traces' own variable, else the one for all signals.
    fn signal<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Option<T> {
        signal_names(name).iter().find_map(|name| self.value(name, &parse, expected))
    }
}

/// A setting's variable for traces and the one for all signals, in this order of strength.
fn signal_names(setting: &str) -> [String; 2] {
    [format!("OTEL_EXPORTER_OTLP_TRACES_{setting}"), format!("OTEL_EXPORTER_OTLP_{setting}")]
}

fn server_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn with_traces_path(mut url: Url) -> Url {
    let path = format!("{}/{TRACES_PATH}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (key, value) = pair.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((key.trim().parse().ok()?, value))
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|&ms| ms > 0).map(Duration::from_millis)
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&n| n > 0)
}

fn compression(text: &str) -> Option<bool> {
    match text {
        "gzip" => Some(true),
        "none" => Some(false),
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a variable's parser")]
fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
