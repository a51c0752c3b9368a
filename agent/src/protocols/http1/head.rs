//! Heads of requests and responses (RFC 9112 §2 to §5), read as an observer must: whatever the two ends accept.
//!
//! `httparse` is stricter than many servers: it refuses obs-fold in requests, more fields than it was given room for,
//! and a head whose end was not captured. All three are to be reported here, so lines are split by hand, once.

use crate::protocols::{
    Guess,
    http::{
        Request,
        fields::{Fields, Lines, is_space, split_once, trim},
    },
};

/// Methods that are believed before their request line is complete; any other token needs the whole line.
const COMMON_METHODS: &[&[u8]] =
    &[b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"QUERY"];
/// Longest token that is taken for a method: registered ones have at most 17 characters (`UPDATEREDIRECTREF`).
const METHOD_LIMIT: usize = 32;
/// What every status line of HTTP/1 begins with, and every request line ends with but for a digit.
const VERSION: &[u8] = b"HTTP/1.";

/// A head, complete or cut short.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// The request or status line, without its line end.
    pub(super) start: &'a [u8],
    /// What follows it.
    pub(super) fields: Fields<'a>,
}

impl<'a> Head<'a> {
    /// Splits a head into its lines. A last line without line end is left out: it may be cut short.
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        let mut lines = Lines(bytes);
        let start = lines.next().unwrap_or_default();
        Self { start, fields: Fields::of_lines(lines) }
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) version: &'static str,
}

impl<'a> RequestLine<'a> {
    /// `None` if the line is not one. The target may hold spaces: some clients do not escape them.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (method, rest) = split_once(line, b' ')?;
        let end = rest.iter().rposition(|&byte| byte == b' ')?;
        let (target, version) = (trim(rest.get(..end)?), version(rest.get(end + 1..)?)?);
        let valid = is_method(method) && target_start(method, target) == Guess::Client;
        valid.then_some(Self { method, target, version })
    }

    /// The request that has these fields.
    pub(super) fn with(self, fields: Fields<'a>) -> Request<'a> {
        let Self { method, target, version } = self;
        Request { method, target: target.into(), fields, protocol: None, version, scheme: None, client: None }
    }
}

/// The version and the code of a status line (RFC 9112 §4); the reason is of no interest and may be missing.
pub(super) fn parse_status_line(line: &[u8]) -> Option<u16> {
    let (first, rest) = split_once(line, b' ')?;
    version(first)?;
    let (code, rest) = rest.split_at_checked(3)?;
    let ends = rest.first().is_none_or(|&byte| is_space(byte));
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    (ends && (100..1000).contains(&code)).then_some(code)
}

fn version(text: &[u8]) -> Option<&'static str> {
    match text {
        b"HTTP/1.1" => Some("1.1"),
        b"HTTP/1.0" => Some("1.0"),
        _ => None,
    }
}

/// Whether a request head begins here ([`Guess::Client`]), may begin here, or does not.
pub(super) fn request_start(bytes: &[u8]) -> Guess {
    if let Some(line) = Lines(bytes).next() {
        return if RequestLine::parse(line).is_some() { Guess::Client } else { Guess::No };
    }
    let Some((method, target)) = split_once(bytes, b' ') else {
        return if is_method(bytes) { Guess::TooShort } else { Guess::No };
    };
    if !is_method(method) {
        return Guess::No;
    }
    match target_start(method, target) {
        Guess::Client if COMMON_METHODS.contains(&method) => Guess::Client,
        Guess::Client => Guess::TooShort,
        other => other,
    }
}

/// Whether a response head begins here ([`Guess::Server`]), may begin here, or does not.
pub(super) fn response_start(bytes: &[u8]) -> Guess {
    match bytes.get(..VERSION.len()) {
        Some(start) if start == VERSION => Guess::Server,
        None if VERSION.starts_with(bytes) => Guess::TooShort,
        _ => Guess::No,
    }
}

/// Whether these bytes begin a request target (RFC 9112 §3.2) of this method.
fn target_start(method: &[u8], target: &[u8]) -> Guess {
    if method == b"CONNECT" {
        let host = target.split(|&byte| byte == b' ').next().unwrap_or_default();
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
        return match host {
            [] => Guess::TooShort,
            _ if !host.iter().all(allowed) => Guess::No,
            _ if host.contains(&b':') => Guess::Client,
            _ if host.len() == target.len() => Guess::TooShort,
            _ => Guess::No,
        };
    }
    if target.first() == Some(&b'/') || target == b"*" {
        return Guess::Client;
    }
    // `SELECT * FROM` and `PRI * HTTP/2.0` have an asterisk too: only the version tells.
    if let Some(rest) = target.strip_prefix(b"* ") {
        return match rest.get(..VERSION.len()) {
            Some(start) if start == VERSION => Guess::Client,
            None if VERSION.starts_with(rest) => Guess::TooShort,
            _ => Guess::No,
        };
    }
    let scheme = |scheme: &[u8]| match target.get(..scheme.len()) {
        Some(start) if start.eq_ignore_ascii_case(scheme) => Guess::Client,
        None if scheme.get(..target.len()).is_some_and(|s| s.eq_ignore_ascii_case(target)) => Guess::TooShort,
        _ => Guess::No,
    };
    match scheme(b"http://") {
        Guess::No => scheme(b"https://"),
        guess => guess,
    }
}

/// `token` (RFC 9110 §5.6.2) without the characters no method ever had.
fn is_method(bytes: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    !bytes.is_empty() && bytes.len() <= METHOD_LIMIT && bytes.iter().all(allowed)
}

/// How many bytes of empty lines precede a head (RFC 9112 §2.2: to be ignored).
pub(super) fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count()
}
