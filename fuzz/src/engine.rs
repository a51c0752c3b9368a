//! The whole engine, and a host on which anything happens.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use syspan::{
    event::{
        Address, Ancestor, Context, Coroutine, Data, Direction, End, Event, Goroutine, Limits, Origin, Pid, Socket,
        SocketId, Task, Time, WorksFor,
    },
    processes::{Process, Runtime},
    streams::Loss,
};

use crate::spans;

/// Events that a kernel could tell, and some that only a broken recording has. The same events give the same spans.
pub fn engine(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let mut host = Host::default();
    while !bytes.is_empty()
        && let Ok(act) = Act::arbitrary(&mut bytes)
    {
        host.act(act);
    }
    assert_eq!(spans::run(host.events.clone()), spans::run(host.events), "the same events");
}

/// One thing that happens; the numbers are few, so that things meet.
#[derive(Debug, Arbitrary)]
struct Act {
    /// Microseconds since the last one; what is negative is told late.
    wait: i16,
    /// The process (high half) and its thread.
    who: u8,
    socket: u8,
    what: What,
}

#[derive(Debug, Arbitrary)]
enum What {
    /// The thread waits for several files.
    Wait,
    Call {
        read: bool,
        bytes: Message,
    },
    /// A call of which not all is captured, at a place that may have been seen before or not be the next.
    Odd {
        read: bool,
        bytes: Message,
        jump: i16,
        head: u8,
        missing: u16,
        tail: u8,
    },
    Socket {
        origin: u8,
        local: u8,
        peer: u8,
        positions: Option<[u32; 2]>,
    },
    End {
        end: u8,
        positions: Option<[u32; 2]>,
    },
    Exit,
    Process {
        go: bool,
    },
    Lost(u8),
    Tick,
    /// Time runs for a minute.
    Long,
    Start {
        wall_offset: i64,
    },
    /// The thread wakes or starts another one.
    Wakes {
        other: u8,
        starts: bool,
    },
    /// The thread is, from now on, running this goroutine (0: none).
    Goroutine {
        id: u8,
        works_for: u8,
        handed: bool,
    },
    /// The thread is, from now on, running this coroutine (0: none).
    Coroutine {
        id: u8,
        numbered: bool,
    },
    /// A context for the next message on the socket.
    Context {
        read: bool,
        trace: u8,
        span: Option<u8>,
    },
    /// The event as a recording may have it.
    Broken {
        position: u32,
        length: u64,
        head: Vec<u8>,
        tail: Vec<u8>,
        time: Time,
    },
    /// A coroutine has begun some time ago, in these others (no more than a few).
    Begun {
        id: u8,
        ago: u8,
        above: [u8; 2],
    },
}

#[derive(Debug, Arbitrary)]
enum Message {
    Request,
    RequestWithHeader(u8),
    RequestWithBody,
    Response,
    Chunked,
    PostgresStart,
    PostgresReady,
    PostgresQuery,
    PostgresAnswer,
    PostgresPrepared,
    MySqlGreeting,
    MySqlLogin,
    MySqlQuery,
    MySqlOk,
    Bytes(Vec<u8>),
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Message::Request => b"GET /a?sig=1 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
            Message::RequestWithHeader(n) => {
                let id = u32::from(*n) + 1;
                format!("GET /b HTTP/1.1\r\ntraceparent: 00-{id:032x}-{id:016x}-01\r\n\r\n").into_bytes()
            }
            Message::RequestWithBody => b"POST /c HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789".to_vec(),
            Message::Response => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            Message::Chunked => b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec(),
            Message::PostgresStart => b"\0\0\0\x11\0\x03\0\0user\0me\0\0\0".to_vec(),
            Message::PostgresReady => b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec(),
            Message::PostgresQuery => b"Q\0\0\0\x14SELECT 1 FROM t\0".to_vec(),
            Message::PostgresAnswer => b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I".to_vec(),
            Message::PostgresPrepared => {
                b"P\0\0\0\x12s\0SELECT $1\0\0\0B\0\0\0\x0d\0s\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04".to_vec()
            }
            Message::MySqlGreeting => {
                let mut payload = b"\x0a8.0.36\0\x01\0\0\0abcdefgh\0\xff\xf7\xff\x02\0\xff\xc1\x15".to_vec();
                payload.extend([0; 10]);
                payload.extend(b"abcdefghijkl\0mysql_native_password\0");
                packet(0, &payload)
            }
            Message::MySqlLogin => {
                let mut payload = b"\x8d\xa6\x0b\0\0\0\0\x01\xff".to_vec();
                payload.extend([0; 23]);
                payload.extend(b"me\0\0shop\0mysql_native_password\0");
                packet(1, &payload)
            }
            Message::MySqlQuery => packet(0, b"\x03SELECT 1 FROM t"),
            Message::MySqlOk => packet(1, b"\0\x01\0\x02\0\0\0"),
            Message::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// A MySQL packet.
fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes()[..3], &[sequence], payload].concat()
}

#[derive(Default)]
struct Host {
    events: Vec<Event>,
    time: Time,
    turns: HashMap<(Pid, u32), u32>,
    goroutines: HashMap<(Pid, u32), Goroutine>,
    coroutines: HashMap<(Pid, u32), Coroutine>,
    positions: HashMap<(SocketId, bool), u32>,
}

