//! The server's direction: greeting, then responses, packet by packet. Rows are passed over unread.

use super::{
    MySql,
    command::Reply,
    handshake::{GREETING_LIMIT, Greeting},
    packet::{Ending, HEADER, Header, LARGEST, PROGRESS, Reader},
    session::{Effect, Pending},
};
use crate::{
    event::Time,
    protocols::{Input, Missing, Signal, Signals, Taken},
    streams::Loss,
};

/// Payload of the OK packet that answers COM_STMT_PREPARE: header, id (4), columns (2), parameters (2), filler, warnings (2).
const PREPARED: usize = 12;

/// The server's direction of a connection.
#[derive(Debug)]
pub(super) struct Server {
    place: Place,
    /// The sequence number that the next packet of a response must have.
    next: Option<u8>,
    /// The last packet was of the largest length: the next continues it.
    continued: bool,
    /// The packet that is being passed over ends a result.
    ending: Option<Ending>,
    /// The definitions of a prepared statement are complete; an EOF packet of this number may follow.
    trailing: Option<u8>,
    /// The turn of the client that the last response belongs to.
    answered_turn: Option<u64>,
    /// When the last bytes came.
    last: Time,
    /// Why and how long packet boundaries are not known.
    lost: Option<Lost>,
}

/// Where in a response the next packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Greeting,
    /// The first packet of a response or of one of its results.
    First,
    /// So many column definitions follow.
    Columns(u64),
    /// Rows; the first packet may be the EOF that separates them from the column definitions.
    Rows {
        separator: bool,
    },
    /// So many definitions of a prepared statement's parameters and columns follow.
    Definitions(u32),
}

/// Packet boundaries are unknown.
#[derive(Debug, Clone, Copy)]
struct Lost {
    /// So many turns of the client must begin before a response can be told from the rest of earlier ones.
    turns: u8,
    /// A response without a command has been counted.
    unmatched: bool,
}

/// What a packet is.
enum Packet {
    /// Too few bytes to tell.
    More,
    /// Nothing that ends a result.
    Inner,
    /// The end of a result.
    End(Ending),
    /// The end of a response that no OK, EOF or ERR packet ends.
    Done,
    /// It cannot stand here.
    Malformed,
}

impl Server {
    pub(super) fn new(from_start: bool) -> Self {
        Self {
            place: if from_start { Place::Greeting } else { Place::First },
            next: None,
            continued: false,
            ending: None,
            trailing: None,
            answered_turn: None,
            last: 0,
            lost: (!from_start).then_some(Lost { turns: 1, unmatched: false }),
        }
    }

    /// Whether packet boundaries are unknown.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// When the server's last bytes came.
    pub(super) fn last(&self) -> Time {
        self.last
    }

    /// The client began a turn.
    pub(super) fn client_turned(&mut self) {
        if let Some(lost) = &mut self.lost {
            lost.turns = lost.turns.saturating_sub(1);
        }
    }

    /// A file was asked for and sent: the sequence numbers continue after its packets.
    pub(super) fn infile_sent(&mut self, sequence: u8) {
        self.next = Some(sequence.wrapping_add(1));
    }

    /// What the packet of this header and the available part of its payload is. Pure: the caller moves on.
    fn classify(&self, front: &Pending, header: Header, payload: &[u8]) -> Packet {
        let Some(&first) = payload.first() else {
            return if header.length > 0 { Packet::More } else { Packet::Malformed };
        };
        let end = || {
            if payload.len() < Ending::needs(first, header.length) {
                return Packet::More;
            }
            match Ending::parse(payload, header.length) {
                Some(Ending::Failure(PROGRESS)) => Packet::Inner,
                Some(ending) => Packet::End(ending),
                None => Packet::Malformed,
            }
        };
        let is_eof = first == 0xFE && header.length < LARGEST;
        match (self.place, front.reply) {
            (Place::Greeting, _) => Packet::Malformed,
            (_, _) if first == 0xFF => end(),
            (Place::First, Reply::Status) => end(),
            (Place::First, Reply::Text) => Packet::Done,
            (Place::First, Reply::Authentication) if first == 0x00 => end(),
            (Place::First, Reply::Authentication) => Packet::Inner,
            (Place::First, Reply::Prepared) if first == 0x00 && header.length >= PREPARED => {
                if payload.len() < header.length.min(PREPARED + 1) { Packet::More } else { Packet::Inner }
            }
            (Place::First, Reply::Prepared) => Packet::Malformed,
            (Place::First, Reply::Results) if first == 0x00 || is_eof => end(),
            (Place::First, Reply::Results) if first == 0xFB && header.length > 0 => Packet::Inner,
            (Place::First, Reply::Results) if payload.len() < header.length.min(10) => Packet::More,
            (Place::First, Reply::Results) if column_count(payload, header.length).is_some() => Packet::Inner,
            (Place::First, Reply::Results) => Packet::Malformed,
            (Place::Rows { .. }, _) | (Place::First, Reply::Rows) if is_eof => match end() {
                Packet::End(eof) if self.separates(&eof, header) => Packet::Inner,
                packet => packet,
            },
            (Place::Rows { .. } | Place::Columns(_) | Place::Definitions(_), _) | (Place::First, Reply::Rows) => {
                Packet::Inner
            }
        }
    }

