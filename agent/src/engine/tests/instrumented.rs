//! Programs that export spans of their own: what those cover makes no span here, and what is below it hangs where it hung.

use super::*;
use crate::protocols::Options;

const APP: Thread = (1, 1);
const EXPORTER: Thread = (1, 2);
const HEADER: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

impl World {
    /// A thread sends an export with these keys in its spans, and is answered.
    fn exports(&mut self, thread: Thread, keys: &str) {
        let collector = self.connect(thread, 4318);
        let head = format!("POST /v1/traces HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
        self.write(thread, collector, head);
        self.result(thread, collector);
    }
}

fn world() -> World {
    let mut world = World::new();
    world.process(1, "app", Runtime::Threads);
    world
}

/// A request with a header at the application, which makes a call without one for it.
fn request(world: &mut World, path: &str) {
    let (front, back) = (world.accept(APP), world.connect(APP, 5000));
    world.read(APP, front, with_headers(path, HEADER));
    world.blocking_call(APP, back, "/on");
    world.answer(APP, front);
}

#[test]
fn what_is_below_a_request_that_is_left_is_below_its_caller() {
    let mut world = world();
    world.exports(EXPORTER, "url.path url.full");
    request(&mut world, "/in");
    let run = world.run();
    // The export was already known for one when it was sent, the request is its SDK's; its call carries no header.
    let names: Vec<_> = run.spans.iter().filter_map(|span| span.string("url.path")).collect();
    assert!(names.is_empty(), "{names:?}");
    let call = run.client("/on");
    let parent = call.parent.unwrap();
    assert_eq!(call.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((parent.span_id.to_string().as_str(), parent.evidence), ("b7ad6b7169203331", Evidence::Header));
}

/// gRPC: the first call comes after both sides have said how they want to be spoken to.
#[test]
fn exports_by_grpc_are_seen_behind_the_settings() {
    let mut world = world();
    let collector = world.connect(EXPORTER, 4317);
    world.write(EXPORTER, collector, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    world.read(EXPORTER, collector, "\0\0\0\x04\0\0\0\0\0");
    world.write(EXPORTER, collector, "\0\0\0\x04\x01\0\0\0\0");
    world.write(EXPORTER, collector, "/opentelemetry.proto.collector.trace.v1.TraceService/Export url.path url.full");
    request(&mut world, "/in");
    let run = world.run();
    let paths: Vec<_> = run.spans.iter().filter_map(|span| span.string("url.path")).collect();
    assert!(paths.is_empty(), "{paths:?}");
}

#[test]
fn what_no_export_covers_is_traced() {
    let mut world = world();
    world.exports(EXPORTER, "url.full db.system");
    request(&mut world, "/in");
    let run = world.run();
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
}

/// A collector, or a proxy before one: it sends on what others export.
#[test]
fn who_receives_exports_is_traced() {
    let mut world = world();
    let front = world.accept(APP);
    world.read(APP, front, "POST /v1/traces HTTP/1.1\r\nHost: c\r\nContent-Length: 8\r\n\r\nurl.path");
    world.exports(APP, "url.path url.full");
    world.answer(APP, front);
    request(&mut world, "/in");
    let run = world.run();
    run.assert_edge(run.client("/on"), run.server("/in"), Evidence::Task);
    run.server("/v1/traces");
}

#[test]
fn all_is_traced_if_that_is_wanted() {
    let mut world = world();
    world.exports(EXPORTER, "url.path url.full");
    request(&mut world, "/in");
    let mut engine = Engine::new(Options { trace_instrumented: true, ..Options::default() }, Evidence::Task);
    let mut output = Output::default();
    for event in &world.events {
        engine.step(event.clone(), &mut output);
    }
    engine.finish(&mut output);
    assert_eq!(output.spans.len(), 3);
    assert!(engine.instrumented().is_empty());
}
