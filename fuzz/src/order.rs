//! Events that are told out of order.

use syspan::{
    event::{Event, Pid},
    streams::order::{Order, WINDOW},
};

/// Nothing is lost or doubled, and what is told within the window comes out in the order of time, equals as they were told.
pub fn order(bytes: &[u8]) {
    let mut order = Order::default();
    let mut out = Vec::new();
    let (mut now, mut late, mut told) = (0_u64, false, 0);
    for (pid, delta) in bytes.chunks_exact(2).enumerate() {
        let delta = i64::from(i16::from_le_bytes([delta[0], delta[1]])) * (WINDOW as i64 / 30_000);
        let time = now.saturating_add_signed(delta);
        late |= time.saturating_add(WINDOW) <= now;
        now = now.max(time);
        order.push(time, Event::Exit { time, pid: pid as Pid });
        told += 1;
        while let Some(event) = order.pop() {
            assert!(event.time().unwrap().saturating_add(WINDOW) <= now, "let go too early");
            out.push(event);
        }
    }
    out.extend(std::iter::from_fn(|| order.drain()));
    assert_eq!(out.len(), told);
    let keys: Vec<_> = out
        .iter()
        .map(|event| if let Event::Exit { time, pid } = event { (*time, *pid) } else { panic!("another event") })
        .collect();
    assert!(late || keys.is_sorted(), "{keys:?}");
    let mut pids: Vec<_> = keys.iter().map(|&(_, pid)| pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), told, "one came twice");
}
