//! Environment variables by OpenTelemetry's rules: an empty one is an unset one, and a value that cannot be used is warned
//! about and ignored. No value that may be a credential is shown.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::config::Signal;

/// The variables, and what there was to say about them.
pub(super) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, warnings: Vec::new() }
    }

    /// Something for the user to know, once: both signals may find the same.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A boolean variable: only `true` is true; other words than `false` are warned about.
    pub(super) fn enabled(&mut self, name: &str) -> bool {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        self.value(name, parse, "true or false").unwrap_or(false)
    }

    /// One variable's value, warned about if it cannot be used.
    pub(super) fn value<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Option<T> {
        let text = self.get(name)?;
        let value = parse(&text);
        if value.is_none() {
            // A URL can hold a password.
            let shown = if text.contains('@') { "(value not shown)".to_owned() } else { format!("{text:?}") };
            self.warn(format!("{name}: {shown} is ignored: expected {expected}"));
        }
        value
    }

    /// The signal's own variable, else the one for all signals.
    pub(super) fn signal<T>(
        &mut self,
        signal: Signal,
        setting: &str,
        parse: impl Fn(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        signal.variables(setting).iter().find_map(|name| self.value(name, &parse, expected))
    }

    /// `key=value` pairs separated by commas, values percent-decoded (W3C Baggage without properties). One bad pair
    /// does not cost the others. No value is shown: they are credentials.
    pub(super) fn headers(&mut self, signal: Signal) -> Vec<(HeaderName, HeaderValue)> {
        let names = signal.variables("HEADERS");
        let Some((variable, text)) = names.iter().find_map(|name| Some((name, self.get(name)?))) else {
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (at, pair) in text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
            match header(pair) {
                Some(header) => headers.push(header),
                None => {
                    self.warn(format!("{variable}: pair {} is ignored: expected key=value (value not shown)", at + 1));
                }
            }
        }
        headers
    }

    /// Certificate and key of the client; one needs the other.
    pub(super) fn client_identity(&mut self, signal: Signal) -> Option<(PathBuf, PathBuf)> {
        let certificate = self.signal(signal, "CLIENT_CERTIFICATE", path, "a path");
        let key = self.signal(signal, "CLIENT_KEY", path, "a path");
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                self.warn(
                    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY are ignored: one needs the other"
                        .to_owned(),
                );
                None
            }
        }
    }
}

/// Milliseconds, more than none.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|&ms| ms > 0).map(Duration::from_millis)
}

/// A number above 0.
pub(super) fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&n| n > 0)
}

/// A path.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a variable's parser")]
pub(super) fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (key, value) = pair.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((key.trim().parse().ok()?, value))
}
