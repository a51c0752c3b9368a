//! A request and, as it comes, its response: what the span will say.

use std::borrow::Cow;

use super::{Request, fields::Fields, span};
use crate::{
    event::Time,
    protocols::{
        Connection, Exchange, Options, Role,
        held::{Held, Tally},
    },
    traces::span::{Attribute, Value},
};

/// What is known of an exchange that is not over.
#[derive(Debug)]
pub(crate) struct Call {
    start: Time,
    name: Cow<'static, str>,
    attributes: Vec<Attribute>,
    /// The code of the final response, once its head was seen.
    status: Option<u16>,
    held: Held,
}

impl Call {
    /// A request whose first byte was sent or received at `start`.
    pub(crate) fn new(request: &Request<'_>, start: Time, connection: &Connection, options: &Options) -> Self {
        Self {
            start,
            name: span::name(request.method, options),
            attributes: span::of_request(request, connection, options),
            status: None,
            held: Held::default(),
        }
    }

    /// Counts it among what the parser keeps, with the `size` of what it is a part of; the few attributes of its response
    /// are not worth counting.
    pub(crate) fn kept_by(mut self, tally: &Tally, size: usize) -> Self {
        let bytes = |(_, value): &Attribute| match value {
            Value::String(text) => text.len(),
            Value::Strings(texts) => texts.iter().map(|text| text.len() + size_of::<String>()).sum(),
            Value::Int(_) | Value::Bool(_) | Value::Double(_) => 0,
        };
        let attributes: usize = self.attributes.iter().map(bytes).sum();
        self.held = tally.hold(size + self.attributes.len() * size_of::<Attribute>() + attributes);
        self
    }

    /// When the request's first byte was sent or received.
    pub(crate) fn start(&self) -> Time {
        self.start
    }

    /// Whether the head of the final response was seen.
    pub(crate) fn is_answered(&self) -> bool {
        self.status.is_some()
    }

    /// The head of the final response was seen, or the part of it that was captured.
    pub(crate) fn answer(&mut self, status: u16, fields: &Fields<'_>, options: &Options) {
        self.status = Some(status);
        self.attributes.extend(span::of_response(status, fields, options));
    }

    /// It is over, for this reason (`error.type`) if not by its response.
    pub(crate) fn close(mut self, failure: Option<&'static str>, end: Time, local_role: Role) -> Exchange {
        let (error, status) = span::verdict(self.status, failure, local_role);
        self.attributes.extend(error);
        let Self { start, name, attributes, status: _, held: _ } = self;
        Exchange { name, start, end: end.max(start), attributes, status }
    }
}
