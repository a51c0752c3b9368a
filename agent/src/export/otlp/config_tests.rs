#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn read(
    otlp: Option<&str>,
    protocol: Option<Protocol>,
    variables: &[(&str, &str)],
) -> (Option<TracesConfig>, Vec<String>) {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (config, warnings) = OtlpConfig::read(otlp, protocol, find).unwrap();
    (config.traces, warnings)
}

fn config(variables: &[(&str, &str)]) -> TracesConfig {
    let (config, warnings) = read(None, None, variables);
    assert_eq!(warnings, Vec::<String>::new());
    config.unwrap()
}

#[test]
fn nothing_asks_for_otlp() {
    assert_eq!(read(None, None, &[]), (None, vec![]));
    assert_eq!(read(None, Some(Protocol::Grpc), &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), (None, vec![]));
    assert_eq!(read(None, None, &[("OTEL_TRACES_EXPORTER", "console")]), (None, vec![]));
}

#[test]
fn the_defaults_of_the_specification() {
    let config = config(&[("OTEL_TRACES_EXPORTER", "otlp")]);
    assert_eq!(config.collector.protocol, Protocol::HttpProtobuf);
    assert_eq!(config.collector.endpoint.as_str(), "http://localhost:4318/v1/traces");
    assert_eq!(config.collector.timeout, Duration::from_secs(10));
    assert!(!config.collector.gzip && config.collector.headers.is_empty() && config.collector.certificate.is_none());
    let grpc = self::config(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert_eq!((grpc.collector.protocol, grpc.collector.endpoint.as_str()), (Protocol::Grpc, "http://localhost:4317/"));
}

#[test]
fn path_rules() {
    let cases = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318", "http://c:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/", "http://c:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp", "https://c/otlp/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp/", "https://c/otlp/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318", "http://c:4318/"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/in", "http://c:4318/in"),
    ];
    for (name, value, url) in cases {
        assert_eq!(config(&[(name, value)]).collector.endpoint.as_str(), url, "{name}={value}");
    }
    let both = [cases[0], cases[5]].map(|(name, value, _)| (name, value));
    assert_eq!(config(&both).collector.endpoint.as_str(), "http://c:4318/in");
}

#[test]
fn a_grpc_endpoint_without_scheme_is_secure_unless_told() {
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let host = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
    assert_eq!(config(&[grpc, host]).collector.endpoint.as_str(), "https://c:4317/");
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "TRUE");
    assert_eq!(config(&[grpc, host, insecure]).collector.endpoint.as_str(), "http://c:4317/");
    let secure = ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false");
    assert_eq!(config(&[grpc, host, insecure, secure]).collector.endpoint.as_str(), "https://c:4317/");
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317");
    assert_eq!(config(&[grpc, https, insecure]).collector.endpoint.as_str(), "https://c:4317/");
}

#[test]
fn the_command_line_beats_the_variables() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "k=v"),
    ];
    let (given, _) = read(Some("http://c:9"), Some(Protocol::HttpProtobuf), &variables);
    let given = given.unwrap();
    assert_eq!(
        (given.collector.protocol, given.collector.endpoint.as_str()),
        (Protocol::HttpProtobuf, "http://c:9/v1/traces")
    );
    assert_eq!(given.collector.headers.len(), 1);
    let url =
        |otlp| read(Some(otlp), None, &[]).0.map(|c| (c.collector.protocol, c.collector.endpoint.to_string())).unwrap();
    assert_eq!(url("http://c:4317"), (Protocol::Grpc, "http://c:4317/".to_owned()));
    assert_eq!(url("http://c:4318/v1/traces"), (Protocol::HttpProtobuf, "http://c:4318/v1/traces".to_owned()));
    for bad in ["c:4317", "ftp://c", "", "http://"] {
        assert_eq!(OtlpConfig::read(Some(bad), None, |_| None), Err(ConfigError::Endpoint(bad.to_owned())));
    }
}

#[test]
fn switched_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
    assert_eq!(read(None, None, &[endpoint, ("OTEL_SDK_DISABLED", "True")]), (None, vec![]));
    assert_eq!(read(None, None, &[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), (None, vec![]));
    let (config, warnings) =
        OtlpConfig::read(Some("http://c"), None, |name| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned()))
            .unwrap();
    assert_eq!((config, warnings.len()), (OtlpConfig::default(), 1));
}

