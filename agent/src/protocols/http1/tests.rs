#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

mod attributes;
mod connections;
mod hostile;
mod losses;

use std::collections::BTreeMap;

use super::*;
use crate::{
    event::Address,
    protocols::{
        Exchange,
        Role::*,
        testing::{Driver, attributes, brief, closed},
    },
};

/// A connection that was seen from its start, with `local_role` observed.
fn driver(local_role: Role) -> Driver {
    driver_with(local_role, Options::default())
}

fn driver_with(local_role: Role, options: Options) -> Driver {
    Driver::new(start(connection(local_role), &options))
}

/// The client is 192.0.2.7:40000, the server 192.0.2.1:8080.
fn connection(local_role: Role) -> Connection {
    let client = Address::Inet("192.0.2.7".parse().unwrap(), 40000);
    let server = Address::Inet("192.0.2.1".parse().unwrap(), 8080);
    let (local, peer) = if local_role == Client { (client, server) } else { (server, client) };
    Connection { local_role, local, peer, from_start: true }
}

/// Runs a conversation whole, and again cut at every byte; both must tell the same. Returns the signals in short.
fn converse(local_role: Role, messages: &[(Role, &[u8])]) -> Vec<String> {
    let mut whole = driver(local_role);
    for (from, bytes) in messages {
        whole.send(*from, 7, bytes);
    }
    let mut by_byte = driver(local_role);
    for (from, bytes) in messages {
        for byte in *bytes {
            by_byte.send(*from, 7, std::slice::from_ref(byte));
        }
    }
    assert_eq!(whole.signals, by_byte.signals);
    for (which, (from, bytes)) in messages.iter().enumerate() {
        for cut in 1..bytes.len() {
            let mut cut_once = driver(local_role);
            for (index, (other, all)) in messages.iter().enumerate() {
                if index == which {
                    cut_once.send(*from, 7, &bytes[..cut]);
                    cut_once.send(*from, 7, &bytes[cut..]);
                } else {
                    cut_once.send(*other, 7, all);
                }
            }
            assert_eq!(whole.signals, cut_once.signals, "message {which} cut at {cut}");
        }
    }
    brief(&whole.signals)
}