impl Host {
    fn act(&mut self, Act { wait, who, socket, what }: Act) {
        let time = self.time.saturating_add_signed(i64::from(wait) * 1000);
        self.time = self.time.max(time);
        let (pid, tid) = (Pid::from(who >> 4), u32::from(who & 15));
        let task = Task {
            goroutine: self.goroutines.get(&(pid, tid)).copied(),
            coroutine: self.coroutines.get(&(pid, tid)).copied(),
            ..Task::thread(pid, tid, *self.turns.entry((pid, tid)).or_default())
        };
        let socket = SocketId::from(socket % 16);
        let event = match what {
            What::Wait => {
                *self.turns.entry((pid, tid)).or_default() += 1;
                return;
            }
            What::Call { read, bytes } => {
                let bytes = bytes.bytes();
                self.moved(socket, task, read, time, 0, (&bytes, 0, &[]))
            }
            What::Odd { read, bytes, jump, head, missing, tail } => {
                let bytes = bytes.bytes();
                let (head, rest) = bytes.split_at(usize::from(head).min(bytes.len()));
                let tail = &rest[rest.len() - usize::from(tail).min(rest.len())..];
                self.moved(socket, task, read, time, jump, (head, missing.into(), tail))
            }
            What::Socket { origin, local, peer, positions } => {
                let origin = [Origin::Unknown, Origin::Connected, Origin::Accepted][usize::from(origin % 3)];
                let (local, peer) = (address(local), address(peer));
                Event::Socket(Socket { id: socket, time, task, local, peer, netns: 1, positions, origin })
            }
            What::End { end, positions } => {
                let ends = [End::Closed, End::ShutWrite, End::PeerClosed, End::Reset, End::TimedOut];
                Event::End { socket, task, time, positions, end: ends[usize::from(end % 5)] }
            }
            What::Exit => Event::Exit { time, pid },
            What::Process { go } => {
                let runtime = if go { Runtime::Go } else { Runtime::Threads };
                Event::Process(Arc::new(Process { runtime, ..Process::unknown(pid, None) }))
            }
            What::Wakes { other, starts: false } => {
                let (woken, futex) = (u32::from(other & 15), NonZeroU64::new(u64::from(other >> 4 & 7)));
                Event::Wake { time, task, woken, futex, lock: other >> 7 == 1 }
            }
            What::Wakes { other: 16.., starts: true } => Event::Goroutine { time, task },
            What::Wakes { other, starts: true } => Event::Thread { time, task, started: u32::from(other & 15) },
            What::Goroutine { id, works_for, handed } => {
                let works_for = match (works_for % 8, handed) {
                    (0, _) => None,
                    (id, true) => Some(WorksFor::HandedBy(id.into())),
                    (id, false) => Some(WorksFor::StartedBy(id.into())),
                };
                match id % 8 {
                    0 => self.goroutines.remove(&(pid, tid)),
                    id => self.goroutines.insert((pid, tid), Goroutine { id: id.into(), works_for }),
                };
                return;
            }
            What::Coroutine { id, numbered } => {
                match id % 8 {
                    0 => self.coroutines.remove(&(pid, tid)),
                    id if numbered => self.coroutines.insert((pid, tid), Coroutine::Task(id.into())),
                    id => self.coroutines.insert((pid, tid), Coroutine::Context(id.into())),
                };
                return;
            }
            What::Context { read, trace, span } => {
                let direction = if read { Direction::Read } else { Direction::Write };
                let position = *self.positions.entry((socket, read)).or_default();
                let span_id = span.map(|span| [span; 8]);
                Event::Context(Context { socket, task, direction, time, position, trace_id: [trace; 16], span_id })
            }
            What::Lost(n) => {
                // The engine counts the others itself.
                let cause = [Loss::RingFull, Loss::MapFull][usize::from(n % 2)].name().to_owned();
                Event::Lost { time, cause, count: n.into() }
            }
            What::Tick => Event::Tick { time },
            What::Long => {
                self.time = self.time.saturating_add(60_000_000_000);
                Event::Tick { time: self.time }
            }
            What::Start { wall_offset } => {
                Event::Start { version: 1, wall_offset, seed: "07".repeat(32), limits: Limits::DEFAULT }
            }
            What::Broken { position, length, head, tail, time } => {
                let direction = Direction::Read;
                let (head, tail) = (head.into(), tail.into());
                Event::Data(Data { socket, task, direction, time, position, length, head, tail })
            }
            What::Begun { id, ago, above } => {
                let began = |ago: u8| time.saturating_sub(u64::from(ago) * 1000);
                let task = Task { coroutine: Some(Coroutine::Context(u32::from(id % 8))), ..task };
                let ancestor = |above: u8| Ancestor {
                    context: u32::from(above % 8),
                    began: Some(began(above / 8)).filter(|_| above >= 8),
                };
                Event::Coroutine { time: began(ago), task, ancestors: above.map(ancestor).to_vec() }
            }
        };
        self.events.push(event);
    }

    fn moved(
        &mut self,
        socket: SocketId,
        task: Task,
        read: bool,
        time: Time,
        jump: i16,
        (head, missing, tail): (&[u8], u64, &[u8]),
    ) -> Event {
        let next = self.positions.entry((socket, read)).or_default();
        let position = next.wrapping_add_signed(jump.into());
        let length = head.len() as u64 + missing + tail.len() as u64;
        *next = position.wrapping_add(length as u32);
        let direction = if read { Direction::Read } else { Direction::Write };
        let (head, tail) = (Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail));
        Event::Data(Data { socket, task, direction, time, position, length, head, tail })
    }
}

/// One of a few addresses, among them the two ends of the same connection.
fn address(n: u8) -> Address {
    match n % 8 {
        0 => Address::Unix(n.into(), None),
        1 => Address::Unix(n.into(), Some("/run/a.sock".to_owned())),
        n => Address::Inet([127, 0, 0, 1].into(), [80, 5432, 3306, 40_000, 40_001, 40_002][usize::from(n) - 2]),
    }
}
