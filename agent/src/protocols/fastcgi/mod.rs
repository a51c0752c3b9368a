//! FastCGI 1.0 (fastcgi-archives.github.io/FastCGI_Specification.html): HTTP requests as web servers hand them to programs,
//! PHP-FPM above all.
//!
//! Records of several requests may alternate on a connection; each names its request. A request is CGI's variables and a body, a
//! response a header in HTTP's form and a body, then the record that ends it. Bodies are skipped.
//!
//! - `record` has the framing, `params` the variables and what request they make.
//! - `requests` reads the client's direction, `responses` the server's, record by record.
//! - `exchange` is one request: with `http`, it makes the span.
//!
//! An id is free for the next request once the client has read the end of the one before. So after a loss a request that begins
//! shows that the one of the same id is over, and an end belongs to the request of its id that was begun last, unless whole calls
//! of the server are missing: then all that is open has ended, or may have.

mod exchange;
mod params;
mod record;
mod requests;
mod responses;
#[cfg(test)]
mod tests;

use self::{
    exchange::{Begun, Open, Outcome},
    record::{HEADER, RequestId, asks_for_values, begins_request, begins_response, ends_request, goes_on_request},
};
use crate::{
    event::{End, Time},
    protocols::{
        Connection, ExchangeId, Guess, Hint, Input, Missing, Options, Protocol, Registration, Role, Signal, Signals,
        Taken, held::Tally,
    },
    streams::Loss,
};

/// How the protocol is found and begun.
pub const REGISTRATION: Registration = Registration { name: "fastcgi", detect, start };

/// Most requests that may be open on one connection. Web servers send one at a time; libraries that can serve several at once take
/// a few dozen.
const OPEN_LIMIT: usize = 256;
/// How many records may break the rules before the connection is given up: it is something else then.
const MALFORMED_LIMIT: u32 = 4;

/// Recognises a client by the record that begins a request or asks for the server's limits, and a server by a response's header. On a
/// connection that is older than the agent the end of a request may come before the next one, or its header have been missed.
fn detect(bytes: &[u8], hint: Hint) -> Guess {
    let from_start = [begins_request, asks_for_values, begins_response].into_iter();
    let older: &[fn(&[u8]) -> Guess] = if hint.from_start { &[] } else { &[begins_after_end, goes_on_request] };
    let guesses = from_start.chain(older.iter().copied()).map(|guess| guess(bytes));
    // Of one beginning only one can be right; a short one may be several.
    guesses
        .reduce(|one, other| if matches!(one, Guess::No | Guess::TooShort) && other != Guess::No { other } else { one })
        .unwrap_or(Guess::No)
}

/// Whether the end of a request and the beginning of another one stand here.
fn begins_after_end(bytes: &[u8]) -> Guess {
    match (ends_request(bytes), bytes.get(HEADER..)) {
        (Guess::Client, Some(next)) => begins_request(next),
        (guess, _) => guess,
    }
}

fn start(connection: Connection, options: &Options) -> Box<dyn Protocol> {
    let side = || Side::new(connection.from_start);
    let (requests, responses) = (side(), side());
    Box::new(FastCgi {
        connection,
        options: options.clone(),
        begun: Vec::new(),
        open: Vec::new(),
        opened: 0,
        malformed: 0,
        tally: Tally::default(),
        requests,
        responses,
    })
}

/// The parser of one connection.
#[derive(Debug)]
struct FastCgi {
    connection: Connection,
    options: Options,
    /// Requests whose variables are not complete.
    begun: Vec<Begun>,
    /// Requests whose end was not seen, oldest first.
    open: Vec<Open>,
    /// How many exchanges there have been.
    opened: ExchangeId,
    malformed: u32,
    tally: Tally,
    requests: Side,
    responses: Side,
}

/// What is known of one direction.
#[derive(Debug)]
struct Side {
    state: State,
    /// The last byte that was looked at.
    last: Time,
    ended: bool,
}

/// Where in its records a direction is.
#[derive(Debug)]
enum State {
    /// At the beginning of one.
    Record,
    /// In one whose content is looked at: variables, or a response's header.
    Content {
        /// Whose it is.
        id: RequestId,
        /// Bytes of content still to come; more than 0.
        left: usize,
        padding: usize,
    },
    /// Somewhere, after a loss or in the middle of a connection: the last bytes that passed.
    Lost(Tail),
    /// Given up.
    Done,
}

