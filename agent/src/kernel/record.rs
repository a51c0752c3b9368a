//! Ring buffer records as values. The kernel writes them, but they are read as bytes of unknown shape all the same.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU64,
};

use bytes::Bytes;
use syspan_abi::{ANCESTORS, Kind, MAX_PATH, direction, end, origin, propagation::meaning, works_for};

use super::insertion::Insertion;
use crate::event::{
    Address, Ancestor, Context, Coroutine, Data, Direction, End, Event, Goroutine, Origin, Pid, Socket, Task, Time,
    WorksFor,
};

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An event for the engine.
    Event(Event),
    /// The same for a socket, with the command name of the process that uses it.
    Socket(Socket, String),
    /// A header was inserted into the request whose bytes follow: an [`Event::Context`] as well.
    Inserted(Insertion),
    /// A process executed another program.
    Exec(Pid),
    /// A process made a child, which is observed with it.
    Fork {
        /// The parent.
        parent: Pid,
        /// The child.
        child: Pid,
    },
    /// A process ended.
    Exit {
        /// When.
        time: Time,
        /// Which.
        pid: Pid,
    },
    /// A process listens.
    Listen(Pid),
    /// A process uses io_uring.
    IoUring(Pid),
}

impl Record {
    /// When, where it says so.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        match self {
            Record::Event(event) => event.time(),
            Record::Socket(socket, _) => Some(socket.time),
            Record::Inserted(insertion) => Some(insertion.context.time),
            Record::Exit { time, .. } => Some(*time),
            Record::Exec(_) | Record::Fork { .. } | Record::Listen(_) | Record::IoUring(_) => None,
        }
    }
}

/// A cursor over a record's little pieces; every read is checked.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }
}

/// Reads one record; `None` if it is none of ours.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Record> {
    let mut reader = Reader(bytes);
    let (kind, relation) = (reader.u16()?, reader.u16()?);
    let mut task = Task::thread(reader.u32()?, reader.u32()?, reader.u32()?);
    let time = reader.u64()?;
    let socket = reader.u64()?;
    runs(&mut task, reader.u32()?, reader.u32()?, relation);
    Some(match kind {
        k if k == Kind::Data as u16 => {
            let length = reader.u64()?;
            let position = reader.u32()?;
            let direction = match reader.u32()? {
                direction::READ => Direction::Read,
                direction::WRITE => Direction::Write,
                _ => return None,
            };
            let head = reader.u32()? as usize;
            let tail = reader.u32()? as usize;
            let head = Bytes::copy_from_slice(reader.bytes(head)?);
            let tail = Bytes::copy_from_slice(reader.bytes(tail)?);
            Record::Event(Event::Data(Data { socket, task, direction, time, position, length, head, tail }))
        }
        k if k == Kind::Socket as u16 => {
            let mut socket = parse_socket(&mut reader, socket, time, task)?;
            let command = command(reader.array()?);
            socket.positions = positions(&mut reader)?;
            Record::Socket(socket, command)
        }
        k if k == Kind::End as u16 => {
            let end = match reader.u32()? {
                end::CLOSED => End::Closed,
                end::SHUT_WRITE => End::ShutWrite,
                end::PEER_CLOSED => End::PeerClosed,
                end::RESET => End::Reset,
                end::TIMED_OUT => End::TimedOut,
                _ => return None,
            };
            Record::Event(Event::End { socket, task, time, end, positions: positions(&mut reader)? })
        }
        k if k == Kind::Context as u16 => {
            let (trace_id, span_id) = (reader.array()?, reader.array()?);
            let position = reader.u32()?;
            let (direction, span_id) = match reader.u32()? {
                meaning::SENT => (Direction::Write, Some(span_id)),
                meaning::ARRIVED => (Direction::Read, Some(span_id)),
                meaning::BEGUN => (Direction::Read, None),
                _ => return None,
            };
            let (offset, flags) = (reader.u32()?, u8::try_from(reader.u32()?).ok()?);
            let context = Context { socket, task, direction, time, position, trace_id, span_id };
            match offset {
                0 => Record::Event(Event::Context(context)),
                _ => Record::Inserted(Insertion { context, offset, flags }),
            }
        }
        k if k == Kind::Exec as u16 => Record::Exec(task.pid),
        k if k == Kind::Fork as u16 => Record::Fork { parent: task.pid, child: reader.u32()? },
        k if k == Kind::Exit as u16 => Record::Exit { time, pid: task.pid },
        k if k == Kind::Listen as u16 => Record::Listen(task.pid),
        k if k == Kind::IoUring as u16 => Record::IoUring(task.pid),
        k if k == Kind::Wake as u16 => {
            let (woken, lock) = (reader.u32()?, reader.u32()? != 0);
            Record::Event(Event::Wake { time, task, woken, futex: NonZeroU64::new(reader.u64()?), lock })
        }
        k if k == Kind::Thread as u16 => Record::Event(Event::Thread { time, task, started: reader.u32()? }),
        k if k == Kind::Goroutine as u16 => Record::Event(Event::Goroutine { time, task }),
        k if k == Kind::Coroutine as u16 => {
            let ancestors = ancestors(&mut reader)?;
            Record::Event(Event::Coroutine { time, task, ancestors })
        }
        _ => return None,
    })
}

