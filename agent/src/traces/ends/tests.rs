#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use super::*;
use crate::event::{Origin, Task};

fn socket(id: SocketId, local: Address, peer: Address, netns: u32) -> Socket {
    let task = Task::thread(1, 1, 0);
    Socket { id, time: 0, task, local, peer, netns, origin: Origin::Unknown, positions: None }
}

fn tcp(id: SocketId, local: (u8, u16), peer: (u8, u16), netns: u32) -> Socket {
    let inet = |(first, port): (u8, u16)| Address::Inet([first, 0, 0, 1].into(), port);
    socket(id, inet(local), inet(peer), netns)
}

fn opened(sockets: &[&Socket]) -> Ends {
    let mut ends = Ends::default();
    sockets.iter().for_each(|socket| ends.opened(socket));
    ends
}

#[test]
fn a_request_is_found_once_by_its_position() {
    let (client, server) = (tcp(1, (127, 4000), (127, 80), 1), tcp(2, (127, 80), (127, 4000), 1));
    let mut ends = opened(&[&server, &client]);
    ends.requested(1, 10, u32::MAX, 5);
    ends.requested(1, 11, 20, 5);
    assert_eq!(ends.take(&server, 21, 9), None);
    assert_eq!(ends.take(&server, 20, 9), Some(11));
    assert_eq!(ends.take(&server, 20, 9), None);
    ends.finished(1, 10);
    assert_eq!(ends.take(&server, u32::MAX, 9), None);
}

#[test]
fn hosts_addresses_are_the_same_in_every_namespace_and_loopback_is_not() {
    for (first, found) in [(10, Some(7)), (127, None)] {
        let (client, server) = (tcp(1, (first, 4000), (first, 80), 1), tcp(2, (first, 80), (first, 4000), 2));
        let mut ends = opened(&[&client, &server]);
        ends.requested(1, 7, 0, 0);
        assert_eq!(ends.take(&server, 0, 1), found);
    }
}

#[test]
fn the_latest_of_several_sockets_with_the_same_addresses_counts() {
    let (stale, client) = (tcp(1, (127, 4000), (127, 80), 1), tcp(3, (127, 4000), (127, 80), 1));
    let server = tcp(2, (127, 80), (127, 4000), 1);
    let mut ends = opened(&[&stale, &server, &client]);
    ends.requested(1, 7, 0, 0);
    ends.requested(3, 8, 0, 0);
    assert_eq!(ends.take(&server, 0, 1), Some(8));
}

#[test]
fn unix_requests_are_taken_in_order_and_not_before_they_were_sent() {
    let (one, two) = (Address::Unix(9, None), Address::Unix(4, Some("/run/x".to_owned())));
    let (client, server) = (socket(1, one.clone(), two.clone(), 1), socket(2, two, one, 1));
    let mut ends = opened(&[&client, &server]);
    ends.requested(1, 7, 0, 10);
    ends.requested(1, 8, 0, 20);
    assert_eq!(ends.take(&server, 5, 9), None);
    assert_eq!(ends.take(&server, 5, 30), Some(7));
    assert_eq!(ends.take(&server, 5, 30), Some(8));
}

#[test]
fn nothing_is_left_of_a_closed_socket() {
    let (client, server) = (tcp(1, (127, 4000), (127, 80), 1), tcp(2, (127, 80), (127, 4000), 1));
    let mut ends = opened(&[&client, &server]);
    for node in 0..5000 {
        ends.requested(1, node, 0, 0);
    }
    assert_eq!(ends.requests[&1].len(), WAITING_LIMIT);
    ends.closed(1);
    assert_eq!(ends.take(&server, 0, 1), None);
    ends.closed(2);
    ends.closed(2);
    assert!(ends.is_empty() && ends.sockets.is_empty() && ends.requests.is_empty());
}
