#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

mod attributes;
mod connections;
mod hostile;
mod losses;

use super::{
    record::{BODY, kind},
    *,
};
use crate::{
    event::Address,
    protocols::{
        Role::*,
        testing::{Driver, brief, closed},
    },
};

/// The content of an end record: served.
const SERVED: [u8; BODY] = [0; BODY];
/// The content of a begin record: a responder, whose connection stays open.
const RESPONDER: [u8; BODY] = [0, 1, 1, 0, 0, 0, 0, 0];
/// The content of the end of a stream.
const END: &[u8] = b"";

fn driver(local_role: Role) -> Driver {
    driver_with(local_role, &Options::default())
}

fn driver_with(local_role: Role, options: &Options) -> Driver {
    Driver::new(start(connection(local_role), options))
}

/// The web server is 192.0.2.7:40000, PHP 192.0.2.1:9000.
fn connection(local_role: Role) -> Connection {
    let client = Address::Inet("192.0.2.7".parse().unwrap(), 40000);
    let server = Address::Inet("192.0.2.1".parse().unwrap(), 9000);
    let (local, peer) = if local_role == Client { (client, server) } else { (server, client) };
    Connection { local_role, local, peer, from_start: true }
}

fn record(kind: u8, id: RequestId, content: impl AsRef<[u8]>) -> Vec<u8> {
    padded(kind, id, content, 0)
}

/// A record with so many bytes of padding.
fn padded(kind: u8, id: RequestId, content: impl AsRef<[u8]>, padding: u8) -> Vec<u8> {
    let content = content.as_ref();
    let ([a, b], [c, d]) = (id.to_be_bytes(), u16::try_from(content.len()).unwrap().to_be_bytes());
    [&[1, kind, a, b, c, d, padding, 0], content, &vec![b'p'; padding.into()]].concat()
}

/// Name-value pairs.
fn pairs(variables: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| match u8::try_from(text.len()) {
        Ok(short @ ..0x80) => vec![short],
        _ => (u32::try_from(text.len()).unwrap() | 1 << 31).to_be_bytes().to_vec(),
    };
    variables.iter().flat_map(|(n, v)| [&length(n)[..], &length(v), n.as_bytes(), v.as_bytes()].concat()).collect()
}

/// Begin record and variables, as nginx sends them.
fn head(id: RequestId, variables: &[(&str, &str)]) -> Vec<u8> {
    [
        record(kind::BEGIN_REQUEST, id, RESPONDER),
        padded(kind::PARAMS, id, pairs(variables), 3),
        record(kind::PARAMS, id, END),
    ]
    .concat()
}

/// A request for a path, without a body.
fn get(id: RequestId, path: &str) -> Vec<u8> {
    let variables = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path), ("CONTENT_LENGTH", "")];
    [head(id, &variables), record(kind::STDIN, id, END)].concat()
}

/// A response in one piece, as PHP sends it.
fn response(id: RequestId, text: &str) -> Vec<u8> {
    [padded(kind::STDOUT, id, text, 5), record(kind::END_REQUEST, id, SERVED)].concat()
}

fn ok(id: RequestId) -> Vec<u8> {
    response(id, "Content-Type: text/html\r\n\r\nhello")
}

/// Runs a conversation whole, and again cut at every byte and at each byte once; all must tell the same. Returns the signals in
/// short.
fn converse(local_role: Role, messages: &[(Role, Vec<u8>)]) -> Vec<String> {
    let mut whole = driver(local_role);
    let mut by_byte = driver(local_role);
    for (from, bytes) in messages {
        whole.send(*from, 7, bytes);
        bytes.chunks(1).for_each(|byte| by_byte.send(*from, 7, byte));
    }
    assert_eq!(whole.signals, by_byte.signals);
    for (which, (_, bytes)) in messages.iter().enumerate() {
        for cut in 1..bytes.len() {
            let mut cut_once = driver(local_role);
            for (index, (from, all)) in messages.iter().enumerate() {
                let (one, other) = all.split_at(if index == which { cut } else { all.len() });
                cut_once.send(*from, 7, one);
                if !other.is_empty() {
                    cut_once.send(*from, 7, other);
                }
            }
            assert_eq!(whole.signals, cut_once.signals, "message {which} cut at {cut}");
        }
    }
    brief(&whole.signals)
}