#[test]
fn headers_are_decoded_and_never_shown() {
    let name = "OTEL_EXPORTER_OTLP_HEADERS";
    let found = config(&[(name, "Authorization=Basic%20abc%3D, x-team = a;b ,")]).collector.headers;
    let text: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(text, [("authorization", "Basic abc="), ("x-team", "a;b")]);
    let (config, warnings) = read(None, None, &[(name, "good=1,s3cret,bad name=s3cret,nl=s3cret%0a")]);
    let config = config.unwrap();
    assert_eq!(config.collector.headers.len(), 1);
    assert_eq!(warnings.len(), 3);
    assert!(!format!("{warnings:?}{config:?}").contains("s3cret"));
    let own = [(name, "a=1"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2")];
    assert_eq!(self::config(&own).collector.headers[0].0, "b");
}

#[test]
fn the_other_settings() {
    let config = config(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/c.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ]);
    assert_eq!(config.collector.timeout, Duration::from_millis(250));
    assert!(config.collector.gzip);
    assert_eq!(config.collector.certificate, Some("/ca.pem".into()));
    assert_eq!(config.collector.client_identity, Some(("/c.pem".into(), "/k.pem".into())));
    assert_eq!((config.queue_spans, config.batch_spans), (10, 5));
    assert_eq!(config.schedule_delay, Duration::from_millis(20));
}

#[test]
fn what_cannot_be_used_is_warned_about_and_ignored() {
    let (config, warnings) = read(
        None,
        None,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "7000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "yes"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.collector.endpoint.as_str(), "http://localhost:4318/v1/traces");
    assert_eq!(config.collector.timeout, Duration::from_secs(7));
    assert_eq!((config.collector.gzip, config.queue_spans), (false, DEFAULT_QUEUE_SPANS));
    assert_eq!(config.collector.client_identity, None);
    assert_eq!(warnings.len(), 7, "{warnings:#?}");
    assert_eq!(warnings[0], "OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\" is ignored: expected grpc or http/protobuf");
    let (_, unknown) = read(None, None, &[("OTEL_TRACES_EXPORTER", "otlp,zipkin")]);
    assert_eq!(unknown.len(), 1);
    let (_, unsupported) = read(None, None, &[("OTEL_CONFIG_FILE", "otel.yaml")]);
    assert_eq!(unsupported.len(), 1);
}

/// Where metrics go: protocol and URL.
fn metrics(otlp: Option<&str>, variables: &[(&str, &str)]) -> Option<(Protocol, String)> {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (config, warnings) = OtlpConfig::read(otlp, None, find).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    config.metrics.map(|metrics| (metrics.collector.protocol, metrics.collector.endpoint.to_string()))
}

#[test]
fn metrics_go_where_spans_go() {
    let http = |url: &str| Some((Protocol::HttpProtobuf, url.to_owned()));
    let grpc = |url: &str| Some((Protocol::Grpc, url.to_owned()));
    assert_eq!(metrics(Some("http://c:4318"), &[]), http("http://c:4318/v1/metrics"));
    assert_eq!(metrics(Some("http://c:4318/in/v1/traces"), &[]), http("http://c:4318/in/v1/metrics"));
    assert_eq!(metrics(Some("http://c:4317"), &[]), grpc("http://c:4317/"));
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/");
    assert_eq!(metrics(None, &[endpoint]), http("http://c:4318/base/v1/metrics"));
    let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
    assert_eq!(metrics(None, &[of_traces]), grpc("http://localhost:4317/"));
    assert_eq!(metrics(None, &[]), None);
}

#[test]
fn metrics_have_variables_of_their_own() {
    let http = |url: &str| Some((Protocol::HttpProtobuf, url.to_owned()));
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces/v1/traces");
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:9/m");
    let (on, off) = (("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_METRICS_EXPORTER", "none"));
    assert_eq!(metrics(None, &[traces]), None, "this endpoint is for traces only");
    assert_eq!(metrics(None, &[traces, own]), http("http://metrics:9/m"));
    assert_eq!(metrics(Some("http://c:4318"), &[own]), http("http://metrics:9/m"));
    assert_eq!(metrics(None, &[traces, on]), http("http://localhost:4318/v1/metrics"));
    assert_eq!(metrics(Some("http://c:4318"), &[off]), None);
    let grpc = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc");
    let own_grpc = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:4317");
    assert_eq!(
        metrics(Some("http://c:4318"), &[own_grpc, grpc]),
        Some((Protocol::Grpc, "http://metrics:4317/".into()))
    );
    let only_metrics = [("OTEL_TRACES_EXPORTER", "none"), on];
    assert_eq!(config_of(&only_metrics).0.traces, None);
    assert_eq!(metrics(None, &only_metrics), http("http://localhost:4318/v1/metrics"));
}

fn config_of(variables: &[(&str, &str)]) -> (OtlpConfig, Vec<String>) {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    OtlpConfig::read(None, None, find).unwrap()
}

#[test]
fn the_other_settings_of_metrics() {
    let (config, warnings) = config_of(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "b=2"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "70"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
    ]);
    let metrics = config.metrics.unwrap();
    assert!(metrics.asked_for);
    assert_eq!(metrics.interval, Duration::from_millis(1500));
    assert_eq!(metrics.collector.timeout, Duration::from_millis(70));
    assert_eq!(metrics.collector.headers[0].0, "b");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("expected cumulative"), "{warnings:?}");
    let (config, _) = config_of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c")]);
    let metrics = config.metrics.unwrap();
    assert_eq!((metrics.asked_for, metrics.interval), (false, Duration::from_secs(60)));
}
