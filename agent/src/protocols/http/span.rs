//! What a span says of an HTTP exchange: OpenTelemetry's stable HTTP conventions, for both ends.

use std::borrow::Cow;

use opentelemetry_semantic_conventions::attribute as key;

use super::{
    Request,
    fields::Fields,
    forwarded::{Forwarded, scheme, split_port},
    target::{Target, redact_query, redact_userinfo, without_userinfo},
};
use crate::{
    event::Address,
    protocols::{Connection, Options, Role},
    traces::span::{Attribute, Status, Value},
};

/// Longest attribute value, bytes: what OpenTelemetry's SDKs suggest as `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`, so that
/// one head cannot fill the export queue.
const VALUE_LIMIT: usize = 4096;

/// Room for the attributes of an ordinary exchange, so that they are not moved as they become more.
const USUAL_ATTRIBUTES: usize = 16;

/// The span name: the method alone, as no low-cardinality target is known to an observer.
pub(super) fn name(method: &[u8], options: &Options) -> Cow<'static, str> {
    known(method, options).map_or(Cow::Borrowed("HTTP"), |method| Cow::Owned(method.to_owned()))
}

fn known<'o>(method: &[u8], options: &'o Options) -> Option<&'o str> {
    options.http_methods.iter().map(String::as_str).find(|known| known.as_bytes() == method)
}

/// The attributes that the request's head decides.
pub(super) fn of_request(request: &Request<'_>, connection: &Connection, options: &Options) -> Vec<Attribute> {
    let Request { method, target, fields, protocol, version, scheme: told_scheme, client: told_client } = request;
    let mut set = Attributes(Vec::with_capacity(USUAL_ATTRIBUTES));
    match known(method, options) {
        Some(method) => set.string(key::HTTP_REQUEST_METHOD, method.as_bytes()),
        None => {
            set.string(key::HTTP_REQUEST_METHOD, b"_OTHER");
            if !method.is_empty() {
                set.string(key::HTTP_REQUEST_METHOD_ORIGINAL, method);
            }
        }
    }
    let target = Target::parse(method, target);
    let scheme = || told_scheme.or(target.scheme).and_then(scheme);
    let query = target.query.map(|query| redact_query(query, &options.redacted_query_keys));
    let peer = peer_address(&connection.peer);
    match connection.local_role {
        Role::Server => {
            let forwarded = Forwarded::new(fields);
            let scheme = forwarded.scheme.or_else(scheme).unwrap_or_else(|| "http".to_owned());
            set.string(key::URL_PATH, target.path);
            if let Some(query) = query {
                set.string(key::URL_QUERY, query.as_bytes());
            }
            let authority = forwarded.host.as_deref().or(target.authority).or_else(|| fields.value("host"));
            set.server(authority, &scheme, &connection.local);
            set.string(key::URL_SCHEME, scheme.as_bytes());
            match (forwarded.client.as_deref().or(*told_client), &connection.peer, &peer) {
                (Some(client), ..) => set.string(key::CLIENT_ADDRESS, client),
                (None, Address::Inet(..), Some(ip)) => set.string(key::CLIENT_ADDRESS, ip.as_bytes()),
                (None, ..) => {}
            }
            if let Some(agent) = fields.value("user-agent") {
                set.string(key::USER_AGENT_ORIGINAL, agent);
            }
        }
        Role::Client => {
            let scheme = scheme().unwrap_or_else(|| "http".to_owned());
            let authority = target.authority.or_else(|| fields.value("host"));
            set.server(authority, &scheme, &connection.peer);
            set.string(key::URL_FULL, full_url(&scheme, authority, &target, query, &connection.peer).as_bytes());
        }
    }
    set.peer(peer, &connection.peer);
    if let Some(protocol) = protocol {
        set.string(key::NETWORK_PROTOCOL_NAME, protocol.as_bytes());
    }
    set.string(key::NETWORK_PROTOCOL_VERSION, version.as_bytes());
    set.headers(key::HTTP_REQUEST_HEADER, fields, options);
    set.0
}

/// The attributes that the response's head decides.
pub(super) fn of_response(status: u16, fields: &Fields<'_>, options: &Options) -> Vec<Attribute> {
    let mut set = Attributes::default();
    set.0.push((key::HTTP_RESPONSE_STATUS_CODE.into(), i64::from(status).into()));
    set.headers(key::HTTP_RESPONSE_HEADER, fields, options);
    set.0
}

