//! Where a signal goes: the rules for endpoints.

use reqwest::Url;

use super::{
    config::{Protocol, Signal},
    environment::Environment,
};

/// The endpoint by the rules of the specification: the signal's own is used as it is (`/` if it has no path), the
/// general one is a base, and there is a default.
pub(super) fn endpoint(environment: &mut Environment<'_>, signal: Signal, protocol: Protocol) -> Option<Url> {
    const EXPECTED: &str = "a URL like http://localhost:4318";
    let insecure = match signal.variables("INSECURE").iter().find(|name| environment.get(name).is_some()) {
        Some(name) => environment.enabled(name),
        None => false,
    };
    // Only gRPC may leave out the scheme; INSECURE decides then.
    let parse = |text: &str| match protocol {
        Protocol::Grpc if !text.contains("://") => {
            server_url(&format!("{}://{text}", if insecure { "http" } else { "https" }))
        }
        _ => server_url(text),
    };
    let [own, general] = signal.variables("ENDPOINT");
    if let Some(url) = environment.value(&own, parse, EXPECTED) {
        return Some(url);
    }
    let base = environment.value(&general, parse, EXPECTED);
    match protocol {
        Protocol::Grpc => base.or_else(|| server_url("http://localhost:4317")),
        Protocol::HttpProtobuf => {
            base.or_else(|| server_url("http://localhost:4318")).map(|base| with_path(base, signal))
        }
    }
}

/// A base URL with the signal's path; one that has a signal's path already is one of that signal or its neighbour's.
pub(super) fn with_path(mut url: Url, signal: Signal) -> Url {
    let path = url.path().trim_end_matches('/');
    if path.ends_with(signal.path()) {
        return url;
    }
    let base = path.strip_suffix(Signal::Traces.path()).unwrap_or(path).trim_end_matches('/');
    let path = format!("{base}/{}", signal.path());
    url.set_path(&path);
    url
}

/// A server's URL.
pub(super) fn server_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
