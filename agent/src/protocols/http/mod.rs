//! What the protocols that carry HTTP share: header fields, and the span of a request and its response.

mod call;
pub(crate) mod fields;
mod forwarded;
mod span;
mod target;

pub(crate) use call::Call;

use std::borrow::Cow;

use self::fields::Fields;
use crate::protocols::{IncomingContext, likeness::Likeness};

/// A request, whatever protocol carried it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The method as sent; empty if it was not told.
    pub(crate) method: &'a [u8],
    /// The request target (RFC 9112 §3.2).
    pub(crate) target: Cow<'a, [u8]>,
    /// Its header fields.
    pub(crate) fields: Fields<'a>,
    /// `network.protocol.name`, where it is not HTTP.
    pub(crate) protocol: Option<&'static str>,
    /// `network.protocol.version`.
    pub(crate) version: &'static str,
    /// The scheme that the client used, as the web server before this one says.
    pub(crate) scheme: Option<&'a [u8]>,
    /// The client's address, as the web server before this one says.
    pub(crate) client: Option<&'a [u8]>,
}

impl Request<'_> {
    /// The context that came with it.
    pub(crate) fn context(&self) -> IncomingContext {
        let Self { fields, .. } = self;
        IncomingContext { traceparent: fields.texts("traceparent"), tracestate: fields.texts("tracestate") }
    }

    /// What sort of request it is.
    pub(crate) fn likeness(&self) -> Likeness {
        Likeness::of_http(self.method, &self.target)
    }
}