    /// Whether this EOF packet stands between column definitions and rows.
    fn separates(&self, eof: &Ending, header: Header) -> bool {
        self.place == Place::Rows { separator: true } && header.length <= 5 && !eof.opens_cursor()
    }
}

/// The number of columns, and whether their definitions follow: MySQL (`CLIENT_OPTIONAL_RESULTSET_METADATA`) and MariaDB
/// (`MARIADB_CLIENT_CACHE_METADATA`) say so in one more byte, and nothing else can stand there.
fn column_count(payload: &[u8], length: usize) -> Option<(u64, bool)> {
    let mut reader = Reader(payload.get(..length.min(payload.len()))?);
    let count = reader.lenenc().filter(|&count| count > 0)?;
    match reader.0 {
        [] | [1] => Some((count, true)),
        [0] => Some((count, false)),
        _ => None,
    }
}

impl MySql {
    pub(super) fn read_server(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        self.server.last = input.last;
        if self.server.is_lost() {
            return self.seek_response(input, signals);
        }
        let Some((header, payload)) = Header::parse(input.bytes) else { return Taken::More };
        if self.server.continued {
            self.server.continued = header.length == LARGEST;
            self.server.next = Some(header.sequence.wrapping_add(1));
            return Taken::past(HEADER, header.length);
        }
        if self.server.place == Place::Greeting {
            return self.read_greeting(header, payload, signals);
        }
        let payload = payload.get(..header.length).unwrap_or(payload);
        if let Some(sequence) = self.server.trailing {
            if header.length > 0 && payload.is_empty() {
                return Taken::More;
            }
            self.server.trailing = None;
            if header == (Header { length: 5, sequence }) && payload.first() == Some(&0xFE) {
                return Taken::past(HEADER, header.length);
            }
        }
        let Some(front) = self.session.pending.front() else {
            return self.unasked(header, payload, input, signals);
        };
        let packet = self.server.classify(front, header, payload);
        let expected = match self.server.place {
            Place::First if self.server.next.is_none() => front.sequence.map(|last| last.wrapping_add(1)),
            _ => self.server.next,
        };
        // An error may come before the whole command has been read.
        let early = payload.first() == Some(&0xFF) && self.server.place == Place::First;
        let ordered = front.reply == Reply::Authentication || early || expected.is_none_or(|n| n == header.sequence);
        match packet {
            Packet::More => return Taken::More,
            Packet::Malformed => return self.malformed(input, signals),
            _ if !ordered => return self.malformed(input, signals),
            Packet::Inner => self.inner_packet(header, payload, signals),
            Packet::Done => {
                self.response_done();
                self.session.answered();
            }
            Packet::End(ending) => {
                self.server.next = Some(header.sequence.wrapping_add(1));
                let seen = payload.len();
                if seen == header.length {
                    self.end_result(ending, input.last, signals);
                    return Taken::Bytes(HEADER + seen);
                }
                self.server.ending = Some(ending);
            }
        }
        Taken::past(HEADER, header.length)
    }

