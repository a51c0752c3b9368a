//! Headers that the programs inserted on the way to TCP (`--propagate headers`), put into what the system calls told.
//!
//! A system call shows the application's bytes; the peer reads those and the header. From here on there is only what was sent, so the two
//! ends of a connection count alike, as they do without.

use std::num::NonZeroUsize;

use bytes::Bytes;
use lru::LruCache;
use syspan_abi::propagation::{HEADER_BEGIN, HEADER_LENGTH};

use crate::event::{Context, Data, Direction, SocketId};

/// Insertions whose bytes have not been told yet: one for each thread at most, unless events are lost.
const LIMIT: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Insertions that wait for the bytes around them.
#[derive(Debug)]
pub struct Insertions(LruCache<SocketId, Insertion>);

/// A header in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insertion {
    /// The request's.
    pub context: Context,
    /// How many of the request's bytes are before it.
    pub offset: u32,
    /// Its flags.
    pub flags: u8,
}

impl Default for Insertions {
    fn default() -> Self {
        Self(LruCache::new(LIMIT))
    }
}

impl Insertions {
    /// A header was inserted, into bytes that are told next.
    pub fn inserted(&mut self, insertion: Insertion) {
        self.0.push(insertion.context.socket, insertion);
    }

    /// Makes of the bytes that were given to a system call those that were sent.
    pub fn complete(&mut self, data: &mut Data) {
        if data.direction != Direction::Write || self.0.is_empty() {
            return;
        }
        let Some(insertion) = self.0.pop(&data.socket) else { return };
        let Ok(offset) = usize::try_from(insertion.offset) else { return };
        if insertion.context.position != data.position {
            return; // the request's own bytes were lost
        }
        data.length += u64::from(HEADER_LENGTH);
        // What was not captured of the request lies in the middle, and what was inserted there too.
        if let Some((before, after)) = data.head.split_at_checked(offset) {
            data.head = Bytes::from([before, header(&insertion).as_bytes(), after].concat());
        }
    }
}

/// The header as the programs write it.
fn header(insertion: &Insertion) -> String {
    let Insertion { context, offset: _, flags } = insertion;
    let begin = String::from_utf8_lossy(&HEADER_BEGIN);
    let digits = |id: &[u8]| -> String { id.iter().map(|byte| format!("{byte:02x}")).collect() };
    let span = context.span_id.unwrap_or_default();
    format!("{begin}{}-{}-{:02x}\r\n", digits(&context.trace_id), digits(&span), flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Task;

    const REQUEST: &[u8] = b"GET /item?id=1 HTTP/1.1\r\nHost: shop\r\n\r\n";
    const LINE: u32 = 25;

    fn insertion(position: u32) -> Insertion {
        let context = Context {
            socket: 7,
            task: Task::thread(1, 1, 0),
            direction: Direction::Write,
            time: 5,
            position,
            trace_id: [0xab; 16],
            span_id: Some([0x0c; 8]),
        };
        Insertion { context, offset: LINE, flags: 1 }
    }

    fn data(position: u32, head: &'static [u8], length: u64) -> Data {
        let (head, tail) = (Bytes::from_static(head), Bytes::new());
        let (task, direction) = (Task::thread(1, 1, 0), Direction::Write);
        Data { socket: 7, task, direction, time: 5, position, length, head, tail }
    }

    #[test]
    fn the_header_is_where_the_peer_reads_it() {
        let mut insertions = Insertions::default();
        insertions.inserted(insertion(100));
        let mut sent = data(100, REQUEST, 41);
        insertions.complete(&mut sent);
        let text = "GET /item?id=1 HTTP/1.1\r\ntraceparent: 00-abababababababababababababababab-0c0c0c0c0c0c0c0c-01\r\n\
                    Host: shop\r\n\r\n";
        assert_eq!((sent.length, &*sent.head), (41 + 70, text.as_bytes()));
        // Once.
        let mut next = data(100 + 111, REQUEST, 41);
        insertions.complete(&mut next);
        assert_eq!(next, data(100 + 111, REQUEST, 41));
    }

    #[test]
    fn behind_what_was_captured_only_the_length_grows() {
        let mut insertions = Insertions::default();
        insertions.inserted(insertion(100));
        let mut sent = data(100, b"GET /item", 41);
        insertions.complete(&mut sent);
        assert_eq!(sent, data(100, b"GET /item", 111));
    }

    #[test]
    fn bytes_that_it_is_not_in_are_left_alone() {
        let mut insertions = Insertions::default();
        insertions.inserted(insertion(100));
        let mut other = Data { socket: 8, ..data(100, REQUEST, 41) };
        insertions.complete(&mut other);
        assert_eq!(other, Data { socket: 8, ..data(100, REQUEST, 41) });
        let mut later = data(200, REQUEST, 41);
        insertions.complete(&mut later);
        assert_eq!(later, data(200, REQUEST, 41));
    }
}
