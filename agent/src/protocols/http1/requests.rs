//! The client's direction: request heads open exchanges.

use super::{
    Begin, Http1, OPEN_LIMIT, Partial, State,
    body::{self, Framing, Step},
    exchange::{Method, Open},
    head::{Head, RequestLine, leading_line_ends, request_start},
    take_head,
};
use crate::{
    protocols::{
        FOREVER, Guess, Input, Missing, Role, Signal, Signals, Taken,
        http::{Request, fields::Lines},
    },
    streams::Loss,
};

impl Http1 {
    pub(super) fn read_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match &mut self.requests.state {
            State::Head => self.request_head(input, signals),
            State::Expecting(framing) => {
                let framing = *framing;
                self.expected_body(framing, input, signals)
            }
            // The answer to the CONNECT was lost: only a request shows that there is no tunnel.
            State::Connecting if self.open.is_empty() || self.responses.is_lost() => {
                self.requests.lose();
                self.lost_request(input, signals)
            }
            State::Connecting => Taken::More,
            State::Chunked(chunked) => match chunked.step(input.bytes) {
                Step::More => Taken::More,
                Step::Line(bytes) => Taken::Bytes(bytes),
                Step::Chunk { line, data } => Taken::Skip { bytes: line, skip: data },
                Step::Last(bytes) => {
                    self.request_complete(signals);
                    Taken::Bytes(bytes)
                }
                Step::Invalid => {
                    self.malformed(Role::Client, input.last, signals);
                    Taken::Bytes(input.bytes.len())
                }
            },
            State::Lost(_) => self.lost_request(input, signals),
            State::Length | State::Close | State::Done => Taken::Skip { bytes: 0, skip: FOREVER },
        }
    }

    /// The request's last byte has passed.
    pub(super) fn request_complete(&mut self, signals: &mut Signals) {
        self.requests.state = State::Head;
        self.request_sent(signals);
    }

    /// Tells that the request is complete, if its exchange is still open: a server may answer before.
    pub(super) fn request_sent(&mut self, signals: &mut Signals) {
        if let Some(id) = self.requests.body_of.take()
            && self.open.iter().any(|open| open.id == id)
        {
            signals.push(Signal::Requested(id));
        }
    }

    fn request_head(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let empty_lines = leading_line_ends(input.bytes);
        if empty_lines > 0 {
            return Taken::Bytes(empty_lines);
        }
        let limit = self.options.head_limit;
        match request_start(input.bytes) {
            Guess::Client | Guess::TooShort => {}
            Guess::Server | Guess::No => {
                self.malformed(Role::Client, input.last, signals);
                return Taken::Bytes(input.bytes.len());
            }
        }
        match self.requests.head_end(&input) {
            Some(end) => {
                let head = Head::parse(input.bytes.get(..end).unwrap_or_default());
                self.request(end, head, input, signals)
            }
            None if input.bytes.len() < limit => Taken::More,
            None => {
                signals.push(Signal::Lost(Loss::Budget));
                self.open_partial(signals);
                self.lose(Role::Client, Missing::Part, input.last, signals);
                Taken::Bytes(input.bytes.len())
            }
        }
    }

    /// A complete request head.
    fn request(&mut self, bytes: usize, head: Head<'_>, input: Input<'_>, signals: &mut Signals) -> Taken {
        let Some(line) = RequestLine::parse(head.start) else {
            self.malformed(Role::Client, input.last, signals);
            return Taken::Bytes(bytes);
        };
        let request = line.with(head.fields);
        if !self.open(&request, Begin::from(&input), signals) {
            return Taken::Bytes(bytes);
        }
        let Ok(framing) = body::of_request(&request.fields) else {
            self.malformed(Role::Client, input.last, signals);
            return Taken::Bytes(bytes);
        };
        let continues =
            request.fields.elements("expect").any(|expected| expected.eq_ignore_ascii_case(b"100-continue"));
        let taken = match framing {
            Framing::Empty => {
                self.request_complete(signals);
                if line.method == b"CONNECT" {
                    self.requests.state = State::Connecting;
                } else {
                    self.pipelined |= bytes < input.bytes.len();
                }
                return Taken::Bytes(bytes);
            }
            framing if continues => (State::Expecting(framing), Taken::Bytes(bytes)),
            framing => take_head(bytes, framing),
        };
        self.requests.state = taken.0;
        taken.1
    }

    /// Opens the exchange of a request, unless its response could be taken for another's. Says whether the connection
    /// is still followed.
    fn open(&mut self, request: &Request<'_>, begin: Begin, signals: &mut Signals) -> bool {
        if self.responses.is_lost() {
            // A client that goes on at a turn has the response to what it asked before: what was seen of it is all.
            self.close_all(self.responses.last, signals);
            if !begin.turned && self.opened > 0 {
                signals.push(Signal::Lost(Loss::Gap));
                return true;
            }
        }
        if self.open.len() >= OPEN_LIMIT {
            self.give_up(Loss::Evicted, begin.first, signals);
            return false;
        }
        let exchange = self.opened;
        self.opened += 1;
        let (context, likeness) = (request.context(), request.likeness());
        signals.push(Signal::Opened { exchange, start: begin.first, position: begin.position, context, likeness });
        let open = Open::new(exchange, begin, request, &self.connection, &self.options);
        self.open.push_back(open.kept_by(&self.tally));
        self.requests.body_of = Some(exchange);
        true
    }

    /// Opens the exchange of a request whose head's end will not be seen, with what is known of it.
    pub(super) fn open_partial(&mut self, signals: &mut Signals) {
        let Partial { bytes, begin } = std::mem::take(&mut self.requests.partial);
        if self.responses.last > begin.first {
            return; // it has been answered, which was counted: the next response is another request's
        }
        if let Some(line) = Lines(&bytes).next().and_then(RequestLine::parse) {
            self.open(&line.with(Head::parse(&bytes).fields), begin, signals);
        }
    }

    /// After a request with `Expect: 100-continue` (RFC 9110 §10.1.1): a client that was refused may send its next
    /// request in the place of the body.
    fn expected_body(&mut self, framing: Framing, input: Input<'_>, signals: &mut Signals) -> Taken {
        let answered = self.open.is_empty();
        match request_start(input.bytes) {
            Guess::TooShort if answered && input.turned => Taken::More,
            Guess::Client if answered && input.turned => {
                self.requests.body_of = None;
                self.request_head(input, signals)
            }
            _ => {
                let (state, taken) = take_head(0, framing);
                self.requests.state = state;
                match taken {
                    Taken::Bytes(_) => self.read_request(input, signals),
                    taken => taken,
                }
            }
        }
    }

    /// Looks for the next request after a loss. Until then, for the end of the one that was lost.
    fn lost_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        // Nothing is outstanding, or the one response that is cannot be told from a later one but by the turn.
        let settled = self.open.is_empty() || self.responses.is_lost();
        match request_start(input.bytes) {
            Guess::TooShort if input.turned && settled => return Taken::More,
            Guess::Client if input.turned && settled => {
                self.requests.body_of = None;
                self.requests.state = State::Head;
                return self.request_head(input, signals);
            }
            // A second request before the first one's response: that response, and more requests, may be missing.
            Guess::Client if Lines(input.bytes).next().is_some() => {
                self.close_all(self.responses.last, signals);
                self.responses.lose();
            }
            _ => {}
        }
        if let State::Lost(tail) = &mut self.requests.state
            && tail.ends_chunked(input.bytes)
        {
            self.request_sent(signals);
        }
        Taken::Bytes(input.bytes.len())
    }

    /// The server has refused the tunnel: the client goes on with requests.
    pub(super) fn connect_refused(&mut self, method: Method) {
        if method == Method::Connect && matches!(self.requests.state, State::Connecting) {
            self.requests.state = State::Head;
        }
    }
}