/// `error.type` and the status of the span: a 4xx is the client's error only, a 5xx is one on both ends.
pub(super) fn verdict(
    status: Option<u16>,
    failure: Option<&'static str>,
    local_role: Role,
) -> (Option<Attribute>, Status) {
    let error: Value = match (failure, status, local_role) {
        (Some(failure), ..) => failure.into(),
        (None, Some(code @ 400..500), Role::Client) | (None, Some(code @ 500..), _) => code.to_string().into(),
        _ => return (None, Status::Unset),
    };
    (Some((key::ERROR_TYPE.into(), error)), Status::Error(String::new()))
}

/// `url.full`: the request's URI (RFC 9112 §3.3), without credentials and secrets.
fn full_url(
    scheme: &str,
    authority: Option<&[u8]>,
    target: &Target<'_>,
    query: Option<String>,
    peer: &Address,
) -> String {
    let authority = match (authority, peer) {
        (Some(authority), _) => redact_userinfo(authority),
        (None, Address::Inet(ip, port)) => std::net::SocketAddr::new(*ip, *port).to_string(),
        (None, Address::Unix(..)) => "localhost".to_owned(),
    };
    // Asterisk-form speaks of the server as a whole: its URI has no path.
    let path = if target.path == b"*" { Cow::Borrowed("") } else { String::from_utf8_lossy(target.path) };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}{path}{query}")
}

/// `network.peer.address`: a path only where the peer has one.
fn peer_address(peer: &Address) -> Option<String> {
    match peer {
        Address::Inet(ip, _) => Some(ip.to_string()),
        Address::Unix(_, path) => path.as_deref().map(|path| bounded(path.as_bytes())),
    }
}

/// Attributes in the making; every value is valid UTF-8 and bounded.
#[derive(Default)]
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn string(&mut self, key: &'static str, value: &[u8]) {
        self.0.push((key.into(), bounded(value).into()));
    }

    fn port(&mut self, key: &'static str, port: u16) {
        self.0.push((key.into(), i64::from(port).into()));
    }

    /// `server.address` and `server.port`: from the name the client used, else from the socket.
    fn server(&mut self, authority: Option<&[u8]>, scheme: &str, socket: &Address) {
        let named = authority.map(|authority| split_port(without_userinfo(authority)));
        match (named, socket) {
            (Some((host, port)), _) if !host.is_empty() => {
                self.string(key::SERVER_ADDRESS, host);
                self.port(key::SERVER_PORT, port.unwrap_or(if scheme == "https" { 443 } else { 80 }));
            }
            (_, Address::Inet(ip, port)) => {
                self.string(key::SERVER_ADDRESS, ip.to_string().as_bytes());
                self.port(key::SERVER_PORT, *port);
            }
            (_, Address::Unix(_, Some(path))) => self.string(key::SERVER_ADDRESS, path.as_bytes()),
            (_, Address::Unix(_, None)) => {}
        }
    }

    fn peer(&mut self, address: Option<String>, peer: &Address) {
        self.0.extend(address.map(|address| (key::NETWORK_PEER_ADDRESS.into(), address.into())));
        match peer {
            Address::Inet(_, port) => self.port(key::NETWORK_PEER_PORT, *port),
            Address::Unix(..) => self.string(key::NETWORK_TRANSPORT, b"unix"),
        }
    }

    /// The headers the user asked for: one attribute a name, one string a line.
    fn headers(&mut self, prefix: &'static str, fields: &Fields<'_>, options: &Options) {
        for name in &options.http_headers {
            let values: Vec<String> = fields.values(name).map(bounded).collect();
            if !values.is_empty() {
                self.0.push((format!("{prefix}.{name}").into(), Value::Strings(values)));
            }
        }
    }
}

/// Valid UTF-8 of at most [`VALUE_LIMIT`] bytes.
fn bounded(value: &[u8]) -> String {
    // A byte that is not UTF-8 becomes three, so the limit is applied to the result as well.
    let mut text = String::from_utf8_lossy(value.get(..VALUE_LIMIT).unwrap_or(value)).into_owned();
    text.truncate(text.floor_char_boundary(VALUE_LIMIT));
    text
}
