//! Evidence `socket`, and the life of connections.

use super::*;

const CLIENT: Thread = (1, 1);
const SERVER: Thread = (2, 2);

/// A process that takes over sockets.
const HEIR: Thread = (77, 77);

fn world() -> World {
    let mut world = World::new();
    world.process(1, "gateway", Runtime::Threads);
    world.process(2, "shop", Runtime::Threads);
    world
}

/// A request and its response on both ends.
fn exchange(world: &mut World, (near, far): (SocketId, SocketId), path: &str) {
    world.call(CLIENT, near, path);
    world.request(SERVER, far, path);
    world.answer(SERVER, far);
    world.result(CLIENT, near);
}

#[track_caller]
fn assert_joined(run: &Run, path: &str) {
    run.assert_root(run.client(path));
    run.assert_edge(run.server(path), run.client(path), Evidence::Socket);
}

#[test]
fn both_ends_of_a_kept_connection_make_one_trace_a_request() {
    let connected = (Origin::Connected, Origin::Accepted);
    let older = (Origin::Unknown, Origin::Unknown);
    for origins in [connected, older, (Origin::Connected, Origin::Unknown), (Origin::Unknown, Origin::Accepted)] {
        let mut world = world();
        let pair = world.loopback(CLIENT, SERVER, origins);
        for n in 0..5 {
            exchange(&mut world, pair, &format!("/r{n}"));
        }
        world.end(CLIENT, pair.0, End::Closed);
        world.end(SERVER, pair.1, End::PeerClosed);
        world.end(SERVER, pair.1, End::Closed);
        let mut run = world.run();
        run.assert_no_losses();
        assert_eq!(run.spans.len(), 10);
        for n in 0..5 {
            assert_joined(&run, &format!("/r{n}"));
        }
        let traces: std::collections::HashSet<_> = run.spans.iter().map(|span| span.trace_id).collect();
        assert_eq!(traces.len(), 5);
        assert_eq!(run.engine.open(), 0);
        assert!(run.engine.traces.tracker.ends().is_empty());
        assert!(run.engine.traces.idle.is_empty());
    }
}

#[test]
fn pipelined_requests_are_told_apart_by_position() {
    let mut world = world();
    let (near, far) = world.loopback(CLIENT, SERVER, (Origin::Connected, Origin::Accepted));
    world.write(CLIENT, near, [get("/one"), get("/two")].concat());
    world.call(CLIENT, near, "/three");
    world.read(SERVER, far, [get("/one"), get("/two"), get("/three")].concat());
    world.write(SERVER, far, [OK, OK, OK].concat());
    world.read(CLIENT, near, [OK, OK, OK].concat());
    let run = world.run();
    for path in ["/one", "/two", "/three"] {
        assert_joined(&run, path);
    }
}

#[test]
fn a_loss_on_one_end_joins_nothing_wrongly() {
    let mut world = world();
    let pair = world.loopback(CLIENT, SERVER, (Origin::Connected, Origin::Accepted));
    exchange(&mut world, pair, "/r0");
    let (near, far) = pair;
    // The server's half of this one was lost.
    world.call(CLIENT, near, "/r1");
    world.unseen(far, Direction::Read, get("/r1").len() as u32);
    world.unseen(far, Direction::Write, OK.len() as u32);
    world.result(CLIENT, near);
    exchange(&mut world, pair, "/r2");
    exchange(&mut world, pair, "/r3");
    let run = world.run();
    assert_joined(&run, "/r0");
    // After a gap nobody knows where a turn begins: the next request counts as lost as well.
    for path in ["/r1", "/r2"] {
        run.assert_root(run.client(path));
        assert_eq!(run.client(path).string("error.type"), None);
    }
    assert_joined(&run, "/r3");
    assert_eq!(run.spans.iter().filter(|span| span.kind == Kind::Server).count(), 2);
    assert!(run.lost(Loss::Gap) > 0);
}

#[test]
fn unix_sockets_are_joined_by_order() {
    let mut world = world();
    let pair = world.unix(CLIENT, SERVER);
    for n in 0..3 {
        exchange(&mut world, pair, &format!("/r{n}"));
    }
    // The server does not see this one; the next is not taken for it.
    world.call(CLIENT, pair.0, "/r3");
    world.result(CLIENT, pair.0);
    exchange(&mut world, pair, "/r4");
    let run = world.run();
    for n in [0, 1, 2, 4] {
        assert_joined(&run, &format!("/r{n}"));
    }
    assert_eq!(run.spans.len(), 9);
}

#[test]
fn other_connections_with_the_same_numbers_are_not_the_other_end() {
    let mut world = world();
    let (near, _) = world.loopback(CLIENT, SERVER, (Origin::Connected, Origin::Accepted));
    // The same loopback addresses in another network namespace.
    let Some(Event::Socket(far)) = world.events.last().cloned() else { panic!() };
    let stranger = Socket { id: 77, netns: 2, ..far };
    world.events.pop();
    world.events.push(Event::Socket(stranger));
    world.positions.insert((77, Direction::Read), world.positions[&(near, Direction::Write)]);
    world.positions.insert((77, Direction::Write), 5);
    exchange(&mut world, (near, 77), "/r0");
    let run = world.run();
    run.assert_root(run.server("/r0"));
}

