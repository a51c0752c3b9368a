//! HTTP/1.0 and HTTP/1.1 (RFC 9112): requests and responses of one connection, paired in order.
//!
//! Only heads and the lines between chunks are looked at; bodies are skipped. The end of an exchange is the last byte
//! of its response on both ends: OpenTelemetry ends a CLIENT span once the response's head was read, but then a span
//! would hide the time its body took, and the two ends of one exchange could not be compared.
//!
//! Responses belong to requests by order alone, so a missing request or response would shift every later pair. After a
//! loss, therefore, nothing is believed but a head that begins a turn ([`Input::turned`]) while nothing else is
//! outstanding; on a connection whose client pipelines not even that proves anything, and it is given up. What is open
//! then ends as [`Loss::Incomplete`], and a response without a request is dropped as [`Loss::Unmatched`].

mod body;
mod exchange;
mod head;
mod requests;
mod responses;

use std::collections::VecDeque;

use self::{
    body::{Chunked, Framing, Tail},
    exchange::{Open, Outcome},
    head::{leading_line_ends, request_start, response_start},
};
use crate::{
    event::{End, Time},
    protocols::{
        Connection, ExchangeId, FOREVER, Guess, Hint, Input, Missing, Options, Protocol, Registration, Role, Signal,
        Signals, Taken, held::Tally, http::fields::find_end,
    },
    streams::Loss,
};

/// HTTP/1 in the list of protocols.
pub const REGISTRATION: Registration = Registration { name: "http", detect, start };

/// Most exchanges that may be open on one connection: more than clients that pipeline send ahead, and with heads as
/// large as they may be still only a few MiB.
const OPEN_LIMIT: usize = 256;
/// How many messages may break the rules before the connection is given up: it is something else then.
const MALFORMED_LIMIT: u32 = 4;

/// Recognises a request line or a status line; empty lines before it are allowed.
#[must_use]
pub fn detect(bytes: &[u8], _hint: Hint) -> Guess {
    let bytes = bytes.get(leading_line_ends(bytes)..).unwrap_or_default();
    match (request_start(bytes), response_start(bytes)) {
        _ if bytes.is_empty() => Guess::TooShort,
        (_, Guess::Server) => Guess::Server,
        (Guess::No, response) => response,
        (request, _) => request,
    }
}

fn start(connection: Connection, options: &Options) -> Box<dyn Protocol> {
    Box::new(Http1::new(connection, options.clone()))
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Http1 {
    connection: Connection,
    options: Options,
    /// Requests whose response is not complete, oldest first.
    open: VecDeque<Open>,
    /// How many exchanges there have been.
    opened: ExchangeId,
    /// The client does not wait for a response before it sends its next request: two were sent in one piece, or one
    /// after the other and the first was then answered. (Without that answer there is no proof: the response may have
    /// been lost between the two, which shows in the server's next bytes.)
    pipelined: bool,
    malformed: u32,
    tally: Tally,
    requests: Side,
    responses: Side,
}

/// What is known of one direction.
#[derive(Debug)]
struct Side {
    state: State,
    /// What was offered of a head that is not complete: if the rest is never seen, this much of it is still known.
    partial: Partial,
    /// The exchange whose request body is passing (client's side only).
    body_of: Option<ExchangeId>,
    /// The last byte that was looked at.
    last: Time,
    ended: bool,
}

/// Where in its messages a direction is.
#[derive(Debug)]
enum State {
    /// Between two messages or in a head.
    Head,
    /// The request expects `100 Continue`: its body follows, unless the final response makes it unnecessary.
    Expecting(Framing),
    /// After a CONNECT: whether a tunnel or a request follows is the server's decision.
    Connecting,
    /// A body of known length is being skipped.
    Length,
    /// Between the chunks of a body, or in one.
    Chunked(Chunked),
    /// A body that ends with the connection is being skipped.
    Close,
    /// Somewhere, after a loss.
    Lost(Tail),
    /// Not HTTP/1 any more, or given up.
    Done,
}

/// The captured part of an incomplete head.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    begin: Begin,
}

/// Where and when a message begins.
#[derive(Debug, Clone, Copy, Default)]
struct Begin {
    first: Time,
    position: u32,
    turned: bool,
}

impl From<&Input<'_>> for Begin {
    fn from(&Input { bytes: _, first, last: _, position, turned }: &Input<'_>) -> Self {
        Self { first, position, turned }
    }
}

impl Side {
    fn new() -> Self {
        Self { state: State::Head, partial: Partial::default(), body_of: None, last: 0, ended: false }
    }

    fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(_))
    }

    /// The length of the complete head that the input begins with. Each byte is searched once, however slowly the
    /// head arrives.
    fn head_end(&mut self, input: &Input<'_>) -> Option<usize> {
        let searched = self.partial.bytes.len();
        let end = find_end(input.bytes, searched);
        if end.is_some() {
            self.partial = Partial::default();
        } else {
            self.partial.bytes.extend_from_slice(input.bytes.get(searched..).unwrap_or_default());
            self.partial.begin = Begin::from(input);
        }
        end
    }

    /// The next byte is somewhere in a message.
    fn lose(&mut self) {
        self.state = State::Lost(Tail::default());
        self.partial = Partial::default();
    }
}

impl Http1 {
    /// A parser for a connection of which nothing was read yet.
    #[must_use]
    pub fn new(connection: Connection, options: Options) -> Self {
        let (open, requests, responses) = (VecDeque::new(), Side::new(), Side::new());
        Self {
            connection,
            options,
            open,
            opened: 0,
            pipelined: false,
            malformed: 0,
            tally: Tally::default(),
            requests,
            responses,
        }
    }

