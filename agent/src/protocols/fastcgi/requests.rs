//! The client's direction: complete variables open an exchange.

use super::{
    FastCgi, OPEN_LIMIT, State,
    exchange::{Begun, Open, Outcome},
    record::{BODY, HEADER, Header, RequestId, begins_request, ends_request, goes_on_request, kind},
};
use crate::{
    protocols::{FOREVER, Guess, Input, Role, Signal, Signals, Taken},
    streams::Loss,
};

impl FastCgi {
    pub(super) fn read_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match &mut self.requests.state {
            State::Record => self.request_record(input, signals),
            State::Content { id, left, padding } => {
                let (id, left, padding) = (*id, *left, *padding);
                self.params(id, left, padding, input)
            }
            State::Lost(_) => self.lost_request(input, signals),
            State::Done => Taken::Skip { bytes: 0, skip: FOREVER },
        }
    }

    fn request_record(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let header = match Header::parse(input.bytes) {
            None => return Taken::More,
            Some(Ok(header)) => header,
            Some(Err(_)) => return self.no_request(input, signals),
        };
        match header.kind {
            kind::BEGIN_REQUEST if header.length < BODY => return self.no_request(input, signals),
            kind::BEGIN_REQUEST if input.bytes.len() < HEADER + BODY => return Taken::More,
            kind::BEGIN_REQUEST => {
                self.begin(header.id, &input, signals);
                return Taken::past(HEADER + BODY, header.rest() - BODY);
            }
            kind::PARAMS if header.length == 0 => self.open(header.id, signals),
            kind::PARAMS if self.begun.iter().any(|begun| begun.id == header.id && !begun.cut) => {
                let Header { id, length: left, padding, .. } = header;
                self.requests.state = State::Content { id, left, padding };
                return Taken::Bytes(HEADER);
            }
            kind::STDIN if header.length == 0 => self.request_sent(header.id, signals),
            kind::END_REQUEST | kind::STDOUT | kind::STDERR | kind::GET_VALUES_RESULT | kind::UNKNOWN_TYPE => {
                return self.no_request(input, signals);
            }
            // Bodies, questions to the server, requests that are not followed, types to come (§4.2). One that is to be aborted
            // goes on until the server ends it.
            _ => {}
        }
        Taken::past(HEADER, header.rest())
    }

    fn no_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        self.malformed(Role::Client, input.last, signals);
        Taken::Bytes(input.bytes.len())
    }

    fn begin(&mut self, id: RequestId, input: &Input<'_>, signals: &mut Signals) {
        if let Some(index) = self.open.iter().position(|open| open.id == id) {
            // The client has read the end of the one before.
            self.close(index, Outcome::Incomplete, self.responses.last, signals);
        }
        let begun = self.begun.len();
        self.begun.retain(|begun| begun.id != id);
        if self.begun.len() < begun {
            signals.push(Signal::Lost(Loss::Malformed)); // two of one id
        }
        if self.open.len() + self.begun.len() >= OPEN_LIMIT {
            return self.give_up(Loss::Evicted, input.last, signals);
        }
        self.begun.push(Begun::new(id, input));
    }

    /// The content of `FCGI_PARAMS`.
    fn params(&mut self, id: RequestId, left: usize, padding: usize, input: Input<'_>) -> Taken {
        let part = input.bytes.get(..left).unwrap_or(input.bytes);
        let left = left - part.len();
        let limit = self.options.head_limit;
        let room = self.begun.iter_mut().find(|begun| begun.id == id).is_some_and(|begun| begun.add(part, limit));
        if room && left > 0 {
            self.requests.state = State::Content { id, left, padding };
            return Taken::Bytes(part.len());
        }
        self.requests.state = State::Record;
        Taken::past(part.len(), left + padding)
    }

    /// The variables of a request are complete.
    fn open(&mut self, id: RequestId, signals: &mut Signals) {
        let Some(index) = self.begun.iter().position(|begun| begun.id == id) else { return };
        let begun = self.begun.remove(index);
        if begun.cut {
            signals.push(Signal::Lost(Loss::Budget));
        }
        self.open_exchange(&begun, signals);
    }

    /// Opens the exchanges of the requests the rest of whose variables will not be seen, with what is known of them.
    pub(super) fn open_begun(&mut self, signals: &mut Signals) {
        for begun in std::mem::take(&mut self.begun) {
            signals.push(Signal::Lost(Loss::Budget)); // who knows which variables
            // If it has been answered, which was counted, the next end is another's.
            if self.responses.last <= begun.first && begun.variables().is_request() {
                self.open_exchange(&begun, signals);
            }
        }
    }

    /// Opens the exchange of a request.
    fn open_exchange(&mut self, begun: &Begun, signals: &mut Signals) {
        let variables = begun.variables();
        let has_body = variables.has_body();
        let request = variables.request();
        let exchange = self.opened;
        self.opened += 1;
        let Begun { id, first: start, position, .. } = *begun;
        let (context, likeness) = (request.context(), request.likeness());
        signals.push(Signal::Opened { exchange, start, position, context, likeness });
        let open = Open::new(begun, exchange, &request, &self.connection, &self.options);
        self.open.push(open.kept_by(&self.tally));
        if !has_body {
            // PHP does not read the end of a body that there is not.
            self.request_sent(id, signals);
        }
    }

    /// Tells that a request is complete, if its exchange is open: a server may answer before.
    fn request_sent(&mut self, id: RequestId, signals: &mut Signals) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id)
            && open.request_sent()
        {
            signals.push(Signal::Requested(open.exchange));
        }
    }

    /// Looks for the next request after a loss. Until then, for the end of the one that was lost.
    fn lost_request(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        // The first bytes that were seen of a connection that is older than the agent.
        if self.requests.last == 0
            && goes_on_request(input.bytes) == Guess::Client
            && let Some(Ok(next)) = input.bytes.get(BODY..).and_then(Header::parse)
        {
            let position = input.position.wrapping_sub(const { HEADER as u32 });
            self.requests.state = State::Record;
            self.begin(next.id, &Input { position, ..input }, signals);
            return Taken::Bytes(BODY);
        }
        if input.turned {
            match (begins_request(input.bytes), ends_request(input.bytes)) {
                (Guess::Client, _) | (_, Guess::Client) => {
                    self.requests.state = State::Record;
                    return self.request_record(input, signals);
                }
                (Guess::TooShort, _) | (_, Guess::TooShort) => return Taken::More,
                _ => {}
            }
        }
        if let State::Lost(tail) = &mut self.requests.state
            && let Some(last) = tail.last::<HEADER>(input.bytes)
            && ends_request(last) == Guess::Client
            && let Some(Ok(Header { id, .. })) = Header::parse(last)
            && self.open.iter().any(|open| open.id == id)
        {
            self.requests.state = State::Record;
            self.request_sent(id, signals);
        }
        Taken::Bytes(input.bytes.len())
    }

    /// The server has spoken of a request whose variables are not complete: it will not wait for them.
    pub(super) fn answered_early(&mut self, id: RequestId, signals: &mut Signals) {
        let Some(index) = self.begun.iter().position(|begun| begun.id == id) else { return };
        let begun = self.begun.remove(index);
        self.open_exchange(&begun, signals);
    }
}
