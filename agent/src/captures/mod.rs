//! Packet captures: what `tcpdump` wrote, as the same events that a recording has.
//!
//! A file ([`file`]) has packets, a packet ([`packet`]) has a TCP segment, the segments of a connection ([`connection`],
//! [`reassembly`]) are put in order, and what they carry is told as events of both ends ([`telling`]): the wire shows what a
//! client wrote and a server read. Who they are is said by their addresses ([`parties`]). docs/captures.md is the user's view.

mod connection;
mod connections;
mod file;
mod packet;
mod parties;
mod reassembly;
mod telling;
#[cfg(test)]
mod testing;

use std::io::Read;

use uuid::Uuid;

use self::{connections::Connections, file::File};
pub use self::{file::FileError, reassembly::SEGMENT_COST};
use crate::{
    event::{Data, Event, Limits, RECORDING_VERSION, Time},
    streams::{Loss, order::WINDOW},
};

/// How many of a file's first bytes say what it is, and make its ids its own: the headers and first packets, times included.
pub const BEGINNING: u64 = 4096;

/// Captured bytes that are told for one moment of the capture, before the next is claimed to have come: the engine holds
/// events back for a while, and a file may say that everything happened at once.
const MOMENT: usize = 64 * 1024 * 1024;

/// Reads a packet capture.
pub struct Reader {
    file: File,
    connections: Connections,
    /// The file's end was told.
    finished: bool,
    /// The latest time that was claimed to have come, and the bytes told since.
    moment: (Time, usize),
}

impl Reader {
    /// Whether a file that begins like this is a packet capture (pcap or pcapng).
    #[must_use]
    pub fn is_capture(beginning: &[u8]) -> bool {
        File::is_capture(beginning)
    }

    /// A file from its beginning: its first [`BEGINNING`] bytes (or all, if it has less), and the rest. `path` is for messages.
    ///
    /// # Errors
    ///
    /// It is too short, or its first block is damaged.
    pub fn new(path: String, beginning: Vec<u8>, rest: impl Read + Send + 'static) -> Result<Self, FileError> {
        let mut connections = Connections::new();
        connections.telling.events.push_back(Event::Start {
            version: RECORDING_VERSION,
            wall_offset: 0, // packets have wall time
            seed: seed(&beginning),
            limits: Limits::DEFAULT,
        });
        let file = File::new(path, std::io::Cursor::new(beginning).chain(rest))?;
        Ok(Self { file, connections, finished: false, moment: (0, 0) })
    }

    /// The next event; `None` at the end. The first is always [`Event::Start`].
    ///
    /// # Errors
    ///
    /// The file cannot be read, is damaged here, or has a link type that is not known.
    pub fn next_event(&mut self) -> Result<Option<Event>, FileError> {
        loop {
            if let Some(event) = self.connections.telling.events.pop_front() {
                self.pass_time(&event);
                return Ok(Some(event));
            }
            if self.finished {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Memory that segments take up while they wait for earlier ones, bytes: what was captured of them, and [`SEGMENT_COST`] for each.
    #[must_use]
    pub fn held(&self) -> usize {
        self.connections.held()
    }

    /// Reads a packet, or the end.
    fn read(&mut self) -> Result<(), FileError> {
        let connections = &mut self.connections;
        let more = self.file.next(|packet| match packet.segment() {
            Ok(Some(segment)) => {
                if (segment.payload.len() as u64) < segment.length {
                    connections.telling.losses.count(Loss::PacketCut);
                }
                connections.segment(&segment, packet.time);
            }
            Ok(None) => {}
            Err(packet::Unreadable) => connections.telling.losses.count(Loss::PacketUnreadable),
        })?;
        if !more {
            self.finished = true;
            connections.finish();
            let time = connections.now();
            let telling = &mut connections.telling;
            telling.events.extend(telling.losses.iter().map(|(cause, count)| {
                let cause = cause.name().to_owned();
                Event::Lost { time, cause, count }
            }));
            telling.events.push_back(Event::Tick { time });
        }
        Ok(())
    }

    /// Keeps what the engine holds back within a bound.
    fn pass_time(&mut self, event: &Event) {
        let Event::Data(Data { time, head, .. }) = event else { return };
        let (since, told) = &mut self.moment;
        if *time >= since.saturating_add(WINDOW) {
            (*since, *told) = (*time, 0);
        }
        *told += head.len();
        if *told > MOMENT {
            let time = time.saturating_add(WINDOW);
            self.moment = (time, 0);
            self.connections.telling.events.push_front(Event::Tick { time });
        }
    }
}

/// The source of all ids: the same for the same file, another one for another.
fn seed(beginning: &[u8]) -> String {
    let [one, other] = [Uuid::NAMESPACE_OID, Uuid::NAMESPACE_URL].map(|space| Uuid::new_v5(&space, beginning));
    format!("{}{}", one.simple(), other.simple())
}

#[cfg(test)]
mod tests;
