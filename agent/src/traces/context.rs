//! W3C Trace Context (Level 2): what the `traceparent` and `tracestate` headers of a request say about its caller.

use crate::{
    protocols::IncomingContext,
    traces::span::{SpanId, TraceId},
};

/// The caller sampled the trace.
pub const SAMPLED: u8 = 0x01;
/// The trace id was generated randomly (Level 2, §3.2.2.5.2): copied unchanged when a trace is continued.
pub const RANDOM: u8 = 0x02;

/// Length of a version `00` traceparent: `00-<32>-<16>-<2>`.
const TRACEPARENT_LENGTH: usize = 55;
/// Most members of a tracestate (§3.3.1.1).
const MEMBER_LIMIT: usize = 32;
/// Longest key and longest value of a member (§3.3.1.3).
const KEY_LIMIT: usize = 256;
const VALUE_LIMIT: usize = 256;

/// The caller's span, as its request named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteContext {
    /// The trace that goes on here.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// [`SAMPLED`] and [`RANDOM`]; the bits that have no meaning yet are cleared, as version `00` demands of a sender.
    pub flags: u8,
    /// The combined and validated `tracestate`; empty if there was none or it broke the rules.
    pub state: String,
}

/// Reads the headers of one request. `None` means that the trace begins here: no `traceparent`, several of them, or
/// one that is invalid; its `tracestate` is then void too (§3.3.1.6).
#[must_use]
pub fn extract(incoming: &IncomingContext) -> Option<RemoteContext> {
    let [traceparent] = incoming.traceparent.as_slice() else { return None };
    let (trace_id, span_id, flags) = parse_traceparent(trim(traceparent).as_bytes())?;
    Some(RemoteContext { trace_id, span_id, flags, state: combine(&incoming.tracestate).unwrap_or_default() })
}

/// §3.2.2 for version `00`, §4.3 for the versions after it: their first 55 characters are read as version `00`.
fn parse_traceparent(text: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let (known, rest) = text.split_at_checked(TRACEPARENT_LENGTH)?;
    let mut fields = known.split(|&byte| byte == b'-');
    let [version] = hex::<1>(fields.next()?)?;
    let trace_id = hex::<16>(fields.next()?)?;
    let span_id = hex::<8>(fields.next()?)?;
    let [flags] = hex::<1>(fields.next()?)?;
    let rest_allowed = rest.is_empty() || (version > 0 && rest.starts_with(b"-"));
    let valid = fields.next().is_none()
        && version != 0xff
        && rest_allowed
        && trace_id.iter().any(|&byte| byte != 0)
        && span_id.iter().any(|&byte| byte != 0);
    valid.then_some((TraceId(trace_id), SpanId(span_id), flags & (SAMPLED | RANDOM)))
}

/// Exactly `N` bytes of lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

/// The members of all header lines in order (§3.3.1): empty ones and the white space around them left out, duplicate
/// keys kept. `None` if any member is invalid or there are too many: half a tracestate may say something else.
fn combine(lines: &[String]) -> Option<String> {
    let mut combined = String::new();
    let members = lines.iter().flat_map(|line| line.split(',')).map(trim).filter(|member| !member.is_empty());
    for (index, member) in members.enumerate() {
        let (key, value) = member.split_once('=')?;
        if index >= MEMBER_LIMIT || !is_key(key.as_bytes()) || !is_value(value.as_bytes()) {
            return None;
        }
        if index > 0 {
            combined.push(',');
        }
        combined.push_str(member);
    }
    Some(combined)
}

/// `key = ( lcalpha / DIGIT ) 0*255 ( keychar )` of Level 2, where `@` is a character like any other.
fn is_key(key: &[u8]) -> bool {
    let begins = key.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    begins && key.len() <= KEY_LIMIT && key.iter().all(allowed)
}

/// `value = 0*255(chr) nblk-chr`: printable ASCII but `,` and `=`, the last one not a space.
fn is_value(value: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b' '..=b'~') && !b",=".contains(byte);
    value.last().is_some_and(|&last| last != b' ') && value.len() <= VALUE_LIMIT && value.iter().all(allowed)
}

/// Without optional white space (RFC 9110 §5.6.3), which is narrower than Unicode's.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests;
