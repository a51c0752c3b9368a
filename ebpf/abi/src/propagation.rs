//! What the programs and the agent share to carry contexts between hosts (`--propagate`, docs/propagation.md).

use super::Header;

/// The TCP option's kind: unassigned by IANA since 2000, and the one that OpenTelemetry's eBPF instrumentation uses.
pub const OPTION_KIND: u8 = 25;

/// The TCP option's length: kind and length, a trace id, a span id. Its context is sampled.
pub const OPTION_LENGTH: u8 = 26;

/// A level of socket options that no kernel has ("sysp"): the agent asks for connections older than itself by it. The option's number
/// is the callbacks to switch on (`BPF_SOCK_OPS_*_CB_FLAG`).
pub const ADOPT_LEVEL: i32 = 0x7379_7370;

/// The request that a client's connection sends next, or has sent last.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The trace it belongs to.
    pub trace_id: [u8; 16],
    /// The span that it is.
    pub span_id: [u8; 8],
    /// The TCP sequence number of its first byte.
    pub position: u32,
    /// Whether the other members are set: 0 before the first request and while they are changed.
    pub ready: u32,
}

/// Where a context arrived: a connection, and the first byte of the segment that brought it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// The socket's cookie.
    pub cookie: u64,
    /// TCP sequence number.
    pub position: u32,
    /// Zero.
    pub reserved: u32,
}

/// A context as the option carries it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The parent of what it came with.
    pub span_id: [u8; 8],
}

/// A request's context is known to the programs.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ContextEvent {
    /// Header.
    pub header: Header,
    /// The trace.
    pub trace_id: [u8; 16],
    /// By `meaning`: the request's own span, its parent, or zeros.
    pub span_id: [u8; 8],
    /// Position of the request's first byte.
    pub position: u32,
    /// A [`meaning`] constant.
    pub meaning: u32,
    /// Where in the message a header with the context was inserted ([`HEADER_LENGTH`] bytes that the application did not send); 0: nowhere.
    pub offset: u32,
    /// The header's flags.
    pub flags: u32,
}

/// [`Config::propagate`](super::Config::propagate).
pub mod carrier {
    /// Nothing carries contexts.
    pub const NONE: u32 = 0;
    /// A TCP option.
    pub const TCP: u32 = 1;
    /// A header of HTTP/1 requests.
    pub const HEADERS: u32 = 2;
}

/// The header that is inserted, up to its values: with trace id, span id and flags it is [`HEADER_LENGTH`] bytes.
pub const HEADER_BEGIN: [u8; 16] = *b"traceparent: 00-";

/// `traceparent: 00-<32 digits>-<16 digits>-<2 digits>\r\n`.
pub const HEADER_LENGTH: u32 = 16 + 32 + 1 + 16 + 1 + 2 + 2;

/// [`ContextEvent::meaning`].
pub mod meaning {
    /// A request is sent with this context: its CLIENT span has these ids.
    pub const SENT: u32 = 1;
    /// A request came with this context: its SERVER span is a child of that span.
    pub const ARRIVED: u32 = 2;
    /// A request came without one: what is sent for it will have this trace id. There is no span id.
    pub const BEGUN: u32 = 3;
}

const _: () = assert!(size_of::<Outgoing>() == 32);
const _: () = assert!(size_of::<Place>() == 16);
const _: () = assert!(size_of::<Carried>() == 24);
const _: () = assert!(size_of::<ContextEvent>() == size_of::<Header>() + 40);

/// aya's marker for values that may be copied into and out of maps as bytes.
#[cfg(feature = "std")]
mod pod {
    // SAFETY: repr(C), Copy, plain integers only, and no padding by the size asserted above.
    unsafe impl aya::Pod for super::Outgoing {}
}
