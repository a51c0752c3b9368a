//! A finished span, in OpenTelemetry's terms but independent of any exporter.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::processes::Process;

/// A W3C trace id: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A W3C span id (parent-id): 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

macro_rules! lower_hex {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
lower_hex!(TraceId);
lower_hex!(SpanId);

/// How a parent is known, strongest first (`syspan.parent.evidence`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// A valid `traceparent` arrived with the request.
    Header,
    /// Both ends of the connection were seen: the server's parent is the client's span.
    Socket,
    /// The same thread, goroutine or event-loop turn was working for the parent.
    Task,
    /// The work was observably passed on from the task that worked for the parent.
    Handoff,
    /// Timing and order only; a [`Confidence`] says how far it can be believed.
    Inferred,
}

impl Evidence {
    /// The attribute value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Evidence::Header => "header",
            Evidence::Socket => "socket",
            Evidence::Task => "task",
            Evidence::Handoff => "handoff",
            Evidence::Inferred => "inferred",
        }
    }
}

/// How likely it is that what was inferred is right, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confidence(u16);

impl Confidence {
    /// The parts of 1 that it is kept in.
    const PARTS: f64 = 1000.0;

    /// Cut off to the range, and to three digits.
    #[must_use]
    pub fn new(probability: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        Self((probability.clamp(0.0, 1.0) * Self::PARTS) as u16)
    }

    /// As a number between 0 and 1.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / Self::PARTS
    }
}

/// The parent of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its span id; the trace id is the span's own.
    pub span_id: SpanId,
    /// How it is known.
    pub evidence: Evidence,
    /// Whether the parent is in another process (OTLP `Span.flags` bit 9).
    pub remote: bool,
}

/// The two span kinds system calls can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The process answered a request.
    Server,
    /// The process made a request.
    Client,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    String(Cow<'static, str>),
    /// A signed integer.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// A number.
    Double(f64),
    /// An array of strings (`http.request.header.<key>`).
    Strings(Vec<String>),
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::String(Cow::Owned(value))
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Value::String(Cow::Borrowed(value))
    }
}

impl From<Cow<'static, str>> for Value {
    fn from(value: Cow<'static, str>) -> Self {
        Value::String(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

/// A key and its value; keys are the constants of `opentelemetry-semantic-conventions` where one exists.
pub type Attribute = (Cow<'static, str>, Value);

/// Span status: `Ok` is never set by an instrumentation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// No error that concerns this span.
    #[default]
    Unset,
    /// Failed; the description is empty where `error.type` or the status code says it all.
    Error(String),
}

/// Another span that has to do with this one: the likely parent, where the evidence is too weak to make it one.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Its trace flags.
    pub trace_flags: u8,
    /// Why it is likely.
    pub attributes: Vec<Attribute>,
}

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The parent, unless this is a root.
    pub parent: Option<Parent>,
    /// W3C trace flags (bit 0 sampled, bit 1 random).
    pub trace_flags: u8,
    /// W3C `tracestate`, validated; empty if there was none.
    pub trace_state: String,
    /// SERVER or CLIENT.
    pub kind: Kind,
    /// Low-cardinality name.
    pub name: Cow<'static, str>,
    /// Start, ns since the Unix epoch.
    pub start: u64,
    /// End, ns since the Unix epoch, not before `start`.
    pub end: u64,
    /// Attributes, in the order they were set; keys are unique.
    pub attributes: Vec<Attribute>,
    /// Status.
    pub status: Status,
    /// Likely parents.
    pub links: Vec<Link>,
    /// Whose span it is: its Resource.
    pub process: Arc<Process>,
}

impl Span {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The value of a string attribute.
    #[must_use]
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.attribute(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Duration in ns.
    #[must_use]
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}