#[test]
fn a_number_that_is_used_again_is_another_connection() {
    let mut world = world();
    let front = world.accept(SERVER);
    world.request(SERVER, front, "/lost");
    // The close was not seen.
    let (local, peer) = (Address::Inet([10, 0, 0, 1].into(), 80), Address::Inet([10, 0, 0, 9].into(), 4000));
    world.announce(front, SERVER, Origin::Accepted, local.clone(), peer.clone());
    world.request(SERVER, front, "/next");
    world.answer(SERVER, front);
    // Told again after the kernel forgot it: still the same connection, here with a request open.
    world.request(SERVER, front, "/kept");
    let positions = world.positions.clone();
    world.announce(front, SERVER, Origin::Unknown, local, peer);
    world.positions = positions;
    world.answer(SERVER, front);
    // Of unknown origin, but with other addresses: another one.
    let (local, peer) = (Address::Inet([10, 0, 0, 1].into(), 80), Address::Inet([10, 0, 0, 8].into(), 5000));
    world.announce(front, SERVER, Origin::Unknown, local, peer);
    world.request(SERVER, front, "/third");
    world.answer(SERVER, front);
    let run = world.run();
    let error = run.server("/lost").string("error.type");
    assert_eq!(error, Some("connection_closed"));
    assert_eq!(run.server("/next").string("error.type"), None);
    assert_eq!(run.server("/kept").string("error.type"), None);
    assert_eq!(run.server("/third").string("client.address"), Some("10.0.0.8"));
    run.assert_no_losses();
}

#[test]
fn a_process_that_ends_closes_its_sockets() {
    let mut world = world();
    let (near, far) = world.loopback(CLIENT, SERVER, (Origin::Connected, Origin::Accepted));
    let idle = world.accept(CLIENT);
    world.call(CLIENT, near, "/r0");
    world.request(SERVER, far, "/r0");
    world.exit(1);
    world.exit(99); // never heard of
    world.answer(SERVER, far);
    let run = world.run();
    assert_eq!(run.client("/r0").string("error.type"), Some("connection_closed"));
    assert_eq!(run.server("/r0").string("error.type"), None);
    run.assert_edge(run.server("/r0"), run.client("/r0"), Evidence::Socket);
    assert!(run.engine.connections.contains(&far));
    assert!(!run.engine.connections.contains(&near) && !run.engine.connections.contains(&idle));
    assert!(!run.engine.traces.processes.contains_key(&1));
}

#[test]
fn a_number_that_is_used_again_closes_the_sockets_of_one_process() {
    let mut world = world();
    let (of_first, of_second) = (world.accept(SERVER), world.accept(CLIENT));
    world.request(SERVER, of_first, "/first");
    world.request(CLIENT, of_second, "/second");
    world.exit(SERVER.0);
    world.exit(CLIENT.0);
    // Time goes on, but not as long as sockets are waited for.
    world.time += 150_000_000;
    world.events.push(Event::Tick { time: world.time });
    world.process(SERVER.0, "again", Runtime::Threads);
    // The other process had passed its socket on.
    world.answer(HEIR, of_second);
    let run = world.run();
    assert_eq!(run.server("/first").string("error.type"), Some("connection_closed"));
    assert_eq!(run.server("/second").string("error.type"), None);
}

#[test]
fn a_span_is_the_process_s_that_read_the_request() {
    let mut world = world();
    world.process(HEIR.0, "heir", Runtime::Threads);
    let socket = world.accept(SERVER);
    world.request(SERVER, socket, "/passed-on");
    world.answer(HEIR, socket);
    world.request(HEIR, socket, "/own");
    world.answer(HEIR, socket);
    let run = world.run();
    assert_eq!(run.server("/passed-on").process.pid, SERVER.0);
    assert_eq!(run.server("/own").process.service_name(), "heir");
}

#[test]
fn the_end_of_the_stream_may_be_told_by_an_empty_read() {
    let mut world = world();
    let back = world.connect(CLIENT, 5000);
    world.call(CLIENT, back, "/r0");
    world.read(CLIENT, back, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
    world.read(CLIENT, back, "");
    let run = world.run();
    assert_eq!(run.client("/r0").string("error.type"), None);
    run.assert_no_losses();
}

#[test]
fn what_follows_a_switch_is_nobodys() {
    let mut world = world();
    let front = world.accept(SERVER);
    world.read(SERVER, front, with_headers("/live", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    world.write(SERVER, front, switching);
    world.request(SERVER, front, "/not-http");
    world.unseen(front, Direction::Write, 1000);
    world.answer(SERVER, front);
    let run = world.run();
    assert_eq!(run.spans.len(), 1);
    run.assert_no_losses();
    assert_eq!(run.advice, [Advice::Ignore(front)]);
}

/// What the agent writes of a socket into the kernel's table may be older than the counts that are there.
#[test]
fn a_unix_sockets_count_may_be_set_back() {
    let mut world = World::new();
    let (client, server) = ((1, 1), (2, 2));
    world.process(1, "client", Runtime::Threads);
    world.process(2, "server", Runtime::Threads);
    let (near, far) = world.unix(client, server);
    for number in 0..3 {
        world.call(client, near, &format!("/{number}"));
        world.request(server, far, &format!("/{number}"));
        for (socket, direction) in [(near, Direction::Write), (far, Direction::Read)] {
            *world.positions.get_mut(&(socket, direction)).unwrap() -= 7;
        }
        world.answer(server, far);
        world.result(client, near);
    }
    let run = world.run();
    run.assert_no_losses();
    assert_eq!(run.spans.len(), 6);
}
