//! Where and how to export traces and metrics: the OpenTelemetry environment variables and the command line, which
//! beats them.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue};
use opentelemetry_otlp as names;
use reqwest::Url;

use super::{
    endpoint::{endpoint, server_url, with_path},
    environment::{Environment, count, milliseconds, path},
};

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

/// Time between two exports of metrics, by the specification.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

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

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// What the HTTP transport appends to a base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }

    /// The method of the gRPC transport.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// A setting's own variable and the one for all signals, in this order of strength.
    pub(super) fn variables(self, setting: &str) -> [String; 2] {
        let own = match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        };
        [format!("OTEL_EXPORTER_OTLP_{own}_{setting}"), format!("OTEL_EXPORTER_OTLP_{setting}")]
    }

    /// The variable that names the exporters of a signal.
    fn exporters(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }
}

/// A collector, and how one signal gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    pub(super) signal: Signal,
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
}

impl Collector {
    /// Its host, and its port where the URL names one.
    #[must_use]
    pub fn server(&self) -> (String, Option<u16>) {
        let host = self.endpoint.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (host.to_owned(), self.endpoint.port_or_known_default())
    }
}

/// How spans are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracesConfig {
    /// Where to.
    pub collector: Collector,
    /// Most spans that wait to be sent; more are dropped and counted.
    pub queue_spans: usize,
    /// Most spans in one request.
    pub batch_spans: usize,
    /// Longest wait of a span for others to be sent with.
    pub schedule_delay: Duration,
}

/// How syspan's own metrics are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where to.
    pub collector: Collector,
    /// Time between two exports.
    pub interval: Duration,
    /// The user asked for metrics, and not only for traces: a collector that takes none is worth a warning.
    pub asked_for: bool,
}

/// What is exported by OTLP, if anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Spans.
    pub traces: Option<TracesConfig>,
    /// Metrics of syspan itself.
    pub metrics: Option<MetricsConfig>,
}

impl OtlpConfig {
    /// Reads `--otlp`, `--protocol` and the environment. The strings are warnings for the user.
    ///
    /// Nothing is exported if nothing asks for it: no `--otlp`, none of the OTLP exporter's variables is set and neither
    /// `OTEL_TRACES_EXPORTER` nor `OTEL_METRICS_EXPORTER` names `otlp`; or if `OTEL_SDK_DISABLED=true`. An
    /// `OTEL_TRACES_EXPORTER` without `otlp` switches spans off, which `--otlp` beats.
    ///
    /// `--otlp` is a base URL like `OTEL_EXPORTER_OTLP_ENDPOINT`, unless its path already ends in `/v1/traces`. Where
    /// nothing names a protocol, a `--otlp` with port 4317 means gRPC.
    ///
    /// Metrics go where spans go, unless the spans' endpoint is theirs alone (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`);
    /// `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` beats even `--otlp`, `OTEL_METRICS_EXPORTER=none` switches them off.
    ///
    /// `OTEL_BSP_EXPORT_TIMEOUT` has no effect: a batch is tried for as long as there is room behind it (see `worker`).
    ///
    /// # Errors
    /// If `--otlp` is no `http` or `https` URL.
    pub fn read(
        otlp: Option<&str>,
        protocol: Option<Protocol>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let mut environment = Environment::new(&variable);
        let config = Reader { otlp, protocol, environment: &mut environment }.read()?;
        Ok((config, environment.warnings))
    }
}

struct Reader<'a, 'e> {
    otlp: Option<&'a str>,
    protocol: Option<Protocol>,
    environment: &'a mut Environment<'e>,
}

impl Reader<'_, '_> {
    fn read(&mut self) -> Result<OtlpConfig, ConfigError> {
        if self.environment.get("OTEL_CONFIG_FILE").is_some() {
            self.environment.warn("OTEL_CONFIG_FILE is not supported: the other OTEL_* variables apply".to_owned());
        }
        if self.environment.enabled("OTEL_SDK_DISABLED") {
            if self.otlp.is_some() {
                self.environment.warn("OTEL_SDK_DISABLED=true: nothing is exported to --otlp".to_owned());
            }
            return Ok(OtlpConfig::default());
        }
        let traces = self.traces()?;
        let metrics = self.metrics(traces.as_ref())?;
        Ok(OtlpConfig { traces, metrics })
    }

    fn traces(&mut self) -> Result<Option<TracesConfig>, ConfigError> {
        let named = self.names_otlp(Signal::Traces);
        if self.otlp.is_none() && !named.unwrap_or_else(|| self.has_settings(Signal::Traces)) {
            return Ok(None);
        }
        let Some(collector) = self.collector(Signal::Traces, self.otlp, None)? else { return Ok(None) };
        let environment = &mut *self.environment;
        Ok(Some(TracesConfig {
            collector,
            queue_spans: environment
                .value("OTEL_BSP_MAX_QUEUE_SIZE", count, "a number above 0")
                .unwrap_or(DEFAULT_QUEUE_SPANS),
            batch_spans: environment
                .value("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", count, "a number above 0")
                .unwrap_or(DEFAULT_BATCH_SPANS),
            schedule_delay: environment
                .value("OTEL_BSP_SCHEDULE_DELAY", milliseconds, "milliseconds above 0")
                .unwrap_or(DEFAULT_SCHEDULE_DELAY),
        }))
    }

