//! The server's direction: responses close the exchanges, in order.

use super::{
    Http1, Partial, State,
    body::{self, Step},
    exchange::{Method, Open, Outcome},
    head::{Head, leading_line_ends, parse_status_line, response_start},
    take_head,
};
use crate::{
    event::Time,
    protocols::{FOREVER, Guess, Input, Missing, Role, Signal, Signals, Taken, http::fields::Lines},
    streams::Loss,
};

impl Http1 {
    pub(super) fn read_response(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match &mut self.responses.state {
            State::Head => self.response_head(input, signals),
            State::Chunked(chunked) => match chunked.step(input.bytes) {
                Step::More => Taken::More,
                Step::Line(bytes) => Taken::Bytes(bytes),
                Step::Chunk { line, data } => Taken::Skip { bytes: line, skip: data },
                Step::Last(bytes) => {
                    self.response_complete(input.last, signals);
                    Taken::Bytes(bytes)
                }
                Step::Invalid => {
                    self.malformed(Role::Server, input.last, signals);
                    Taken::Bytes(input.bytes.len())
                }
            },
            State::Lost(_) => self.lost_response(input, signals),
            State::Expecting(_) | State::Connecting | State::Length | State::Close | State::Done => {
                Taken::Skip { bytes: 0, skip: FOREVER }
            }
        }
    }

    /// The last byte of the oldest exchange's response has passed at this time.
    pub(super) fn response_complete(&mut self, time: Time, signals: &mut Signals) {
        self.responses.state = State::Head;
        let method = self.open.front().map(Open::method);
        self.close_oldest(Outcome::Complete, time, signals);
        self.connect_refused(method.unwrap_or(Method::Other));
    }

    fn response_head(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let empty_lines = leading_line_ends(input.bytes);
        if empty_lines > 0 {
            return Taken::Bytes(empty_lines);
        }
        if response_start(input.bytes) == Guess::No {
            self.malformed(Role::Server, input.last, signals);
            return Taken::Bytes(input.bytes.len());
        }
        match self.responses.head_end(&input) {
            Some(end) => self.response(end, input, signals),
            None if input.bytes.len() < self.options.head_limit => Taken::More,
            None => {
                signals.push(Signal::Lost(Loss::Budget));
                self.answer_partial();
                self.lose(Role::Server, Missing::Part, input.last, signals);
                Taken::Bytes(input.bytes.len())
            }
        }
    }

    /// A complete response head of `bytes` bytes.
    fn response(&mut self, bytes: usize, input: Input<'_>, signals: &mut Signals) -> Taken {
        let head = Head::parse(input.bytes.get(..bytes).unwrap_or_default());
        let Some(status) = parse_status_line(head.start) else {
            self.malformed(Role::Server, input.last, signals);
            return Taken::Bytes(bytes);
        };
        if matches!(status, 100 | 102..200) {
            return Taken::Bytes(bytes);
        }
        let Some(open) = self.open.front_mut().filter(|open| open.awaits_answer(input.first)) else {
            // Without the request's method nobody knows whether a body follows (HEAD), so the next turn decides.
            signals.push(Signal::Lost(Loss::Unmatched));
            self.responses.lose();
            return Taken::Bytes(bytes);
        };
        let method = open.method();
        open.answer(status, &head.fields, &self.options);
        if self.requests.is_lost() {
            self.request_sent(signals);
        }
        if status == 101 || (method == Method::Connect && (200..300).contains(&status)) {
            return self.switch(bytes, input.last, signals);
        }
        let Ok(framing) = body::of_response(&head.fields, status, method == Method::Head) else {
            self.malformed(Role::Server, input.last, signals);
            return Taken::Bytes(bytes);
        };
        let (state, taken) = take_head(bytes, framing);
        let complete = matches!(state, State::Head);
        self.responses.state = state;
        if complete {
            self.response_complete(input.last, signals);
        }
        taken
    }

    /// The connection belongs to another protocol from here on (RFC 9110 §7.8, §9.3.6).
    fn switch(&mut self, bytes: usize, time: Time, signals: &mut Signals) -> Taken {
        self.close_oldest(Outcome::Complete, time, signals);
        self.close_all(time, signals);
        self.done();
        signals.push(Signal::Switched);
        Taken::Skip { bytes, skip: FOREVER }
    }

    /// The end of the response's head will not be seen: what was captured of it answers the oldest request.
    pub(super) fn answer_partial(&mut self) {
        let Partial { bytes, begin } = std::mem::take(&mut self.responses.partial);
        let Some(status) = Lines(&bytes).next().and_then(parse_status_line) else { return };
        if let Some(open) = self.open.front_mut().filter(|open| open.awaits_answer(begin.first))
            && status >= 200
        {
            open.answer(status, &Head::parse(&bytes).fields, &self.options);
        }
    }

    /// Looks for the next response after a loss. Until then, for the end of the one that was lost.
    fn lost_response(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match response_start(input.bytes) {
            Guess::TooShort if input.turned => return Taken::More,
            Guess::Server if input.turned => {
                // One request has one final response: this one is another's, whose request was not seen.
                if self.open.front().is_some_and(Open::is_begun) {
                    self.close_oldest(Outcome::Incomplete, self.responses.last, signals);
                }
                self.responses.state = State::Head;
                return self.response_head(input, signals);
            }
            // Bytes in the middle of a turn: the oldest request's answer has begun before them, or they are an earlier one's.
            _ => self.open.iter_mut().take(1).for_each(Open::miss),
        }
        if let State::Lost(tail) = &mut self.responses.state
            && tail.ends_chunked(input.bytes)
            && self.open.front().is_some_and(Open::is_answered)
        {
            self.close_oldest(Outcome::Complete, input.last, signals);
        }
        Taken::Bytes(input.bytes.len())
    }
}
