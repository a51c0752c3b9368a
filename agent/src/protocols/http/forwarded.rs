//! Who the client is and what it asked for, as proxies pass it on (RFC 7239, and the `X-Forwarded-*` before it).

use super::fields::{Fields, split_once, trim};

/// What the first proxy said, or nobody.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// The client's address, or the name a proxy gave it (`_hidden`); without port.
    pub(super) client: Option<Vec<u8>>,
    /// The authority (`host[:port]`) that the client asked for.
    pub(super) host: Option<Vec<u8>>,
    /// The scheme the client used, lower case.
    pub(super) scheme: Option<String>,
}

impl Forwarded {
    pub(super) fn new(fields: &Fields<'_>) -> Self {
        let mut found = Self::default();
        for line in fields.values("forwarded") {
            for pair in split_unquoted(line) {
                let Some((name, value)) = split_once(pair, b'=') else { continue };
                let value = unquote(trim(value));
                // The first value was added by the proxy nearest to the client.
                let place = match trim(name).to_ascii_lowercase().as_slice() {
                    b"for" => &mut found.client,
                    b"host" => &mut found.host,
                    b"proto" => {
                        found.scheme = found.scheme.or_else(|| scheme(&value));
                        continue;
                    }
                    _ => continue,
                };
                place.get_or_insert(value);
            }
        }
        let first = |name: &str| fields.elements(name).next().map(<[u8]>::to_vec);
        found.client = found.client.or_else(|| first("x-forwarded-for"));
        found.client = found.client.map(|client| split_port(&client).0.to_vec());
        found.client = found.client.filter(|client| !client.is_empty() && !client.eq_ignore_ascii_case(b"unknown"));
        found.host = found.host.or_else(|| first("x-forwarded-host")).filter(|host| !host.is_empty());
        found.scheme = found.scheme.or_else(|| scheme(&first("x-forwarded-proto")?));
        found
    }
}

/// The parameters of a `Forwarded` line: split at `;` and `,` outside of quotes.
fn split_unquoted(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' | b',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(trim)
}

/// The text of a quoted-string (RFC 9110 §5.6.4), or the token as it is.
fn unquote(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return value.to_vec();
    };
    let mut escaped = false;
    let kept = |&byte: &u8| {
        escaped = !escaped && byte == b'\\';
        (!escaped).then_some(byte)
    };
    inner.iter().filter_map(kept).collect()
}

/// A scheme as RFC 3986 §3.1 writes it.
pub(super) fn scheme(text: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let valid = text.first().is_some_and(u8::is_ascii_alphabetic) && text.len() <= 16 && text.iter().all(allowed);
    valid.then(|| String::from_utf8_lossy(text).to_ascii_lowercase())
}

/// Splits `host[:port]`; the brackets of an IPv6 address are removed. More than one colon without brackets is an IPv6
/// address without port, as `X-Forwarded-For` writes it.
pub(super) fn split_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let (host, port) = match authority.strip_prefix(b"[").and_then(|rest| split_once(rest, b']')) {
        Some((host, rest)) => (host, rest.strip_prefix(b":")),
        None => match split_once(authority, b':') {
            Some((host, port)) if !port.contains(&b':') => (host, Some(port)),
            _ => (authority, None),
        },
    };
    (host, port.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()))
}
