//! Bytes that break the rules.

use proptest::prelude::*;

use super::*;

/// Every exchange is opened once, closed once, and in that order.
fn check(signals: &[Signal]) {
    let mut open = std::collections::BTreeSet::new();
    let mut next = 0;
    for signal in signals {
        match signal {
            Signal::Opened { exchange, .. } => {
                assert_eq!(*exchange, next);
                next += 1;
                open.insert(*exchange);
            }
            Signal::Requested(exchange) => assert!(open.contains(exchange)),
            Signal::Closed(exchange, done) => {
                assert!(open.remove(exchange));
                assert!(done.end >= done.start);
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(b"\x03SELECT 1; SELECT 2".to_vec()),
        Just(b"\x16SELECT ?".to_vec()),
        Just(b"\x17\x01\0\0\0\0\x01\0\0\0".to_vec()),
        Just(b"\0\x01\0\0\0\x01\0\x01\0\0\0\0".to_vec()),
        Just(b"\0\0\0\x02\0\0\0".to_vec()),
        Just(b"\0\0\0\x0a\0\0\0".to_vec()),
        Just(b"\x11a\0\0b\0".to_vec()),
        Just(b"\xfbfile".to_vec()),
        Just(vec![1]),
        Just(COLUMN.to_vec()),
        Just(EOF.to_vec()),
        Just(OK_EOF.to_vec()),
        Just(b"\xff\x7a\x04#42S02no".to_vec()),
    ];
    prop_oneof![
        6 => (0_u8..6, payload).prop_map(|(sequence, payload)| packet(sequence, &payload)),
        1 => prop::collection::vec(any::<u8>(), 1..30),
    ]
}

proptest! {
    #[test]
    fn any_bytes_leave_no_exchange_open(
        session in any::<bool>(),
        from_start in any::<bool>(),
        steps in prop::collection::vec((any::<bool>(), piece(), 0..20_u8), 0..40),
    ) {
        let mut play = if session { Play::session() } else { Play::new(from_start) };
        for (client, bytes, luck) in steps {
            let from = if client { Role::Client } else { Role::Server };
            if luck == 0 {
                play.gap(from);
            }
            if !bytes.is_empty() {
                play.send(from, &bytes);
            }
        }
        play.end(End::Closed);
        check(&play.signals);
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let mut play = Play::session();
    for _ in 0..5000 {
        play.c(&query("SELECT 1"));
    }
    assert!(play.parser.session.pending.len() <= 1024);
    assert!(play.signals.contains(&Signal::Lost(Loss::Evicted)));
    play.end(End::Closed);
    check(&play.signals);

    let mut play = Play::session();
    for id in 0..5000_u32 {
        play.c(&packet(0, b"\x16SELECT ?")).s(&packet(1, &[&[0], &id.to_le_bytes()[..], &[0; 7]].concat()));
    }
    let evicted = play.signals.iter().filter(|signal| **signal == Signal::Lost(Loss::Evicted)).count();
    assert_eq!(evicted, 5000 - 4096);
}
