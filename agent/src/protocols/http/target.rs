//! What a request is for: its target (RFC 9112 §3.2) taken apart, and without secrets.

use super::fields::split_once;

/// What stands in the place of a secret (OpenTelemetry, `url.full` and `url.query`).
const REDACTED: &str = "REDACTED";

/// A request target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Of absolute-form.
    pub(super) scheme: Option<&'a [u8]>,
    /// `[userinfo@]host[:port]`, of absolute-form and of CONNECT's authority-form.
    pub(super) authority: Option<&'a [u8]>,
    /// From the slash on; `*` for asterisk-form, empty for authority-form.
    pub(super) path: &'a [u8],
    /// After the question mark.
    pub(super) query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    pub(super) fn parse(method: &[u8], target: &'a [u8]) -> Self {
        if method == b"CONNECT" {
            return Self { authority: Some(target), ..Self::default() };
        }
        // A fragment is never to be sent; some clients do.
        let target = split_once(target, b'#').map_or(target, |(target, _)| target);
        let (target, query) = split_once(target, b'?').map_or((target, None), |(target, query)| (target, Some(query)));
        if target.first() == Some(&b'/') {
            return Self { path: target, query, ..Self::default() };
        }
        let Some((scheme, rest)) = split_once(target, b':') else {
            return Self { path: target, query, ..Self::default() };
        };
        let rest = rest.strip_prefix(b"//").unwrap_or(rest);
        let slash = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash).unwrap_or((rest, b""));
        Self {
            scheme: Some(scheme),
            authority: Some(authority),
            path: if path.is_empty() { b"/" } else { path },
            query,
        }
    }
}

/// `host[:port]` without the credentials before it.
pub(super) fn without_userinfo(authority: &[u8]) -> &[u8] {
    authority.rsplit(|&byte| byte == b'@').next().unwrap_or(authority)
}

/// The authority as `url.full` may show it.
pub(super) fn redact_userinfo(authority: &[u8]) -> String {
    let host = without_userinfo(authority);
    let userinfo = authority.get(..authority.len() - host.len()).unwrap_or_default();
    let host = String::from_utf8_lossy(host);
    match userinfo {
        [] => host.into_owned(),
        _ if userinfo.contains(&b':') => format!("{REDACTED}:{REDACTED}@{host}"),
        _ => format!("{REDACTED}@{host}"),
    }
}

/// A query in which the values of these keys (case-sensitive, as OpenTelemetry demands) are redacted.
pub(super) fn redact_query(query: &[u8], keys: &[String]) -> String {
    let query = String::from_utf8_lossy(query);
    let mut redacted = String::with_capacity(query.len());
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            redacted.push('&');
        }
        match pair.split_once('=') {
            Some((key, _)) if keys.iter().any(|secret| secret == key) => {
                redacted.extend([key, "=", REDACTED]);
            }
            _ => redacted.push_str(pair),
        }
    }
    redacted
}
