//! A packet capture that somebody else wrote.

use std::{
    collections::HashMap,
    io::{self, Cursor, Read},
};

use syspan::{
    captures::{BEGINNING, Reader, SEGMENT_COST},
    event::{Data, Direction, Event, SocketId, Time},
};

use crate::spans;

/// Bytes that the slow reader gives at once.
const PIECE: usize = 7;

/// What comes before a segment's bytes, at least: headers of a packet in the file, of IP and of TCP.
const HEADERS: usize = 12 + 20 + 20;

/// The events are those of connections: each end is announced, its times never go back, and its bytes are told in order and without
/// a jump, holes included. They are the same however the file is read, and give the same spans. What waits is counted.
pub fn captures(bytes: &[u8]) {
    if !Reader::is_capture(bytes) {
        return;
    }
    let events = read(bytes, |rest| rest);
    assert_eq!(events, read(bytes, Pieces), "the same file, read in pieces");
    check(&events);
    assert_eq!(spans::run(events.clone()), spans::run(events), "the same capture");
}

/// The events up to the end, or to where the file is damaged.
fn read<R: Read + Send + 'static>(bytes: &[u8], rest: impl FnOnce(Cursor<Vec<u8>>) -> R) -> Vec<Event> {
    let (beginning, after) = bytes.split_at(bytes.len().min(BEGINNING as usize));
    let rest = rest(Cursor::new(after.to_vec()));
    let Ok(mut reader) = Reader::new("fuzz".to_owned(), beginning.to_vec(), rest) else { return Vec::new() };
    let mut events = Vec::new();
    loop {
        // Every captured byte waits once at most, and every segment that waits is in the file.
        let limit = bytes.len() + bytes.len() / HEADERS * SEGMENT_COST;
        assert!(reader.held() <= limit, "{} bytes held of a file of {}", reader.held(), bytes.len());
        match reader.next_event() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => {
                assert_eq!(reader.held(), 0, "nothing waits at the end");
                return events;
            }
            Err(_) => return events,
        }
    }
}

/// Gives a few bytes at a time.
struct Pieces(Cursor<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(PIECE);
        self.0.read(&mut buffer[..length])
    }
}

/// What was told of an end of a connection.
#[derive(Default)]
struct End {
    time: Time,
    /// Position of the next byte, by direction (written or not).
    next: [Option<u32>; 2],
}

fn check(events: &[Event]) {
    assert!(events.first().is_none_or(|first| matches!(first, Event::Start { .. })));
    let mut ends: HashMap<SocketId, End> = HashMap::new();
    let mut latest = 0;
    for event in events {
        let socket = match event {
            Event::Socket(socket) => {
                assert!(ends.insert(socket.id, End::default()).is_none(), "announced twice: {socket:?}");
                socket.id
            }
            Event::Data(data) => data.socket,
            Event::End { socket, .. } => *socket,
            Event::Start { .. } | Event::Process(_) | Event::Exit { .. } => continue,
            Event::Wake { .. }
            | Event::Thread { .. }
            | Event::Goroutine { .. }
            | Event::Coroutine { .. }
            | Event::Context(_) => {
                panic!("packets do not tell of threads, nor of contexts beside them: {event:?}")
            }
            Event::Lost { time, .. } | Event::Tick { time } => {
                assert!(*time >= latest, "{event:?} after {latest}");
                continue;
            }
        };
        let end = ends.get_mut(&socket).expect("a socket is announced first");
        let time = event.time().expect("what a socket does has a time");
        assert!(time >= end.time, "time goes on: {event:?}");
        end.time = time;
        latest = latest.max(time);
        if let Event::Data(data) = event {
            follows(&mut end.next[usize::from(data.direction == Direction::Write)], data);
        }
    }
}

/// The bytes go on where those before them ended; some may have been told before.
fn follows(next: &mut Option<u32>, data: &Data) {
    let Data { position, length, head, tail, .. } = data;
    assert!(head.len() as u64 <= *length && tail.is_empty(), "{data:?}");
    let known = u64::from(next.unwrap_or(*position).wrapping_sub(*position));
    assert!(known < *length, "the next is {next:?}, told is {data:?}");
    *next = Some(position.wrapping_add(*length as u32));
}
