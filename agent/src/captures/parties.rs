//! Who speaks: the wire knows addresses, not processes.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    event::{Event, Pid, Time},
    processes::{Process, Runtime},
};

/// An end of connections, as far as the wire tells: a server by its address and port, a client by its address (its port is
/// another one for each connection).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Party {
    Client(IpAddr),
    Server(SocketAddr),
}

impl Party {
    fn service_name(self) -> String {
        match self {
            Party::Client(address) => address.to_string(),
            Party::Server(address) => address.to_string(),
        }
    }
}

/// The parties that have connections now: each stands for a process, and ends with its last connection.
#[derive(Debug, Default)]
pub(super) struct Parties {
    known: HashMap<Party, Known>,
    latest: Pid,
}

#[derive(Debug)]
struct Known {
    pid: Pid,
    connections: usize,
}

impl Parties {
    /// Whether a server with this address has connections.
    pub(super) fn serves(&self, address: SocketAddr) -> bool {
        self.known.contains_key(&Party::Server(address))
    }

    /// A party has one more connection: the process that stands for it, and the event that tells of it if it is new.
    pub(super) fn enter(&mut self, party: Party) -> (Pid, Option<Event>) {
        match self.known.entry(party) {
            Entry::Occupied(mut known) => {
                known.get_mut().connections += 1;
                (known.get().pid, None)
            }
            Entry::Vacant(place) => {
                self.latest = self.latest.wrapping_add(1);
                let pid = place.insert(Known { pid: self.latest, connections: 1 }).pid;
                let resource = vec![("service.name".to_owned(), party.service_name())];
                let process = Process { pid, started: 0, runtime: Runtime::default(), resource };
                (pid, Some(Event::Process(Arc::new(process))))
            }
        }
    }

    /// A party has one connection less: the event that tells of its end if that was the last.
    pub(super) fn leave(&mut self, party: Party, time: Time) -> Option<Event> {
        let known = self.known.get_mut(&party)?;
        known.connections -= 1;
        if known.connections > 0 {
            return None;
        }
        self.known.remove(&party).map(|known| Event::Exit { time, pid: known.pid })
    }
}
