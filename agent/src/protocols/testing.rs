//! Plays the part of the stream for the tests of a protocol: a buffer for each direction that honours [`Taken`].

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    event::{End, Time},
    protocols::{Exchange, FOREVER, Input, Missing, Protocol, Role, Signal, Signals, Taken},
    streams::BUFFER_LIMIT,
    traces::span::Value,
};

/// A parser and the bytes it has not taken yet.
pub(crate) struct Driver {
    protocol: Box<dyn Protocol>,
    client: Side,
    server: Side,
    last_sender: Option<Role>,
    pub(crate) signals: Signals,
    /// The most bytes that were ever kept of a direction.
    pub(crate) most_kept: usize,
}

#[derive(Default)]
struct Side {
    kept: Vec<u8>,
    /// The calls that the kept bytes came with, oldest first.
    calls: Vec<Call>,
    position: u32,
    skip: u64,
    /// Whole calls are missing before the next one.
    gap: bool,
}

#[derive(Clone, Copy)]
struct Call {
    length: usize,
    time: Time,
    turned: bool,
    /// The byte that begins the turn was not taken yet.
    whole: bool,
}

impl Driver {
    pub(crate) fn new(protocol: Box<dyn Protocol>) -> Self {
        let (client, server) = (Side::default(), Side::default());
        Self { protocol, client, server, last_sender: None, signals: Vec::new(), most_kept: 0 }
    }

    /// One call that moved these bytes.
    pub(crate) fn send(&mut self, from: Role, time: Time, bytes: &[u8]) {
        self.call(from, time, bytes, 0, b"");
    }

    /// One call of which only the head and the tail were captured.
    pub(crate) fn call(&mut self, from: Role, time: Time, head: &[u8], missing: u64, tail: &[u8]) {
        // After a gap nobody knows where a turn began.
        let gap = std::mem::take(&mut self.side(from).gap);
        let turned = self.last_sender != Some(from) && !gap;
        self.last_sender = Some(from);
        self.bytes(from, Call { length: head.len(), time, turned, whole: true }, head);
        if missing > 0 {
            self.missing(from, time, missing, Missing::Part);
            self.bytes(from, Call { length: tail.len(), time, turned: false, whole: true }, tail);
        }
    }

    /// Calls of which nothing was seen; it shows when the next bytes come.
    pub(crate) fn gap(&mut self, from: Role, time: Time, length: u64) {
        self.side(from).gap = true;
        self.missing(from, time, length, Missing::Calls);
    }

    pub(crate) fn end(&mut self, from: Role, end: End, time: Time) {
        self.protocol.end(from, end, time, &mut self.signals);
    }

    /// Both ends, the observed process's own first, as the stream does for `Closed`, `Reset` and `TimedOut`.
    pub(crate) fn end_both(&mut self, own: Role, end: End, time: Time) {
        self.end(own, end, time);
        self.end(if own == Role::Client { Role::Server } else { Role::Client }, end, time);
    }

    /// What was signalled since this was last called.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.signals)
    }

    fn side(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    fn bytes(&mut self, from: Role, call: Call, bytes: &[u8]) {
        let passed = usize::try_from(self.side(from).skip).unwrap_or(usize::MAX).min(bytes.len());
        self.pass(from, call.time, passed as u64);
        if passed == bytes.len() {
            return;
        }
        let side = self.side(from);
        side.kept.extend_from_slice(&bytes[passed..]);
        side.calls.push(Call { length: bytes.len() - passed, whole: passed == 0, ..call });
        self.offer(from);
    }

    fn missing(&mut self, from: Role, time: Time, length: u64, kind: Missing) {
        let skip = self.side(from).skip;
        let passed = skip.min(length);
        self.pass(from, time, passed);
        if passed < length {
            let side = self.side(from);
            let dropped = (side.kept.len() as u64 + length - passed) as u32;
            side.position = side.position.wrapping_add(dropped);
            side.kept.clear();
            side.calls.clear();
            self.protocol.lost(from, kind, time, &mut self.signals);
        }
    }

    /// Passes over bytes that are to be skipped.
    fn pass(&mut self, from: Role, time: Time, length: u64) {
        let side = self.side(from);
        if length == 0 || side.skip == FOREVER {
            return;
        }
        side.skip -= length;
        side.position = side.position.wrapping_add(length as u32);
        if side.skip == 0 {
            self.protocol.skipped(from, time, &mut self.signals);
        }
    }

    fn offer(&mut self, from: Role) {
        loop {
            let side = self.side(from);
            let (Some(first), Some(last)) = (side.calls.first().copied(), side.calls.last().copied()) else { return };
            let kept = std::mem::take(&mut side.kept);
            let input = Input {
                bytes: &kept,
                first: first.time,
                last: last.time,
                position: side.position,
                turned: first.turned && first.whole,
            };
            let taken = self.protocol.read(from, input, &mut self.signals);
            let side = self.side(from);
            side.kept = kept;
            match taken {
                Taken::More => {
                    let length = side.kept.len();
                    self.most_kept = self.most_kept.max(length);
                    if length > BUFFER_LIMIT {
                        self.missing(from, last.time, 1, Missing::Part);
                    }
                    return;
                }
                Taken::Bytes(bytes) => {
                    assert!(bytes > 0, "took nothing");
                    self.remove(from, bytes);
                }
                Taken::Skip { bytes, skip } => {
                    assert!(skip > 0, "skips nothing");
                    self.remove(from, bytes);
                    self.side(from).skip = skip;
                    while self.side(from).skip > 0 && !self.side(from).kept.is_empty() {
                        let side = self.side(from);
                        let Call { length, time, .. } = side.calls[0];
                        let passed = usize::try_from(side.skip).unwrap_or(usize::MAX).min(length);
                        let forever = side.skip == FOREVER;
                        self.remove(from, passed);
                        if !forever {
                            let side = self.side(from);
                            side.position = side.position.wrapping_sub(passed as u32);
                            self.pass(from, time, passed as u64);
                        }
                    }
                }
            }
        }
    }

    /// Drops kept bytes from the front.
    fn remove(&mut self, from: Role, mut bytes: usize) {
        let side = self.side(from);
        assert!(bytes <= side.kept.len(), "took {bytes} of {}", side.kept.len());
        side.kept.drain(..bytes);
        side.position = side.position.wrapping_add(bytes as u32);
        while bytes > 0 {
            let call = &mut side.calls[0];
            let part = call.length.min(bytes);
            call.length -= part;
            call.whole = false;
            bytes -= part;
            if call.length == 0 {
                side.calls.remove(0);
            }
        }
    }
}