impl Side {
    fn new(from_start: bool) -> Self {
        let state = if from_start { State::Record } else { State::Lost(Tail::default()) };
        Self { state, last: 0, ended: false }
    }
}

impl FastCgi {
    fn side(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Client => &mut self.requests,
            Role::Server => &mut self.responses,
        }
    }

    /// Closes the exchange at this index.
    fn close(&mut self, index: usize, outcome: Outcome, end: Time, signals: &mut Signals) {
        let open = self.open.remove(index);
        if outcome == Outcome::Incomplete {
            signals.push(Signal::Incomplete(open.exchange));
        }
        signals.push(open.close(outcome, end, self.connection.local_role));
    }

    /// Closes every exchange, none of whose ends will be seen.
    fn close_all(&mut self, time: Time, signals: &mut Signals) {
        while !self.open.is_empty() {
            self.close(0, Outcome::Incomplete, time, signals);
        }
    }

    /// The record boundaries of a direction are lost.
    fn lose(&mut self, from: Role, missing: Missing, signals: &mut Signals) {
        match (from, missing, self.open.as_mut_slice()) {
            (Role::Client, ..) => self.open_begun(signals),
            // What is missing is its own; whether its end is, its client's next request shows.
            (Role::Server, Missing::Part, [one]) => one.miss(&self.options),
            (Role::Server, ..) => self.close_all(self.responses.last, signals),
        }
        self.side(from).state = State::Lost(Tail::default());
    }

    /// Bytes that are no record: whatever they are, the next one's place is unknown.
    fn malformed(&mut self, from: Role, time: Time, signals: &mut Signals) {
        self.malformed += 1;
        if self.malformed >= MALFORMED_LIMIT {
            return self.give_up(Loss::Malformed, time, signals);
        }
        signals.push(Signal::Lost(Loss::Malformed));
        self.lose(from, Missing::Part, signals);
    }

    fn give_up(&mut self, loss: Loss, time: Time, signals: &mut Signals) {
        self.close_all(time, signals);
        self.begun.clear();
        (self.requests.state, self.responses.state) = (State::Done, State::Done);
        signals.push(Signal::Abandon(loss));
    }

    /// How an exchange ends when the server will send nothing more.
    fn outcome_of_end(&self, end: End, answered: bool) -> Outcome {
        let own_end = end == End::Closed && self.connection.local_role == Role::Client;
        match end {
            _ if matches!(self.responses.state, State::Lost(_)) => Outcome::Incomplete,
            // A web server may close once it has the length that the header told.
            End::Closed if answered && own_end => Outcome::Left,
            _ => Outcome::Failed(end.error_type()),
        }
    }
}

impl Protocol for FastCgi {
    fn read(&mut self, from: Role, input: Input<'_>, signals: &mut Signals) -> Taken {
        let taken = match from {
            Role::Client => self.read_request(input, signals),
            Role::Server => self.read_response(input, signals),
        };
        self.side(from).last = input.last;
        taken
    }

    fn skipped(&mut self, from: Role, time: Time, _signals: &mut Signals) {
        self.side(from).last = time;
    }

    fn lost(&mut self, from: Role, missing: Missing, _time: Time, signals: &mut Signals) {
        if !matches!(self.side(from).state, State::Done) {
            self.lose(from, missing, signals);
        }
    }

    fn end(&mut self, from: Role, end: End, time: Time, signals: &mut Signals) {
        self.side(from).ended = true;
        // A client that has stopped sending is still answered; without a server nothing can come.
        if self.responses.ended {
            while let Some(open) = self.open.first() {
                let outcome = self.outcome_of_end(end, open.is_answered());
                let seen = if outcome == Outcome::Incomplete { self.responses.last } else { time };
                self.close(0, outcome, seen, signals);
            }
        }
    }

    fn held(&self) -> usize {
        let begun: usize = self.begun.iter().map(|begun| size_of::<Begun>() + begun.params.len()).sum();
        let heads: usize = self.open.iter().map(Open::held).sum();
        self.tally.bytes() + begun + heads
    }
}

/// The last bytes of a direction whose record boundaries were lost: the records that end a request and a response have known forms.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// More of them; the last `N`, if there are so many.
    fn last<const N: usize>(&mut self, bytes: &[u8]) -> Option<&[u8; N]> {
        let kept = bytes.get(bytes.len().saturating_sub(N)..).unwrap_or_default();
        self.0.drain(..(self.0.len() + kept.len()).saturating_sub(N).min(self.0.len()));
        self.0.extend_from_slice(kept);
        self.0.last_chunk()
    }
}
