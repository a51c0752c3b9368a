//! What must hold of any parser's signals.

use std::collections::BTreeSet;

use syspan::protocols::Signal;

/// Every exchange is opened once, in the order of its number, and ends once, not before it began; `over` says that none may be
/// open any more.
pub(crate) fn check(signals: &[Signal], over: bool) {
    let mut open = BTreeSet::new();
    let mut next = 0;
    for signal in signals {
        match signal {
            Signal::Opened { exchange, .. } => {
                assert_eq!(*exchange, next, "exchanges are counted up");
                next += 1;
                open.insert(*exchange);
            }
            Signal::Requested(exchange) => assert!(open.contains(exchange), "{exchange} is requested, and not open"),
            Signal::Closed(exchange, done) => {
                assert!(open.remove(exchange), "{exchange} is closed, and not open");
                assert!(done.start <= done.end, "{exchange} ends before it begins");
                let keys: BTreeSet<_> = done.attributes.iter().map(|(key, _)| key).collect();
                assert_eq!(keys.len(), done.attributes.len(), "keys are unique");
            }
            Signal::Dropped(exchange) => assert!(open.remove(exchange), "{exchange} is dropped, and not open"),
            Signal::Incomplete(exchange) => assert!(open.contains(exchange), "{exchange} is incomplete, and not open"),
            Signal::Ready | Signal::Lost(_) | Signal::Abandon(_) | Signal::Switched => {}
        }
    }
    assert!(!over || open.is_empty(), "left open: {open:?}");
}
