//! A recording that somebody else wrote.

use std::{io::Cursor, iter};

use syspan::{cli::recording::read, event::Event};

use crate::spans;

/// Whatever is read is written and read again unchanged, and gives spans that are possible.
pub fn recording(bytes: &[u8]) {
    let events: Vec<Event> = read("fuzz", Cursor::new(bytes.to_vec())).map_while(Result::ok).collect();
    for event in &events {
        let line = serde_json::to_string(event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).ok().as_ref(), Some(event), "{line}");
    }
    assert!(events.first().is_none_or(|first| matches!(first, Event::Start { .. })));
    spans::run(iter::empty().chain(events));
}
