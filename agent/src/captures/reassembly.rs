//! The segments of one direction of a connection, in the order of the stream.
//!
//! A segment that comes before its turn waits until the ones before it have come: they were sent later (lost and sent again), or
//! the capture has them in another order. If the receiver has acknowledged what is missing, it will never come: the capture
//! lacks it, and the stream goes on behind the hole. Sequence numbers are compared as RFC 9293 §3.4 does, and counted in 64 bits
//! here so that they do not wrap.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Where counting begins: far enough from 0 that what lies before the first segment has a number too.
const ORIGIN: u64 = 1 << 32;

/// Bytes beyond the expected one that a sender may have on its way: the largest window (RFC 7323 §2.3: 2¹⁶ · 2¹⁴). A segment
/// further away belongs to something else.
const WINDOW: u64 = 1 << 30;

/// What waiting for its turn costs beyond the bytes of a segment; segments may be as small as one byte.
pub const SEGMENT_COST: usize = 128;

/// Bytes of a direction whose turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Sequence number of the first. A part at the beginning may have been delivered before.
    pub sequence: u32,
    /// The captured bytes, from the first on.
    pub bytes: Bytes,
    /// How many were sent.
    pub length: u64,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Number of the next byte, once anything was seen.
    next: Option<u64>,
    /// Number of the first byte that the receiver has not acknowledged.
    acknowledged: u64,
    /// Segments that came before their turn, by the number of their first byte.
    waiting: BTreeMap<u64, Piece>,
    /// What they cost.
    held: usize,
    /// Number of the byte that would follow the last one.
    end: Option<u64>,
}

impl Stream {
    /// The first byte has this sequence number: whether that can be, by what was seen so far.
    pub(super) fn begin(&mut self, sequence: u32) -> bool {
        let first = self.number(sequence);
        *self.next.get_or_insert(first) == first
    }

    /// Memory that segments take up while they wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A segment came.
    pub(super) fn push(&mut self, piece: Piece) {
        let start = self.number(piece.sequence);
        let next = *self.next.get_or_insert(start);
        let known = self.waiting.get(&start).is_some_and(|known| known.length >= piece.length);
        if start.saturating_add(piece.length) <= next || start > next + WINDOW || known {
            return; // sent again, or not of this connection
        }
        self.held += cost(&piece);
        if let Some(shorter) = self.waiting.insert(start, piece) {
            self.held -= cost(&shorter);
        }
    }

    /// The sender has said that nothing comes from this sequence number on.
    pub(super) fn push_end(&mut self, sequence: u32) {
        let end = self.number(sequence);
        let next = *self.next.get_or_insert(end);
        if (next..=next + WINDOW).contains(&end) {
            self.end.get_or_insert(end);
        }
    }

    /// The receiver has everything before this sequence number; if nothing else is known of the stream, that was before the capture.
    pub(super) fn acknowledge(&mut self, sequence: u32) {
        let number = self.number(sequence);
        let next = *self.next.get_or_insert(number);
        if number <= next + WINDOW {
            self.acknowledged = self.acknowledged.max(number);
        }
    }

    /// The next bytes, if their turn has come.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        let next = self.next?;
        loop {
            let entry = self.waiting.first_entry().filter(|entry| *entry.key() <= next)?;
            let (start, piece) = entry.remove_entry();
            self.held -= cost(&piece);
            let end = start.saturating_add(piece.length);
            if end > next {
                self.next = Some(end);
                return Some(piece);
            }
        }
    }

    /// Whether all was delivered that the sender had to say.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some() && self.next >= self.end
    }

    /// Whether bytes are missing that the receiver has, so that they will not be sent again.
    pub(super) fn lacks_acknowledged(&self) -> bool {
        self.next.is_some_and(|next| self.acknowledged.min(self.end.unwrap_or(u64::MAX)) > next)
    }

    /// Gives up the bytes that are missing now: [`Stream::pop`] gives their length, and then what is behind them. `false` if none
    /// are missing.
    pub(super) fn skip_hole(&mut self) -> bool {
        let (Some(next), Some(after)) = (self.next, self.behind_hole()) else { return false };
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are the low 32 bits")]
        let hole = Piece { sequence: next as u32, bytes: Bytes::new(), length: after - next };
        self.held += cost(&hole);
        self.waiting.insert(next, hole);
        true
    }

    /// Where the hole at the next byte ends, if there is one: something after it was seen, or received.
    fn behind_hole(&self) -> Option<u64> {
        let next = self.next?;
        if let Some(&waiting) = self.waiting.keys().next()
            && waiting <= next
        {
            return None;
        }
        let later = [self.waiting.keys().next().copied(), self.end, Some(self.acknowledged)];
        later.into_iter().flatten().filter(|&after| after > next && self.end.is_none_or(|end| after <= end)).min()
    }

    /// The number of the byte with this sequence number: the one that is nearest to the next.
    fn number(&self, sequence: u32) -> u64 {
        let near = self.next.unwrap_or(ORIGIN + u64::from(sequence));
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are the low 32 bits")]
        let distance = sequence.wrapping_sub(near as u32).cast_signed();
        near.saturating_add_signed(distance.into())
    }
}

fn cost(piece: &Piece) -> usize {
    piece.bytes.len() + SEGMENT_COST
}

#[cfg(test)]
mod tests;
