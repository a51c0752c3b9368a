//! The `traceparent` and `tracestate` headers.

use syspan::{
    protocols::IncomingContext,
    traces::context::{RANDOM, RemoteContext, SAMPLED, extract},
};

/// Lines of text: those that do not begin with `=` are `traceparent` headers, the others `tracestate`. What is taken from
/// them is valid, stands in them, and is read again from what a sender would write.
pub fn context(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut incoming = IncomingContext::default();
    for line in text.split('\n') {
        match line.strip_prefix('=') {
            Some(state) => incoming.tracestate.push(state.to_owned()),
            None => incoming.traceparent.push(line.to_owned()),
        }
    }
    let Some(context) = extract(&incoming) else { return };
    let RemoteContext { trace_id, span_id, flags, state } = &context;
    assert!(trace_id.0 != [0; 16] && span_id.0 != [0; 8]);
    assert_eq!(flags & !(SAMPLED | RANDOM), 0);
    let [line] = incoming.traceparent.as_slice() else {
        panic!("one of {} lines was chosen", incoming.traceparent.len())
    };
    assert!(line.trim().get(3..).is_some_and(|rest| rest.starts_with(&format!("{trace_id}-{span_id}-"))), "{line:?}");
    let members = state.split(',').filter(|member| !member.is_empty()).count();
    assert!(members <= 32 && state.is_ascii() && !state.contains(|c: char| c.is_ascii_control()), "{state:?}");

    let sent = IncomingContext {
        traceparent: vec![format!("00-{trace_id}-{span_id}-{flags:02x}")],
        tracestate: vec![state.clone()],
    };
    assert_eq!(extract(&sent), Some(context));
}
