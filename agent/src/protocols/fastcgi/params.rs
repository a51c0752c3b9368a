//! The content of `FCGI_PARAMS`: name-value pairs (FastCGI 1.0 §3.4), which are CGI's variables (RFC 3875 §4.1).

use std::borrow::Cow;

use crate::protocols::http::{Request, fields::Fields};

/// `network.protocol.name`.
const NAME: &str = "fastcgi";
/// `network.protocol.version`: the only one there is.
const VERSION: &str = "1.0";
/// What the name of a header field's variable begins with.
const HEADER_FIELD: &[u8] = b"HTTP_";

/// The pairs of a stream that may be cut short anywhere: a pair that is not whole is left out.
pub(super) struct Pairs<'a>(pub(super) &'a [u8]);

impl<'a> Pairs<'a> {
    /// A length: one byte, or four if its highest bit is set.
    fn length(&mut self) -> Option<usize> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            self.0 = rest;
            return Some(first.into());
        }
        let (&[a, b, c, d], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        usize::try_from(u32::from_be_bytes([a & 0x7F, b, c, d])).ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = (self.length()?, self.length()?);
        Some((self.take(name)?, self.take(value)?))
    }
}

/// What a web server says of a request.
#[derive(Debug, Default)]
pub(super) struct Variables<'a> {
    method: &'a [u8],
    /// The request target as the client sent it. No variable of CGI, but every web server has it.
    uri: Option<&'a [u8]>,
    /// nginx: the path after rewriting.
    document: Option<&'a [u8]>,
    script: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    port: Option<&'a [u8]>,
    client: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    /// The body's media type.
    sort: Option<&'a [u8]>,
    fields: Fields<'a>,
}

impl<'a> Variables<'a> {
    /// Of the stream, or what was captured of it.
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in Pairs(bytes).filter(|(_, value)| !value.is_empty()) {
            let place = match name {
                b"REQUEST_METHOD" => {
                    found.method = value;
                    continue;
                }
                b"REQUEST_URI" => &mut found.uri,
                b"DOCUMENT_URI" => &mut found.document,
                b"SCRIPT_NAME" => &mut found.script,
                b"QUERY_STRING" => &mut found.query,
                b"SERVER_NAME" => &mut found.server,
                b"SERVER_PORT" => &mut found.port,
                b"REMOTE_ADDR" => &mut found.client,
                b"REQUEST_SCHEME" => &mut found.scheme,
                b"HTTPS" if !value.eq_ignore_ascii_case(b"off") => {
                    found.scheme.get_or_insert(b"https");
                    continue;
                }
                // Some web servers send both of each.
                b"CONTENT_LENGTH" | b"HTTP_CONTENT_LENGTH" => &mut found.length,
                b"CONTENT_TYPE" | b"HTTP_CONTENT_TYPE" => &mut found.sort,
                _ => {
                    if let Some(name) = name.strip_prefix(HEADER_FIELD) {
                        found.fields.push(field_name(name), value.into());
                    }
                    continue;
                }
            };
            *place = Some(value);
        }
        found
    }

    /// Whether it is known what is asked for.
    pub(super) fn is_request(&self) -> bool {
        !self.method.is_empty()
    }

    /// Whether a body follows.
    pub(super) fn has_body(&self) -> bool {
        self.length.is_some_and(|length| length != b"0") || self.fields.value("transfer-encoding").is_some()
    }

    /// The request as its client made it.
    pub(super) fn request(self) -> Request<'a> {
        let Self { method, uri, document, script, query, server, port, client, scheme, length, sort, mut fields } =
            self;
        let target = uri.map_or_else(
            || {
                let path = document.or(script).unwrap_or(b"/");
                query.map_or(path.into(), |query| [path, b"?", query].concat().into())
            },
            Cow::Borrowed,
        );
        if fields.value("host").is_none()
            && let Some(server) = server
        {
            let host = port.map_or(server.into(), |port| [server, b":", port].concat().into());
            fields.push(b"host".into(), host);
        }
        for (name, value) in [(&b"content-length"[..], length), (b"content-type", sort)] {
            if let Some(value) = value {
                fields.push(name.into(), value.into());
            }
        }
        Request { method, target, fields, protocol: Some(NAME), version: VERSION, scheme, client }
    }
}

/// `USER_AGENT` is `user-agent`.
fn field_name(variable: &[u8]) -> Cow<'static, [u8]> {
    variable.iter().map(|&byte| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }).collect()
}