/// Signals of HTTP in short: `+0` opened, `.0` requested, `-0 200` closed with this status, `-0 !timeout` with this error,
/// `~0` dropped.
pub(crate) fn brief(signals: &[Signal]) -> Vec<String> {
    let one = |signal: &Signal| match signal {
        Signal::Opened { exchange, .. } => format!("+{exchange}"),
        Signal::Requested(exchange) => format!(".{exchange}"),
        Signal::Closed(exchange, what) => {
            let told = attributes(what);
            let status = told.get("http.response.status_code").map(|status| format!(" {status}")).unwrap_or_default();
            let error = told.get("error.type").map(|error| format!(" !{error}")).unwrap_or_default();
            format!("-{exchange}{status}{error}")
        }
        Signal::Ready => "ready".to_owned(),
        Signal::Lost(loss) => format!("lost {loss}"),
        Signal::Incomplete(_) => "lost incomplete".to_owned(),
        Signal::Abandon(loss) => format!("abandon {loss}"),
        Signal::Dropped(exchange) => format!("~{exchange}"),
        Signal::Switched => "switched".to_owned(),
    };
    signals.iter().map(one).collect()
}

/// The attributes of an exchange as text.
pub(crate) fn attributes(exchange: &Exchange) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Strings(texts) => format!("{texts:?}"),
    };
    let told: BTreeMap<_, _> = exchange.attributes.iter().map(|(key, value)| (key.to_string(), text(value))).collect();
    assert_eq!(told.len(), exchange.attributes.len(), "keys are unique");
    told
}

/// Every exchange is opened once, requested at most once, and closed once, by the end of the connection.
pub(crate) fn each_is_opened_and_closed_once(signals: &[Signal]) -> Result<(), TestCaseError> {
    let (mut open, mut requested, mut next) = (BTreeSet::new(), BTreeSet::new(), 0);
    for signal in signals {
        match signal {
            Signal::Opened { exchange, .. } => {
                prop_assert_eq!(*exchange, next);
                next += 1;
                open.insert(*exchange);
            }
            Signal::Requested(exchange) => {
                prop_assert!(open.contains(exchange) && requested.insert(*exchange));
            }
            Signal::Closed(exchange, what) => {
                prop_assert!(open.remove(exchange));
                prop_assert!(what.start <= what.end);
                attributes(what);
            }
            _ => {}
        }
    }
    prop_assert!(open.is_empty());
    Ok(())
}

/// The same calls, whole to the one and in pieces of `size` bytes to the other, are told alike until something is lost: once a
/// rule was broken, it matters how much of the rest belongs to one call.
pub(crate) fn cuts_do_not_matter_to(
    [mut whole, mut cut]: [Driver; 2],
    calls: impl Iterator<Item = (Role, Vec<u8>)>,
    size: usize,
) -> Result<(), TestCaseError> {
    let is_lost = |signal: &Signal| matches!(signal, Signal::Lost(_) | Signal::Incomplete(_) | Signal::Abandon(_));
    for (from, bytes) in calls {
        whole.send(from, 1, &bytes);
        bytes.chunks(size).for_each(|part| cut.send(from, 1, part));
        if [&whole, &cut].iter().any(|driver| driver.signals.iter().any(is_lost)) {
            return Ok(());
        }
        prop_assert_eq!(&whole.signals, &cut.signals);
    }
    Ok(())
}

/// The exchanges that were closed.
pub(crate) fn closed(signals: &[Signal]) -> Vec<&Exchange> {
    signals
        .iter()
        .filter_map(|signal| if let Signal::Closed(_, what) = signal { Some(&**what) } else { None })
        .collect()
}