fn parse_socket(reader: &mut Reader<'_>, id: u64, time: Time, task: Task) -> Option<Socket> {
    let origin = match reader.u32()? {
        origin::CONNECTED => Origin::Connected,
        origin::ACCEPTED => Origin::Accepted,
        _ => Origin::Unknown,
    };
    let family = reader.u32()?;
    let local_port = u16::try_from(reader.u32()?).ok()?;
    let peer_port = u16::try_from(reader.u32()?).ok()?;
    let local: [u8; 16] = reader.array()?;
    let peer: [u8; 16] = reader.array()?;
    let netns = reader.u32()?;
    let path_length = reader.u32()? as usize;
    let path: [u8; MAX_PATH] = reader.array()?;
    let of_peer = reader.u32()? != 0;
    let (local, peer) = if family == AF_UNIX {
        let path = path.get(..path_length).and_then(display_path);
        let (own, theirs) = if of_peer { (None, path) } else { (path, None) };
        (Address::Unix(number(&local), own), Address::Unix(number(&peer), theirs))
    } else {
        (Address::Inet(ip(family, &local), local_port), Address::Inet(ip(family, &peer), peer_port))
    };
    Some(Socket { id, time, task, local, peer, netns, origin, positions: None })
}

/// A thread runs the goroutine of this id, if there is one, which works for another in this way, if it does; or a coroutine (`abi::works_for`).
fn runs(task: &mut Task, id: u32, other: u32, relation: u16) {
    let works_for = match relation {
        _ if id == 0 => return,
        works_for::TASK => return task.coroutine = Some(Coroutine::Task(id)),
        works_for::CONTEXT => return task.coroutine = Some(Coroutine::Context(id)),
        _ if other == 0 => None,
        works_for::HANDED => Some(WorksFor::HandedBy(other)),
        _ => Some(WorksFor::StartedBy(other)),
    };
    task.goroutine = Some(Goroutine { id, works_for });
}

/// As many of `abi::Ancestor` as there are.
fn ancestors(reader: &mut Reader<'_>) -> Option<Vec<Ancestor>> {
    let mut found = Vec::new();
    for _ in 0..ANCESTORS {
        let (began, context, _reserved) = (reader.u64()?, reader.u32()?, reader.u32()?);
        if context != 0 {
            found.push(Ancestor { context, began: (began != 0).then_some(began) });
        }
    }
    Some(found)
}

/// `abi::Positions`.
fn positions(reader: &mut Reader<'_>) -> Option<Option<[u32; 2]>> {
    let next = [reader.u32()?, reader.u32()?];
    Some((reader.u32()? != 0).then_some(next))
}

/// A command name: up to the first NUL, made harmless for showing.
fn command(comm: [u8; 16]) -> String {
    let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect()
}

/// A Unix socket's path for showing: abstract names (which begin with NUL) with an `@`, up to the first NUL otherwise.
fn display_path(path: &[u8]) -> Option<String> {
    let (prefix, name) = match path.split_first()? {
        (0, name) => ("@", name),
        _ => ("", path.split(|&byte| byte == 0).next()?),
    };
    if name.is_empty() { None } else { Some(format!("{prefix}{}", String::from_utf8_lossy(name))) }
}

