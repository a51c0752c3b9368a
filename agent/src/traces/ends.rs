//! The two ends of a connection, where both are on this host: evidence `socket`.
//!
//! A client's request and the server's are the same bytes, so they begin at the same position of the stream: for TCP
//! the same sequence number, whenever the agent came. A Unix socket has no numbers; there a request on the server's
//! end is the oldest one on the client's end that is still open and not taken.

use std::collections::VecDeque;

use crate::{
    event::{Address, Socket, SocketId, Time},
    traces::tracker::NodeId,
};

/// Requests of one connection that wait for their other end. More than are ever pipelined; the oldest is dropped.
const WAITING_LIMIT: usize = 1024;

/// Which connection, the same for both ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Of loopback and Unix addresses only: those are unique only inside a namespace.
    netns: u32,
    low: Address,
    high: Address,
}

/// Known ends and their open requests.
#[derive(Debug, Default)]
pub struct Ends {
    keys: foldhash::HashMap<SocketId, Key>,
    /// Peers choose their addresses.
    sockets: std::collections::HashMap<Key, Vec<SocketId>>,
    requests: foldhash::HashMap<SocketId, VecDeque<Request>>,
}

/// A request seen on a client's end.
#[derive(Debug, Clone, Copy)]
struct Request {
    node: NodeId,
    position: u32,
    start: Time,
}

impl Ends {
    /// A socket was connected or accepted.
    pub fn opened(&mut self, socket: &Socket) {
        self.closed(socket.id);
        let key = key(socket);
        self.sockets.entry(key.clone()).or_default().push(socket.id);
        self.keys.insert(socket.id, key);
    }

    /// A socket is gone.
    pub fn closed(&mut self, socket: SocketId) {
        self.requests.remove(&socket);
        let Some(key) = self.keys.remove(&socket) else { return };
        if let Some(sockets) = self.sockets.get_mut(&key) {
            sockets.retain(|&other| other != socket);
            if sockets.is_empty() {
                self.sockets.remove(&key);
            }
        }
    }

    /// A client has sent a request whose server may be on this host as well.
    pub fn requested(&mut self, socket: SocketId, node: NodeId, position: u32, start: Time) {
        let requests = self.requests.entry(socket).or_default();
        if requests.len() >= WAITING_LIMIT {
            requests.pop_front();
        }
        requests.push_back(Request { node, position, start });
    }

    /// The client's exchange is over: nothing on the other end can belong to it any more.
    pub fn finished(&mut self, socket: SocketId, node: NodeId) {
        if let Some(requests) = self.requests.get_mut(&socket) {
            requests.retain(|request| request.node != node);
        }
    }

    /// The client's request that is the same as the one a server has received, taken so that it is found once.
    pub fn take(&mut self, server: &Socket, position: u32, start: Time) -> Option<NodeId> {
        let key = self.keys.get(&server.id)?;
        // The latest: an older one with the same addresses is gone, and its end was not seen.
        let client = *self.sockets.get(key)?.iter().rfind(|&&other| other != server.id)?;
        let requests = self.requests.get_mut(&client)?;
        let index = match server.local {
            Address::Inet(..) => requests.iter().position(|request| request.position == position)?,
            Address::Unix(..) => requests.iter().position(|request| request.start <= start)?,
        };
        requests.remove(index).map(|request| request.node)
    }

    /// Number of sockets known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn key(socket: &Socket) -> Key {
    let rank = |address: &Address| match address {
        Address::Inet(ip, port) => (Some(*ip), u64::from(*port)),
        Address::Unix(number, _) => (None, *number),
    };
    // Which end is bound to the path is not the same from both ends.
    let plain = |address: &Address| match address {
        Address::Unix(number, _) => Address::Unix(*number, None),
        inet @ Address::Inet(..) => inet.clone(),
    };
    let (low, high) = if rank(&socket.local) <= rank(&socket.peer) {
        (&socket.local, &socket.peer)
    } else {
        (&socket.peer, &socket.local)
    };
    let global = matches!(low, Address::Inet(ip, _) if !ip.is_loopback());
    Key { netns: if global { 0 } else { socket.netns }, low: plain(low), high: plain(high) }
}

#[cfg(test)]
mod tests;
