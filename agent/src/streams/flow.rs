//! One direction of one socket: what is held of an unfinished message, and what is to be passed over.

use crate::{
    event::Time,
    protocols::{FOREVER, Input, Missing, Protocol, Role, Signal, Signals, Taken},
    streams::{BUFFER_LIMIT, Loss},
};

/// The state of a direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Position of the next byte, once one was seen.
    next: Option<u32>,
    /// Bytes that were offered and not taken: the beginning of a message.
    held: Vec<u8>,
    /// Position behind the last held byte.
    held_end: u32,
    /// When the first held byte came.
    held_since: Time,
    /// The first held byte is the first after the other side spoke.
    held_turned: bool,
    /// Bytes still to be passed over.
    skip: u64,
}

/// Bytes that come next in a direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// The bytes, contiguous with what came before.
    pub bytes: &'a [u8],
    /// Position of the first of them.
    pub position: u32,
    /// When.
    pub time: Time,
    /// They are the first after the other side spoke.
    pub turned: bool,
}

impl Piece<'_> {
    /// Position behind the last byte.
    fn end(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "positions wrap at 32 bits")]
        self.position.wrapping_add(self.bytes.len() as u32)
    }
}

impl Flow {
    /// A direction whose first byte has this position, if it is known.
    pub(super) fn starting_at(position: Option<u32>) -> Self {
        Self { next: position, ..Self::default() }
    }

    /// The next byte is taken as the next, whatever its position.
    pub(super) fn rebase(&mut self) {
        self.next = None;
    }

    /// Whether a byte at this position has passed. Positions are compared as TCP sequence numbers are (RFC 9293 §3.4): half the space is ahead,
    /// half behind.
    pub(super) fn has_passed(&self, position: u32) -> bool {
        self.next.is_some_and(|next| position.wrapping_sub(next) >= 1 << 31)
    }

    /// How many bytes up to `position` were not seen, where that can be told; they count as passed then.
    pub(super) fn reach(&mut self, position: u32) -> u32 {
        self.advance(position, 0).0
    }

    /// Moves on to `position`: how many bytes before it are missing, and how many from it on were seen before.
    pub(super) fn advance(&mut self, position: u32, length: u64) -> (u32, u64) {
        let next = self.next.unwrap_or(position);
        let (missing, seen) = if self.has_passed(position) {
            (0, u64::from(next.wrapping_sub(position)))
        } else {
            (position.wrapping_sub(next), 0)
        };
        let seen = seen.min(length);
        #[expect(clippy::cast_possible_truncation, reason = "positions wrap at 32 bits")]
        let end = position.wrapping_add(length as u32);
        if seen < length || missing > 0 {
            self.next = Some(end);
        }
        (missing, seen)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// When the first held byte came.
    pub(super) fn held_since(&self) -> Time {
        self.held_since
    }

    /// Position behind the last held byte.
    pub(super) fn held_end(&self) -> u32 {
        self.held_end
    }

    /// The held bytes and whether they begin where a message is likely to begin.
    pub(super) fn beginning(&self) -> (&[u8], bool) {
        (&self.held, self.held_turned)
    }

    /// Keeps bytes without offering them to anyone.
    pub(super) fn hold(&mut self, piece: Piece<'_>) {
        if self.held.is_empty() {
            self.held_since = piece.time;
            self.held_turned = piece.turned;
        }
        self.held.extend_from_slice(piece.bytes);
        self.held_end = piece.end();
    }

    /// Forgets the held bytes.
    pub(super) fn drop_held(&mut self) {
        self.held = Vec::new();
    }

    /// Offers the held bytes and this piece to the protocol, and holds what it does not take.
    pub(super) fn offer(&mut self, protocol: &mut dyn Protocol, role: Role, piece: Piece<'_>, signals: &mut Signals) {
        let mut joined = std::mem::take(&mut self.held);
        let mut old = joined.len(); // held bytes not taken yet
        let (mut since, mut fresh) =
            if old == 0 { (piece.time, piece.turned) } else { (self.held_since, self.held_turned) };
        let mut rest = if old == 0 {
            piece.bytes
        } else {
            joined.extend_from_slice(piece.bytes);
            joined.as_slice()
        };
        let mut take = |rest: &mut &[u8], since: &mut Time, fresh: &mut bool, n: usize| {
            if n == 0 {
                return;
            }
            *rest = rest.get(n..).unwrap_or_default();
            old = old.saturating_sub(n);
            if old == 0 {
                *since = piece.time;
            }
            *fresh = false;
        };
        loop {
            if self.skip > 0 {
                let n = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
                self.pass(n as u64);
                take(&mut rest, &mut since, &mut fresh, n);
                if self.skip > 0 {
                    break;
                }
                protocol.skipped(role, piece.time, signals);
            }
            if rest.is_empty() || ended(signals) {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "positions wrap at 32 bits")]
            let position = piece.end().wrapping_sub(rest.len() as u32);
            let input = Input { bytes: rest, first: since, last: piece.time, position, turned: fresh };
            match protocol.read(role, input, signals) {
                Taken::More => break,
                Taken::Bytes(0) => {
                    // A parser that neither takes nor waits would never end.
                    signals.push(Signal::Abandon(Loss::Malformed));
                    break;
                }
                Taken::Bytes(n) => take(&mut rest, &mut since, &mut fresh, n),
                Taken::Skip { bytes, skip } => {
                    take(&mut rest, &mut since, &mut fresh, bytes);
                    self.skip = skip;
                    if skip == 0 && bytes == 0 {
                        signals.push(Signal::Abandon(Loss::Malformed));
                        break;
                    }
                }
            }
        }
        if rest.len() > BUFFER_LIMIT {
            signals.push(Signal::Lost(Loss::Budget));
            protocol.lost(role, Missing::Part, piece.time, signals);
            return;
        }
        if !rest.is_empty() {
            self.held_since = since;
            self.held_turned = fresh;
            self.held_end = piece.end();
            self.held = rest.to_vec();
        }
    }

    /// Bytes that were not captured pass: `true` if some of them were needed.
    pub(super) fn miss(
        &mut self,
        protocol: &mut dyn Protocol,
        role: Role,
        (missing, kind): (u64, Missing),
        time: Time,
        signals: &mut Signals,
    ) -> bool {
        let passed = self.skip.min(missing);
        if passed > 0 {
            self.pass(passed);
            if self.skip == 0 {
                protocol.skipped(role, time, signals);
            }
        }
        if missing == passed {
            return false;
        }
        self.drop_held();
        protocol.lost(role, kind, time, signals);
        true
    }

    fn pass(&mut self, n: u64) {
        if self.skip != FOREVER {
            self.skip -= n;
        }
    }
}

/// The parser has said that this connection is not to be read any further.
fn ended(signals: &Signals) -> bool {
    signals.iter().any(|signal| matches!(signal, Signal::Abandon(_) | Signal::Switched))
}

#[cfg(test)]
mod tests;
