#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::{io::Cursor, sync::Arc};

use super::*;
use crate::{
    engine::{Engine, Output},
    event::{Address, Context, Data, Direction, End, Limits, Origin, Socket, Task},
    export::json,
    processes::{Process, Runtime},
    protocols::Options,
    streams::Loss,
    traces::span::{Evidence, Span},
};

const DOCUMENT: &str = include_str!("../../../../docs/recording.md");

fn read(text: impl AsRef<[u8]>) -> Result<Vec<Event>, RecordingError> {
    super::read("test", Cursor::new(text.as_ref().to_vec())).collect()
}

fn replay(events: &[Event]) -> Vec<Span> {
    let mut engine = Engine::new(Options::default(), Evidence::Task);
    let mut output = Output::default();
    for event in events {
        engine.step(event.clone(), &mut output);
    }
    engine.finish(&mut output);
    output.spans
}

fn example() -> &'static str {
    DOCUMENT.split("```jsonl\n").nth(1).unwrap().split("```").next().unwrap()
}

/// One of every kind of event, with every member set.
fn every_event() -> Vec<Event> {
    let task = Task::thread(1, 2, 3);
    let inet = |address: &str, port| Address::Inet(address.parse().unwrap(), port);
    let unix = |number, path: Option<&str>| Address::Unix(number, path.map(str::to_owned));
    let socket = |local, peer, origin| {
        Event::Socket(Socket {
            id: u64::from(u32::MAX),
            time: 5,
            task,
            local,
            peer,
            netns: 6,
            origin,
            positions: Some([1, 2]),
        })
    };
    let data = |direction, head: &'static [u8], tail: &'static [u8]| {
        let (head, tail) = (head.into(), tail.into());
        Event::Data(Data { socket: 7, task, direction, time: 8, position: u32::MAX, length: 1 << 40, head, tail })
    };
    let context = |direction, span_id| {
        let trace_id = std::array::from_fn(|n| 0xf0 + n as u8);
        Event::Context(Context { socket: 7, task, direction, time: 8, position: u32::MAX, trace_id, span_id })
    };
    let mut events = vec![
        Event::Start {
            version: RECORDING_VERSION,
            wall_offset: -9,
            seed: "ab".repeat(32),
            limits: Limits { head: 300, sql: 400 },
        },
        Event::Process(Arc::new(Process {
            pid: 1,
            started: 10,
            runtime: Runtime::Go,
            resource: vec![("service.name".to_owned(), "sh\u{f6}p \"\n".to_owned())],
        })),
        Event::Exit { time: u64::MAX, pid: 1 },
        socket(inet("127.0.0.1", 1), inet("::1", 2), Origin::Connected),
        socket(unix(3, Some("@abstract")), unix(4, None), Origin::Accepted),
        socket(unix(3, None), unix(4, None), Origin::Unknown),
        data(Direction::Read, b"\0\xff", b"tail"),
        data(Direction::Write, b"", b""),
        context(Direction::Write, Some([1, 0xab, 3, 4, 5, 6, 7, 0xff])),
        context(Direction::Read, None),
        Event::Lost { time: 11, cause: Loss::RingFull.name().to_owned(), count: 12 },
        Event::Tick { time: 13 },
    ];
    for end in [End::Closed, End::ShutWrite, End::PeerClosed, End::Reset, End::TimedOut] {
        events.push(Event::End { socket: 7, task, time: 14, end, positions: Some([7, 8]) });
    }
    events
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.jsonl");
    let mut writer = Writer::create(&path).unwrap();
    for event in every_event() {
        writer.write(&event).unwrap();
    }
    writer.finish().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let events = read(std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(events, every_event());
    let lines: String = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    assert_eq!(lines, std::fs::read_to_string(&path).unwrap());
}

#[test]
fn a_pipe_keeps_its_mode() {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    // Somebody reads it, or opening it for writing would wait.
    let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let before = std::fs::metadata(&path).unwrap().permissions().mode();
    Writer::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode(), before);
}