    fn read_greeting(&mut self, header: Header, payload: &[u8], signals: &mut Signals) -> Taken {
        if payload.len() < header.length.min(GREETING_LIMIT) {
            return Taken::More;
        }
        let Some(greeting) = Greeting::parse(payload) else {
            // An older protocol, or a refusal (too many connections): nothing of use follows.
            return self.abandon(Loss::UnknownProtocol, signals);
        };
        self.session.system = greeting.system;
        self.session.server_capabilities = greeting.capabilities;
        self.server.place = Place::First;
        Taken::past(HEADER, header.length)
    }

    /// Moves on after a packet that does not end a result.
    fn inner_packet(&mut self, header: Header, payload: &[u8], signals: &mut Signals) {
        self.server.next = Some(header.sequence.wrapping_add(1));
        self.server.continued = header.length == LARGEST;
        let first = payload.first().copied().unwrap_or(0);
        let Some(front) = self.session.pending.front_mut() else { return };
        if first == 0xFF {
            return;
        }
        match (self.server.place, front.reply) {
            (Place::First, Reply::Results) if first == 0xFB => {
                self.session.infile = true;
                front.sequence = None;
                self.server.next = None;
            }
            (Place::First, Reply::Results) => {
                let (count, defined) = column_count(payload, header.length).unwrap_or((0, false));
                self.session.count_rows(0);
                self.server.place = if defined { Place::Columns(count) } else { Place::Rows { separator: true } };
            }
            (Place::First, Reply::Prepared) => self.prepared(header, payload, signals),
            (Place::First, Reply::Rows) => self.server.place = Place::Rows { separator: false },
            (Place::First | Place::Greeting, _) => {}
            (Place::Columns(left), _) => {
                self.server.place = if left > 1 { Place::Columns(left - 1) } else { Place::Rows { separator: true } };
            }
            (Place::Rows { separator }, _) => {
                self.server.place = Place::Rows { separator: false };
                if !(separator && first == 0xFE && header.length < LARGEST) {
                    self.session.count_rows(1);
                }
            }
            // EOF after the parameters; the one after the columns is the trailing one.
            (Place::Definitions(_), _) if first == 0xFE && header.length == 5 => {}
            (Place::Definitions(left), _) => self.definitions_left(left.saturating_sub(1)),
        }
    }

    fn prepared(&mut self, header: Header, payload: &[u8], signals: &mut Signals) {
        let mut reader = Reader(payload);
        let (Some(_ok), Some(id), Some(columns), Some(parameters)) =
            (reader.byte(), reader.int4(), reader.int2(), reader.int2())
        else {
            return;
        };
        self.session.prepared(id, signals);
        let left_out = header.length > PREPARED && payload.get(PREPARED) == Some(&0);
        self.definitions_left(if left_out { 0 } else { u32::from(columns) + u32::from(parameters) });
    }

    fn definitions_left(&mut self, left: u32) {
        self.server.place = Place::Definitions(left);
        if left == 0 {
            let trailing = self.server.next;
            self.response_done();
            self.session.answered();
            self.server.trailing = trailing;
        }
    }

    /// The packet that ends a result has been seen completely.
    fn end_result(&mut self, ending: Ending, time: Time, signals: &mut Signals) {
        let next = self.server.next;
        if ending.opens_cursor() {
            self.session.forget_rows();
        }
        self.response_done();
        if self.session.ended(ending, time, signals) {
            self.server.next = next;
        }
    }

    /// The next packet is the first of a response.
    fn response_done(&mut self) {
        self.server.place = Place::First;
        self.server.next = None;
        self.server.trailing = None;
        self.server.answered_turn = self.session.pending.front().map(|pending| pending.turn);
    }

    pub(super) fn skipped_server(&mut self, time: Time, signals: &mut Signals) {
        self.server.last = time;
        if let Some(ending) = self.server.ending.take() {
            // These bytes may not have been seen: a command that was sent since does not show that the client did not wait for them.
            let overlapping = self.session.overlapping;
            self.end_result(ending, time, signals);
            self.session.overlapping = overlapping;
        }
    }

    /// A packet that answers nothing: a server says so before it closes an idle connection, anything else is out of step.
    fn unasked(&mut self, header: Header, payload: &[u8], input: Input<'_>, signals: &mut Signals) -> Taken {
        match payload.first() {
            None if header.length > 0 => Taken::More,
            Some(0xFF) => Taken::past(HEADER, header.length),
            _ => {
                self.server.lost = Some(Lost { turns: 1, unmatched: false });
                self.seek_response(input, signals)
            }
        }
    }

