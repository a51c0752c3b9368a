//! Evidence `header`: who sent a `traceparent`, and who only passed it on.

use super::*;

const PROXY: Thread = (1, 1);
const APP: Thread = (2, 2);
const REMOTE: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1,b=2\r\n";
const OWN: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\r\n";

fn world() -> World {
    let mut world = World::new();
    world.process(1, "proxy", Runtime::Threads);
    world.process(2, "shop", Runtime::Threads);
    world
}

/// A request with this header at the proxy, which sends another one on.
fn proxied(outer: &str, inner: &str) -> World {
    let mut world = world();
    let front = world.accept(PROXY);
    let (near, far) = world.loopback(PROXY, APP, (Origin::Connected, Origin::Accepted));
    world.wait(PROXY);
    world.read(PROXY, front, with_headers("/in", outer));
    world.write(PROXY, near, with_headers("/on", inner));
    world.read(APP, far, with_headers("/on", inner));
    world.answer(APP, far);
    world.wait(PROXY);
    world.result(PROXY, near);
    world.answer(PROXY, front);
    world
}

#[track_caller]
fn assert_continues(span: &Span, span_id: u64, remote: bool) {
    let parent = span.parent.unwrap();
    assert_eq!(parent.span_id.0, span_id.to_be_bytes());
    assert_eq!((parent.evidence, parent.remote), (Evidence::Header, remote));
    assert_eq!(span.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.trace_flags, 1);
    assert_eq!(span.string("syspan.parent.evidence"), Some("header"));
}

#[test]
fn a_header_that_is_passed_on_unchanged_goes_around_nobody() {
    let run = proxied(REMOTE, REMOTE).run();
    run.assert_no_losses();
    assert_continues(run.server("/in"), 0xb7ad_6b71_6920_3331, true);
    assert_eq!(run.server("/in").trace_state, "a=1,b=2");
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
    run.assert_edge(run.server("/on"), run.client("/on"), Evidence::Socket);
}

#[test]
fn a_header_that_is_passed_on_by_another_thread_names_the_request() {
    let mut world = world();
    let (front, back) = (world.accept(PROXY), world.connect((1, 9), 5000));
    world.read(PROXY, front, with_headers("/in", REMOTE));
    world.write((1, 9), back, with_headers("/on", REMOTE));
    world.result((1, 9), back);
    world.answer((1, 9), front);
    let run = world.run();
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Header);
    // Two requests with the same header: either may have been passed on.
    let mut world = self::world();
    let (one, two, back) = (world.accept(PROXY), world.accept((1, 5)), world.connect((1, 9), 5000));
    world.read(PROXY, one, with_headers("/one", REMOTE));
    world.read((1, 5), two, with_headers("/two", REMOTE));
    world.write((1, 9), back, with_headers("/on", REMOTE));
    world.result((1, 9), back);
    world.answer((1, 9), one);
    world.answer((1, 9), two);
    let run = world.run();
    assert_continues(run.client("/on"), 0xb7ad_6b71_6920_3331, false);
}

#[test]
fn a_header_of_an_sdk_in_the_process_is_believed() {
    let run = proxied(REMOTE, OWN).run();
    assert_continues(run.server("/in"), 0xb7ad_6b71_6920_3331, true);
    assert_continues(run.client("/on"), 0x00f0_67aa_0ba9_02b7, false);
    assert_continues(run.server("/on"), 0x00f0_67aa_0ba9_02b7, true);
}

#[test]
fn an_invalid_header_is_no_evidence() {
    let run = proxied("", "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n").run();
    run.assert_root(run.server("/in"));
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
    run.assert_edge(run.server("/on"), run.client("/on"), Evidence::Socket);
}

#[test]
fn headers_alone_still_join() {
    // A header was passed on, so both calls' parents are known by it.
    let run = proxied(REMOTE, REMOTE).run_with(Evidence::Header);
    assert_continues(run.server("/in"), 0xb7ad_6b71_6920_3331, true);
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Header);
    assert_continues(run.server("/on"), 0xb7ad_6b71_6920_3331, true);
    let run = proxied(REMOTE, "").run_with(Evidence::Header);
    run.assert_root(run.client("/on"));
    run.assert_root(run.server("/on"));
    let run = proxied(REMOTE, REMOTE).run_with(Evidence::Socket);
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Header);
    run.assert_edge(run.server("/on"), run.client("/on"), Evidence::Socket);
}
