//! The server's direction: the record that ends a request closes its exchange.

use super::{
    FastCgi, State,
    exchange::{Added, Outcome},
    record::{BODY, Ending, HEADER, Header, RequestId, kind},
};
use crate::{
    event::Time,
    protocols::{FOREVER, Input, Role, Signal, Signals, Taken},
    streams::Loss,
};

impl FastCgi {
    pub(super) fn read_response(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match &mut self.responses.state {
            State::Record => self.response_record(input, signals),
            State::Content { id, left, padding } => {
                let (id, left, padding) = (*id, *left, *padding);
                self.response_head(id, left, padding, input, signals)
            }
            State::Lost(_) => self.lost_response(input, signals),
            State::Done => Taken::Skip { bytes: 0, skip: FOREVER },
        }
    }

    fn response_record(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let header = match Header::parse(input.bytes) {
            None => return Taken::More,
            Some(Ok(header)) => header,
            Some(Err(_)) => return self.no_response(input, signals),
        };
        match header.kind {
            kind::END_REQUEST if header.length < BODY => return self.no_response(input, signals),
            kind::END_REQUEST => {
                let Some(&body) = input.bytes.get(HEADER..).and_then(<[u8]>::first_chunk) else { return Taken::More };
                self.ended(header.id, Ending::parse(body), input.last, signals);
                return Taken::past(HEADER + BODY, header.rest() - BODY);
            }
            kind::STDOUT if header.length > 0 => {
                self.answered_early(header.id, signals);
                if self.open.iter().any(|open| open.id == header.id && open.awaits_head()) {
                    let Header { id, length: left, padding, .. } = header;
                    self.responses.state = State::Content { id, left, padding };
                    return Taken::Bytes(HEADER);
                }
            }
            kind::BEGIN_REQUEST | kind::ABORT_REQUEST | kind::PARAMS | kind::STDIN | kind::DATA | kind::GET_VALUES => {
                return self.no_response(input, signals);
            }
            // Bodies, messages, answers about the server, types to come.
            _ => {}
        }
        Taken::past(HEADER, header.rest())
    }

    fn no_response(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        self.malformed(Role::Server, input.last, signals);
        Taken::Bytes(input.bytes.len())
    }

    /// The content of `FCGI_STDOUT`, up to the end of the response's header.
    fn response_head(
        &mut self,
        id: RequestId,
        left: usize,
        padding: usize,
        input: Input<'_>,
        signals: &mut Signals,
    ) -> Taken {
        let part = input.bytes.get(..left).unwrap_or(input.bytes);
        let left = left - part.len();
        let open = self.open.iter_mut().find(|open| open.id == id);
        match open.map_or(Added::Complete, |open| open.add(part, &self.options)) {
            Added::More if left > 0 => {
                self.responses.state = State::Content { id, left, padding };
                return Taken::Bytes(part.len());
            }
            Added::TooLong => signals.push(Signal::Lost(Loss::Budget)),
            Added::More | Added::Complete => {}
        }
        self.responses.state = State::Record;
        Taken::past(part.len(), left + padding)
    }

    fn ended(&mut self, id: RequestId, ending: Ending, time: Time, signals: &mut Signals) {
        self.answered_early(id, signals);
        match self.open.iter().position(|open| open.id == id) {
            Some(index) => self.close(index, Outcome::Ended(ending), time, signals),
            None => signals.push(Signal::Lost(Loss::Unmatched)),
        }
    }

    /// Looks for the next response after a loss. Until then, for the end of the one that was lost.
    fn lost_response(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        if input.turned {
            match Header::parse(input.bytes) {
                None => return Taken::More,
                Some(Ok(header)) if header.is_answer(self.open.iter().map(|open| open.id)) => {
                    self.responses.state = State::Record;
                    return self.response_record(input, signals);
                }
                Some(_) => {}
            }
        }
        if let State::Lost(tail) = &mut self.responses.state
            && let Some(last) = tail.last::<{ HEADER + BODY }>(input.bytes)
            && let Some((header, body)) = last.split_first_chunk::<HEADER>()
            && let Some(Ok(header)) = Header::parse(header)
            && header.kind == kind::END_REQUEST
            && header.rest() == BODY
            && let Some(&body) = body.first_chunk()
            && let Some(index) = self.open.iter().position(|open| open.id == header.id)
        {
            self.responses.state = State::Record;
            self.close(index, Outcome::Ended(Ending::parse(body)), input.last, signals);
        }
        Taken::Bytes(input.bytes.len())
    }
}