    /// Out of step: nothing that waits can be told apart any more.
    fn malformed(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        signals.push(Signal::Lost(Loss::Malformed));
        self.session.give_up(usize::MAX, input.last, signals);
        self.lost_server(Missing::Calls, input.last, signals);
        Taken::Bytes(input.bytes.len())
    }

    /// Packet boundaries are lost. A response is only waited for where it cannot be confused with another.
    ///
    /// Where whole calls are missing, what comes next may answer a command that was not seen: all is given up, but for a start-up,
    /// whose end is the first response whatever is missing.
    ///
    /// If not, a client that was never seen to overlap its turns has read every earlier response when it sends a command, so the
    /// commands of its last turn are those that the next bytes answer. Where it is one, it is waited for: for its beginning if that
    /// was not seen yet, else for its end. Of several, which only look like one turn if an answer in between was among
    /// the missing bytes, nobody knows which is answered next: they are given up.
    pub(super) fn lost_server(&mut self, missing: Missing, time: Time, signals: &mut Signals) {
        let Server { place, next, answered_turn, last, .. } = self.server;
        let begun = place != Place::First || next.is_some() || self.server.ending.is_some();
        let time = last.max(time);
        let session = &mut self.session;
        let last_turn = session.pending.back().map(|pending| pending.turn);
        let earlier = session.pending.iter().filter(|pending| Some(pending.turn) != last_turn).count();
        let starting = session.pending.len() == 1 && session.authenticating();
        let turns = if missing == Missing::Calls && !starting {
            session.give_up(usize::MAX, time, signals);
            1
        } else if session.overlapping {
            session.give_up(usize::MAX, time, signals);
            2
        } else if earlier > 0 {
            session.give_up(earlier, time, signals);
            0
        } else if session.pending.len() == 1 && !begun && answered_turn != last_turn {
            0
        } else {
            if session.pending.len() > 1 {
                session.give_up(usize::MAX, time, signals);
            }
            1
        };
        let lost = Some(Lost { turns, unmatched: true });
        self.server = Server { lost, answered_turn, last, ..Server::new(false) };
    }

    /// Looks for the start of a response where the server takes its turn, or for the end of the one that is going on at the end of the input.
    fn seek_response(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let Some(mut lost) = self.server.lost else { return Taken::More };
        let all = Taken::Bytes(input.bytes.len());
        let Some(front) = self.session.pending.front() else {
            if !lost.unmatched {
                signals.push(Signal::Lost(Loss::Unmatched));
                lost.unmatched = true;
                self.server.lost = Some(lost);
            }
            return all;
        };
        if input.turned && lost.turns == 0 {
            match starts_response(front, input.bytes) {
                Some(true) => {
                    self.server.lost = None;
                    self.server.place = Place::First;
                    return self.read_server(input, signals);
                }
                Some(false) => {}
                None => return Taken::More,
            }
        }
        if self.session.pending.len() == 1
            && front.reply == Reply::Results
            && let Some(ending) = Ending::at_end_of(input.bytes, front.binary)
        {
            self.server.lost = None;
            // Rows are missing: their number is not known.
            self.session.forget_rows();
            self.end_result(ending, input.last, signals);
        }
        all
    }
}

/// Whether these bytes are the first of the response to `front`; `None` if there are too few to tell.
fn starts_response(front: &Pending, bytes: &[u8]) -> Option<bool> {
    let (header, payload) = Header::parse(bytes)?;
    if header.length == 0 || header.sequence != front.sequence.unwrap_or(0).wrapping_add(1) {
        return Some(false);
    }
    let payload = payload.get(..header.length).unwrap_or(payload);
    let first = *payload.first()?;
    Some(match Server::new(false).classify(front, header, payload) {
        Packet::More => return None,
        Packet::Malformed => false,
        Packet::End(ending) => ending.is_plausible(payload),
        Packet::Done => header.length < 512 && payload.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '),
        Packet::Inner => match front.reply {
            Reply::Results => {
                first == 0xFB || column_count(payload, header.length).is_some_and(|(count, _)| count <= 4096)
            }
            Reply::Prepared => matches!(front.effect, Effect::Prepared(_)),
            Reply::Rows | Reply::Authentication | Reply::Status | Reply::Text => true,
        },
    })
}
