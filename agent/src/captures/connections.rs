//! The connections on the wire: which segment belongs to which, and when one begins and ends.

use std::{collections::VecDeque, net::SocketAddr, num::NonZeroUsize};

use lru::LruCache;

use super::{connection::Connection, packet::Segment, telling::Telling};
use crate::{
    event::Time,
    protocols::{Guess, Hint, PROTOCOLS, Role},
    streams::Loss,
};

/// Connections followed at once; the least recently used is given up. Each has two ends, and the engine follows 65 536 sockets.
const OPEN_LIMIT: NonZeroUsize = NonZeroUsize::new(32_768).expect("not zero");

/// Connections remembered after their end, so that what was sent or captured twice begins no new one.
const CLOSED_LIMIT: NonZeroUsize = NonZeroUsize::new(32_768).expect("not zero");

/// How long two addresses rest between two connections (Linux's TIME_WAIT), ns. Bytes after that are another connection's.
const REST: Time = 60_000_000_000;

/// Memory for the segments of one direction that wait for an earlier one, bytes: more than the largest receive buffer that Linux
/// gives by itself (`net.ipv4.tcp_rmem`, 6 MiB). Beyond it the earlier one counts as missing.
const STREAM_HELD_LIMIT: usize = 8 * 1024 * 1024;

/// The same for all connections. Whoever goes beyond it waits no longer.
const HELD_LIMIT: usize = 64 * 1024 * 1024;

/// How much later than its acknowledgement a segment may stand in a capture, ns: the two come by different queues of a network
/// card or switch. Well below the time for which the engine puts events in order.
const DISORDER: Time = 10_000_000;

/// The two addresses of a connection, the lower one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(SocketAddr, SocketAddr);

impl Key {
    fn of(segment: &Segment<'_>) -> Self {
        let (one, other) = (segment.source, segment.destination);
        if one <= other { Self(one, other) } else { Self(other, one) }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    open: LruCache<Key, Connection>,
    /// Those that ended, and when.
    closed: LruCache<Key, Time>,
    /// Those that lack bytes which were received, and when they will not be waited for any more.
    lacking: VecDeque<(Time, Key)>,
    /// Memory that waiting segments take up.
    held: usize,
    /// The latest time seen.
    now: Time,
    pub(super) telling: Telling,
}

impl Connections {
    /// No connection was seen.
    pub(super) fn new() -> Self {
        Self {
            open: LruCache::new(OPEN_LIMIT),
            closed: LruCache::new(CLOSED_LIMIT),
            lacking: VecDeque::new(),
            held: 0,
            now: 0,
            telling: Telling::default(),
        }
    }

    /// The latest time seen.
    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// Memory that waiting segments take up.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A segment was seen.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, time: Time) {
        self.now = self.now.max(time);
        self.skip_lacking();
        let key = Key::of(segment);
        if segment.syn {
            self.open(key, segment);
        } else if !self.open.contains(&key) {
            let rests = self.closed.peek(&key).is_some_and(|&closed| time < closed.saturating_add(REST));
            if segment.length == 0 || rests {
                return;
            }
            let (client, server) = self.guess(segment);
            self.insert(key, Connection::new(client, server, false));
        }
        let Some(connection) = self.open.get_mut(&key) else { return };
        let before = connection.held();
        connection.segment(segment, time, &mut self.telling);
        connection.skip_beyond(STREAM_HELD_LIMIT, &mut self.telling);
        if self.held + connection.held() > HELD_LIMIT + before {
            connection.skip_beyond(0, &mut self.telling);
        }
        self.held = (self.held + connection.held()).saturating_sub(before);
        if connection.is_over() {
            self.close(key);
        } else if connection.lacks_acknowledged() && !std::mem::replace(&mut connection.watched, true) {
            self.lacking.push_back((self.now.saturating_add(DISORDER), key));
        }
    }

    /// Nothing more will be seen: tells what waits behind missing segments.
    pub(super) fn finish(&mut self) {
        while let Some((_, mut connection)) = self.open.pop_lru() {
            self.held = self.held.saturating_sub(connection.held());
            connection.skip_all(&mut self.telling);
        }
    }

    /// A SYN was seen.
    fn open(&mut self, key: Key, segment: &Segment<'_>) {
        let role = if segment.acknowledged.is_some() { Role::Server } else { Role::Client };
        let first = segment.sequence.wrapping_add(1);
        if let Some(connection) = self.open.get_mut(&key) {
            if connection.open(segment.source, role, first) {
                return;
            }
            connection.replaced(&mut self.telling);
            self.close(key);
        }
        let (client, server) = match role {
            Role::Client => (segment.source, segment.destination),
            Role::Server => (segment.destination, segment.source),
        };
        let mut connection = Connection::new(client, server, true);
        connection.open(segment.source, role, first);
        self.insert(key, connection);
    }

    fn insert(&mut self, key: Key, connection: Connection) {
        self.closed.pop(&key);
        if let Some((_, mut oldest)) = self.open.push(key, connection) {
            self.held = self.held.saturating_sub(oldest.held());
            oldest.skip_all(&mut self.telling);
            self.telling.losses.add(Loss::Evicted, u64::from(oldest.ends.is_some()));
            self.telling.forget(&oldest);
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(connection) = self.open.pop(&key) {
            self.held = self.held.saturating_sub(connection.held());
            self.telling.forget(&connection);
            self.closed.push(key, connection.time);
        }
    }

    /// Waits no longer for bytes that were acknowledged some time ago.
    fn skip_lacking(&mut self) {
        while let Some(&(until, key)) = self.lacking.front()
            && (until <= self.now || self.lacking.len() > OPEN_LIMIT.get())
        {
            self.lacking.pop_front();
            let Some(connection) = self.open.peek_mut(&key) else { continue };
            connection.watched = false;
            let before = connection.held();
            connection.skip_acknowledged(&mut self.telling);
            self.held = (self.held + connection.held()).saturating_sub(before);
            if connection.is_over() {
                self.close(key);
            }
        }
    }

    /// The client and the server of a connection whose SYN was not seen.
    fn guess(&self, segment: &Segment<'_>) -> (SocketAddr, SocketAddr) {
        let (sender, receiver) = (segment.source, segment.destination);
        let hint = Hint { port: sender.port().min(receiver.port()), from_start: false };
        let sender_role = PROTOCOLS.iter().find_map(|protocol| match (protocol.detect)(segment.payload, hint) {
            Guess::Client => Some(Role::Client),
            Guess::Server => Some(Role::Server),
            Guess::TooShort | Guess::No => None,
        });
        let parties = &self.telling.parties;
        let sender_serves = match (sender_role, parties.serves(sender), parties.serves(receiver)) {
            (Some(role), ..) => role == Role::Server,
            (None, true, false) => true,
            (None, false, true) => false,
            // A server's port is chosen, a client's comes from the upper part of all ports.
            _ => sender.port() < receiver.port(),
        };
        if sender_serves { (receiver, sender) } else { (sender, receiver) }
    }
}

#[cfg(test)]
mod tests;