    fn metrics(&mut self, traces: Option<&TracesConfig>) -> Result<Option<MetricsConfig>, ConfigError> {
        let [own, _] = Signal::Metrics.variables("ENDPOINT");
        let [of_traces, _] = Signal::Traces.variables("ENDPOINT");
        let own_endpoint = self.environment.get(&own).is_some();
        let asked_for = match self.names_otlp(Signal::Metrics) {
            Some(false) => return Ok(None),
            Some(true) => true,
            None => own_endpoint,
        };
        // Where the one endpoint that was given is the traces' own, nobody has said where metrics would go.
        let with_traces = traces.filter(|_| self.otlp.is_some() || self.environment.get(&of_traces).is_none());
        if !asked_for && with_traces.is_none() {
            return Ok(None);
        }
        let protocol = with_traces.map(|traces| traces.collector.protocol);
        let otlp = self.otlp.filter(|_| !own_endpoint);
        let said = self.environment.warnings.len();
        let Some(collector) = self.collector(Signal::Metrics, otlp, protocol)? else { return Ok(None) };
        if !asked_for {
            // What is wrong with the general variables was said for the traces.
            let mut at = 0..;
            self.environment.warnings.retain(|text| at.next().is_some_and(|at| at < said) || text.contains("METRIC"));
        }
        let temporality = names::OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE;
        let cumulative = |text: &str| text.eq_ignore_ascii_case("cumulative").then_some(());
        self.environment.value(temporality, cumulative, "cumulative, the only one there is");
        let interval = self
            .environment
            .value("OTEL_METRIC_EXPORT_INTERVAL", milliseconds, "milliseconds above 0")
            .unwrap_or(DEFAULT_INTERVAL);
        Ok(Some(MetricsConfig { collector, interval, asked_for }))
    }

    /// The signal's collector; what nothing else says of the protocol, `neighbour` does.
    fn collector(
        &mut self,
        signal: Signal,
        otlp: Option<&str>,
        neighbour: Option<Protocol>,
    ) -> Result<Option<Collector>, ConfigError> {
        let environment = &mut *self.environment;
        let parse = |text: &str| text.parse().ok();
        let given = self
            .protocol
            .or_else(|| environment.signal(signal, "PROTOCOL", parse, "grpc or http/protobuf"))
            .or(neighbour);
        let (protocol, endpoint) = match otlp {
            Some(text) => {
                let url = server_url(text).ok_or_else(|| ConfigError::Endpoint(text.to_owned()))?;
                let by_port = if url.port() == Some(GRPC_PORT) { Protocol::Grpc } else { Protocol::HttpProtobuf };
                let protocol = given.unwrap_or(by_port);
                (protocol, if protocol == Protocol::Grpc { url } else { with_path(url, signal) })
            }
            None => {
                let protocol = given.unwrap_or(Protocol::HttpProtobuf);
                match endpoint(environment, signal, protocol) {
                    Some(url) => (protocol, url),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(Collector {
            signal,
            protocol,
            endpoint,
            headers: environment.headers(signal),
            timeout: environment
                .signal(signal, "TIMEOUT", milliseconds, "milliseconds above 0")
                .unwrap_or(names::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT),
            gzip: environment.signal(signal, "COMPRESSION", compression, "gzip or none").unwrap_or(false),
            certificate: environment.signal(signal, "CERTIFICATE", path, "a path"),
            client_identity: environment.client_identity(signal),
        }))
    }

    /// Whether the signal's list of exporters has `otlp`, if there is such a list.
    fn names_otlp(&mut self, signal: Signal) -> Option<bool> {
        let exporters = self.environment.get(signal.exporters())?;
        let mut otlp = false;
        for exporter in exporters.split(',').map(str::trim) {
            match exporter {
                "otlp" => otlp = true,
                "none" | "console" => {}
                other => self.environment.warn(format!(
                    "{}: {other:?} is ignored: there are otlp, console (--output text) and none",
                    signal.exporters()
                )),
            }
        }
        Some(otlp)
    }

    /// Whether any of the exporter's variables is set for a signal.
    fn has_settings(&self, signal: Signal) -> bool {
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
        SETTINGS.iter().any(|name| signal.variables(name).iter().any(|name| self.environment.get(name).is_some()))
    }
}

fn compression(text: &str) -> Option<bool> {
    match text {
        "gzip" => Some(true),
        "none" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