#[test]
fn a_replayed_recording_gives_the_same_bytes() {
    let events = read(example()).unwrap();
    let spans = replay(&events);
    let lines: Vec<u8> =
        events.iter().flat_map(|event| [serde_json::to_vec(event).unwrap(), vec![b'\n']].concat()).collect();
    let again = replay(&read(lines).unwrap());
    assert_eq!(spans, again);
    let json = |spans: &[Span]| {
        let mut out = Vec::new();
        json::write(&mut out, spans).unwrap();
        out
    };
    assert!(!json(&spans).is_empty());
    assert_eq!(json(&spans), json(&again));
}

/// Every member and every name that is written is in the document.
#[test]
fn the_document_names_everything() {
    fn names(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    found.push(name.clone());
                    if ["event", "end", "origin", "direction", "runtime"].contains(&name.as_str()) {
                        found.extend(value.as_str().map(str::to_owned));
                    }
                    names(value, found);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    let mut found = vec![format!("| `version` | {RECORDING_VERSION} |")];
    for event in every_event() {
        names(&serde_json::to_value(event).unwrap(), &mut found);
    }
    for name in found {
        assert!(DOCUMENT.contains(&name), "{name} is not in docs/recording.md");
    }
}

#[test]
fn what_is_optional_may_be_missing_and_what_is_unknown_is_ignored() {
    let start = r#"{"version":1,"seed":"","wall_offset":0,"host":{"later":1},"event":"start"}"#;
    let process = r#"{"event":"process","pid":1,"resource":[]}"#;
    let events = read(format!("\n{start}\r\n\n{process}\n\n")).unwrap();
    let Event::Process(process) = &events[1] else { panic!() };
    assert_eq!((process.started, process.runtime, process.service_name()), (0, Runtime::Threads, "unknown_service"));
}

#[test]
fn a_line_that_was_cut_off_is_left_out() {
    let whole = read(example()).unwrap();
    let text = example();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    for end in last + 1..text.len() - 2 {
        assert_eq!(read(&text[..end]).unwrap(), whole[..whole.len() - 1], "cut at {end}");
    }
    // Within the file it is an error.
    let broken = format!("{}\n{}", &text[..last - 20], &text[last..]);
    assert!(matches!(read(broken), Err(RecordingError::Line { line: 6, .. })));
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    let start = example().lines().next().unwrap();
    let error = |text: String| read(text).unwrap_err().to_string();
    for text in [
        "",
        "\n\n",
        "hello",
        "{\"event\":\"tick\",\"time\":1}\n",
        "\n{\"event\":\"tick\",\"time\":1}\n",
        "\u{d4}\u{c3}",
    ] {
        assert!(error(text.to_owned()).contains("its first line must be the start event"), "{text}");
    }
    let later = error(start.replace("\"version\":1", "\"version\":2"));
    assert!(later.contains("format 2") && later.contains("reads format 1"), "{later}");
    let unknown = error(format!("{start}\n{{\"event\":\"dance\"}}\n"));
    assert!(unknown.contains("line 2") && unknown.contains("docs/recording.md"), "{unknown}");
    let bytes = error(example().replace("\"head\":\"", "\"head\":\"*"));
    assert!(bytes.contains("line 4"), "{bytes}");
    for id in [
        "",
        "0",
        "0102030405060708090a0b0c0d0e0f1",
        "0102030405060708090a0b0c0d0e0f1g",
        "\u{e9}102030405060708090a0b0c0d0e0f10",
    ] {
        let task = r#""task":{"pid":1,"tid":1,"turn":0},"time":1"#;
        let context =
            format!(r#"{{"event":"context","socket":1,{task},"direction":"read","position":0,"trace_id":"{id}"}}"#);
        assert!(error(format!("{start}\n{context}\n")).contains("32 hexadecimal digits"), "{id}");
    }
    let long = error(format!("{start}\n{}", "x".repeat(LINE_LIMIT as usize)));
    assert!(long.contains("line 2 is longer"), "{long}");
}