fn number(address: &[u8; 16]) -> u64 {
    address.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn ip(family: u32, address: &[u8; 16]) -> IpAddr {
    if family == AF_INET {
        let [a, b, c, d, ..] = *address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(*address)).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]

    use std::mem::offset_of;

    use syspan_abi::{DataEvent, Header, ProcessEvent};

    use super::*;

    #[test]
    fn paths_are_shown_as_ss_shows_them() {
        assert_eq!(display_path(b"/run/postgresql/.s.PGSQL.5432\0\0"), Some("/run/postgresql/.s.PGSQL.5432".into()));
        assert_eq!(display_path(b"\0dbus"), Some("@dbus".into()));
        assert_eq!(display_path(b""), None);
    }

    #[test]
    fn a_record_that_is_cut_short_is_none() {
        let mut bytes = vec![0u8; size_of::<DataEvent>()];
        bytes[0] = Kind::Data as u8;
        assert!(matches!(parse(&bytes), Some(Record::Event(Event::Data(_)))));
        for n in 0..bytes.len() {
            assert_eq!(parse(&bytes[..n]), None);
        }
        bytes[offset_of!(DataEvent, head)] = 1; // one byte that is not there
        assert_eq!(parse(&bytes), None);
    }

    /// A record of a [`ProcessEvent`], with these members of its header set.
    fn notice(kind: Kind, members: &[(usize, u32)]) -> Vec<u8> {
        let mut bytes = vec![0u8; size_of::<ProcessEvent>()];
        bytes[..2].copy_from_slice(&(kind as u16).to_ne_bytes());
        for (offset, value) in members {
            bytes[*offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn wake_ups_and_started_threads() {
        let members = [
            (offset_of!(Header, pid), 7),
            (offset_of!(Header, tid), 8),
            (offset_of!(Header, turn), 3),
            (offset_of!(Header, time), 1000),
            (offset_of!(ProcessEvent, other), 9),
        ];
        let task = Task::thread(7, 8, 3);
        let woken = |futex, lock| {
            let futex = NonZeroU64::new(futex);
            Some(Record::Event(Event::Wake { time: 1000, task, woken: 9, futex, lock }))
        };
        let mut bytes = notice(Kind::Wake, &members);
        assert_eq!(parse(&bytes), woken(0, false), "by a write");
        bytes[offset_of!(ProcessEvent, futex)..][..8].copy_from_slice(&0x7fff_1234_5678_u64.to_ne_bytes());
        assert_eq!(parse(&bytes), woken(0x7fff_1234_5678, false));
        bytes[offset_of!(ProcessEvent, lock)] = 1;
        assert_eq!(parse(&bytes), woken(0x7fff_1234_5678, true));
        let started = Some(Record::Event(Event::Thread { time: 1000, task, started: 9 }));
        assert_eq!(parse(&notice(Kind::Thread, &members)), started);
    }

    #[test]
    fn goroutines_whom_they_work_for_and_coroutines() {
        let parsed = |id, other, relation: u16| {
            let members = [(offset_of!(Header, goroutine), id), (offset_of!(Header, works_for), other)];
            let mut bytes = notice(Kind::Wake, &members);
            bytes[offset_of!(Header, relation)..][..2].copy_from_slice(&relation.to_ne_bytes());
            match parse(&bytes) {
                Some(Record::Event(Event::Wake { task, .. })) => (task.goroutine, task.coroutine),
                other => panic!("{other:?}"),
            }
        };
        let goroutine = |works_for| (Some(Goroutine { id: 18, works_for }), None);
        for relation in [works_for::STARTED, works_for::HANDED, works_for::TASK, works_for::CONTEXT] {
            assert_eq!(parsed(0, 0, relation), (None, None));
        }
        assert_eq!(parsed(18, 0, works_for::STARTED), goroutine(None));
        assert_eq!(parsed(18, 0, works_for::TASK), (None, Some(Coroutine::Task(18))));
        assert_eq!(parsed(18, 0, works_for::CONTEXT), (None, Some(Coroutine::Context(18))));
        let started_by = Some(WorksFor::StartedBy(1));
        assert_eq!(parsed(18, 1, works_for::STARTED), goroutine(started_by));
        let handed_by = Some(WorksFor::HandedBy(6));
        assert_eq!(parsed(18, 6, works_for::HANDED), goroutine(handed_by));
    }
}