    fn side(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Client => &mut self.requests,
            Role::Server => &mut self.responses,
        }
    }

    /// Closes the oldest exchange.
    fn close_oldest(&mut self, outcome: Outcome, end: Time, signals: &mut Signals) {
        let Some(open) = self.open.pop_front() else { return };
        if outcome == Outcome::Incomplete {
            signals.push(Signal::Incomplete(open.id));
        }
        signals.push(open.close(outcome, end, self.connection.local_role));
        self.pipelined |= outcome == Outcome::Complete && self.open.front().is_some_and(Open::is_ahead);
    }

    /// Closes every exchange, none of whose responses can be told from another's any more.
    fn close_all(&mut self, time: Time, signals: &mut Signals) {
        while !self.open.is_empty() {
            self.close_oldest(Outcome::Incomplete, time, signals);
        }
    }

    /// The message boundaries of a direction are lost.
    fn lose(&mut self, from: Role, missing: Missing, time: Time, signals: &mut Signals) {
        if self.pipelined {
            // What was missed may hold any number of messages, and no later turn shows that all are answered.
            return self.give_up(Loss::Gap, time, signals);
        }
        self.side(from).lose();
        if from == Role::Server {
            match (missing, self.open.make_contiguous()) {
                // The missing bytes hold its response's head, if that was not seen before.
                (Missing::Part, [one]) => one.miss(),
                _ => self.close_all(self.responses.last, signals),
            }
        }
    }

    /// Bytes that break the rules: whatever they are, the next message's place is unknown.
    fn malformed(&mut self, from: Role, time: Time, signals: &mut Signals) {
        self.malformed += 1;
        if self.malformed >= MALFORMED_LIMIT {
            return self.give_up(Loss::Malformed, time, signals);
        }
        signals.push(Signal::Lost(Loss::Malformed));
        self.lose(from, Missing::Part, time, signals);
    }

    fn give_up(&mut self, loss: Loss, time: Time, signals: &mut Signals) {
        self.close_all(time, signals);
        self.done();
        signals.push(Signal::Abandon(loss));
    }

    fn done(&mut self) {
        (self.requests.state, self.responses.state) = (State::Done, State::Done);
        (self.requests.partial, self.responses.partial) = (Partial::default(), Partial::default());
    }

    /// How the exchange at the front ends when the server will send nothing more.
    fn outcome_of_end(&self, end: End) -> Outcome {
        let begun = self.open.front().is_some_and(Open::is_answered);
        let own_end = end == End::Closed && self.connection.local_role == Role::Client;
        match end {
            _ if self.responses.is_lost() => Outcome::Incomplete,
            End::Reset | End::TimedOut => Outcome::Failed(end.error_type()),
            // A client that closes within a response has seen enough of it: OpenTelemetry calls that no error.
            _ if begun && (own_end || matches!(self.responses.state, State::Close)) => Outcome::Complete,
            End::Closed | End::ShutWrite | End::PeerClosed => Outcome::Failed(end.error_type()),
        }
    }
}

impl Protocol for Http1 {
    fn read(&mut self, from: Role, input: Input<'_>, signals: &mut Signals) -> Taken {
        let taken = match from {
            Role::Client => self.read_request(input, signals),
            Role::Server => self.read_response(input, signals),
        };
        self.side(from).last = input.last;
        taken
    }

    fn skipped(&mut self, from: Role, time: Time, signals: &mut Signals) {
        let side = self.side(from);
        side.last = time;
        // The end of a chunk is not the end of a body.
        if matches!(side.state, State::Length) {
            match from {
                Role::Client => self.request_complete(signals),
                Role::Server => self.response_complete(time, signals),
            }
        }
    }

    fn lost(&mut self, from: Role, missing: Missing, time: Time, signals: &mut Signals) {
        match self.side(from).state {
            // Where nothing is looked at, nothing is missed.
            State::Close | State::Done => return,
            State::Head => {
                if !self.side(from).partial.bytes.is_empty() {
                    signals.push(Signal::Lost(Loss::Budget)); // a part of a head, with who knows which fields
                }
                match from {
                    Role::Client => self.open_partial(signals),
                    Role::Server => self.answer_partial(),
                }
            }
            _ => {}
        }
        self.lose(from, missing, time, signals);
    }

    fn end(&mut self, from: Role, end: End, time: Time, signals: &mut Signals) {
        self.side(from).ended = true;
        // A client may stop sending and still be answered (`shutdown(SHUT_WR)`); without a server nothing can come.
        if self.responses.ended {
            while !self.open.is_empty() {
                let outcome = self.outcome_of_end(end);
                let seen = if outcome == Outcome::Incomplete { self.responses.last } else { time };
                self.close_oldest(outcome, seen, signals);
            }
        }
    }

    fn held(&self) -> usize {
        self.tally.bytes() + self.requests.partial.bytes.len() + self.responses.partial.bytes.len()
    }
}

/// Takes the head of `bytes` bytes and what `framing` says of the body; the side's new state with it.
fn take_head(bytes: usize, framing: Framing) -> (State, Taken) {
    match framing {
        Framing::Empty => (State::Head, Taken::Bytes(bytes)),
        Framing::Length(length) => (State::Length, Taken::Skip { bytes, skip: length }),
        Framing::Chunked => (State::Chunked(Chunked::Size), Taken::Bytes(bytes)),
        Framing::Close => (State::Close, Taken::Skip { bytes, skip: FOREVER }),
    }
}

#[cfg(test)]
mod tests;
