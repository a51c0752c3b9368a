#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use super::*;
use crate::processes::{Runtime, fake::Fake};

fn identify(fake: &Fake, pid: Pid) -> Identity {
    Identifier::new(fake.proc()).identify(pid).unwrap()
}

#[test]
fn describes_a_process() {
    let fake = Fake::new();
    fake.process(42, "/usr/bin/python3.11", &["python3", "orders.py", "--password=hunter2"]);
    let identity = identify(&fake, 42);
    assert_eq!(identity.source, NameSource::Program);
    assert_eq!(identity.exe, Some(PathBuf::from("/usr/bin/python3.11")));
    let process = identity.process;
    assert_eq!((process.pid, process.started, process.runtime), (42, 1_700_000_012_340_000_000, Runtime::Threads));
    let expected = [
        ("host.arch", architecture()),
        ("host.id", "0123456789abcdef0123456789abcdef"),
        ("host.name", "pluto"),
        ("os.type", "linux"),
        ("process.command", "python3"),
        ("process.creation.time", "2023-11-14T22:13:32.340Z"),
        ("process.executable.name", "python3.11"),
        ("process.executable.path", "/usr/bin/python3.11"),
        ("process.owner", "shop"),
        ("process.parent_pid", "1"),
        ("process.pid", "42"),
        ("process.runtime.name", "cpython"),
        ("process.runtime.version", "3.11"),
        ("service.instance.id", process.attribute("service.instance.id").unwrap()),
        ("service.name", "orders"),
        ("telemetry.distro.name", "syspan"),
        ("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "syspan"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let found: Vec<(&str, &str)> = process.resource.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(found, expected, "sorted by key, and no arguments");
}

#[test]
fn instances_are_told_apart_for_good() {
    let fake = Fake::new();
    fake.process(42, "/bin/x", &["x"]);
    fake.process(43, "/bin/x", &["x"]);
    let instance = |pid| identify(&fake, pid).process.attribute("service.instance.id").unwrap().to_owned();
    let first = instance(42);
    assert_eq!(Uuid::parse_str(&first).unwrap().get_version_num(), 5);
    assert_eq!(first, instance(42), "the same each time it is read");
    assert_ne!(first, instance(43));
    fake.write("stat", b"btime 1700000001\n");
    assert_eq!(first, instance(42), "though the clock was set");
    fake.stat(42, 1, 0, 5678);
    assert_ne!(first, instance(42), "a later process with the same pid");
}

#[test]
fn attributes_of_the_environment_are_taken() {
    let fake = Fake::new();
    fake.process(42, "/usr/sbin/nginx", &["nginx"]);
    let attributes = "service.name=front,service.instance.id=mine,service.version=1.2,host.name=other,\
                      process.pid=1,telemetry.sdk.name=fake,service.namespace=sh%6Fp";
    fake.environment(42, &[("OTEL_RESOURCE_ATTRIBUTES", attributes), ("SECRET", "hunter2")]);
    let identity = identify(&fake, 42);
    assert_eq!(identity.source, NameSource::ResourceAttributes);
    let attribute = |key: &str| identity.process.attribute(key).unwrap();
    assert_eq!(attribute("service.name"), "front");
    assert_eq!(attribute("service.version"), "1.2");
    assert_eq!(attribute("service.namespace"), "shop");
    assert_eq!(attribute("host.name"), "other", "who runs the process may name the host");
    assert_eq!(attribute("service.instance.id"), "mine");
    assert_eq!(attribute("process.pid"), "42", "but what was observed stays");
    assert_eq!(attribute("telemetry.sdk.name"), "syspan");
    assert!(identity.process.resource.iter().all(|(_, value)| !value.contains("hunter2")));
    fake.environment(42, &[("OTEL_SERVICE_NAME", "edge"), ("OTEL_RESOURCE_ATTRIBUTES", attributes)]);
    assert_eq!(identify(&fake, 42).source, NameSource::Environment);
    fake.environment(42, &[("OTEL_RESOURCE_ATTRIBUTES", "service.name=front,service.version=%zz")]);
    assert_eq!(identify(&fake, 42).process.service_name(), "nginx", "an error discards the variable");
}

#[test]
fn containers_and_pods_are_named() {
    let fake = Fake::new();
    let id = "ab".repeat(32);
    fake.process(42, "/usr/bin/node", &["node", "server.js"]);
    fake.cgroup(42, &format!("/kubepods/besteffort/pod9c5b8f2e-1111-2222-3333-444455556666/{id}"));
    fake.environment(42, &[("HOSTNAME", "cart-7d9c8b6f5-x2x9k")]);
    let Identity { process, source, .. } = identify(&fake, 42);
    assert_eq!((process.service_name(), source), ("cart", NameSource::Pod));
    assert_eq!(process.attribute("container.id"), Some(id.as_str()));
    assert_eq!(process.attribute("k8s.pod.name"), Some("cart-7d9c8b6f5-x2x9k"));
    assert_eq!(process.attribute("k8s.pod.uid"), Some("9c5b8f2e-1111-2222-3333-444455556666"));
    assert_eq!(process.attribute("telemetry.sdk.language"), Some("nodejs"));
}

#[test]
fn node_is_named_after_its_package() {
    let fake = Fake::new();
    fake.process(42, "/usr/bin/node", &["node", "dist/server.js"]);
    fake.write("42/root/srv/shop/package.json", br#"{"name": "@acme/cart", "version": "1"}"#);
    assert_eq!(identify(&fake, 42).process.service_name(), "cart");
    fake.write("42/root/srv/shop/package.json", b"{not json");
    assert_eq!(identify(&fake, 42).process.service_name(), "shop");
}

#[test]
fn workers_have_the_name_of_who_started_them() {
    let fake = Fake::new();
    fake.process(42, "/usr/bin/python3", &["python3", "-m", "uvicorn", "shop.orders:app", "--workers", "2"]);
    fake.process(43, "/usr/bin/python3", &["python3", "-c", "from multiprocessing.spawn import spawn_main"]);
    fake.stat(43, 42, 0, 2000);
    let worker = identify(&fake, 43);
    assert_eq!((worker.process.service_name(), worker.source), ("shop.orders", NameSource::Parent));
    fake.process(44, "/usr/bin/node", &["node", "-e", "0"]);
    fake.stat(44, 42, 0, 2000);
    assert_eq!(identify(&fake, 44).process.service_name(), "unknown_service:node", "another program than its parent");
    fake.stat(43, 43, 0, 2000);
    assert_eq!(identify(&fake, 43).source, NameSource::Unknown, "its own parent");
}

#[test]
fn titles_are_not_commands() {
    let fake = Fake::new();
    fake.process(42, "/usr/lib/postgresql/16/bin/postgres", &["postgres: shop db 10.0.0.1(5000) SELECT"]);
    let process = identify(&fake, 42).process;
    assert_eq!(process.attribute("process.command"), Some("postgres"));
    assert_eq!(process.service_name(), "postgres");
    fake.process(43, "/opt/my app/bin", &["/opt/my app/bin", "x"]);
    assert_eq!(identify(&fake, 43).process.attribute("process.command"), Some("/opt/my app/bin"));
}

#[test]
fn a_vanished_process_has_no_identity() {
    let fake = Fake::new();
    assert_eq!(Identifier::new(fake.proc()).identify(42), None);
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let fake = Fake::new();
    fake.stat(42, 1, 0, 1);
    fake.write("42/comm", b"thing\n");
    let identity = identify(&fake, 42);
    assert_eq!((identity.process.service_name(), identity.source), ("thing", NameSource::Executable));
    assert_eq!(identity.process.attribute("process.executable.path"), None);
}

#[test]
fn the_host_is_process_ones_where_the_own_names_are_a_containers() {
    let fake = Fake::new();
    fake.write("1/root/etc/hostname", b"node-7\n");
    assert_eq!(Host::read(&fake.proc()).name, "pluto");
    fake.link("self/ns/uts", "uts:[4026532999]");
    assert_eq!(Host::read(&fake.proc()).name, "node-7");
}

#[test]
fn dates_are_right() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(seconds * 1_000_000_000), text);
    }
    assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709Z");
}

#[test]
fn identifies_this_very_process() {
    let identity = Identifier::new(Proc::default()).identify(std::process::id()).unwrap();
    assert_eq!(identity.process.attribute("process.pid"), Some(std::process::id().to_string().as_str()));
    assert!(!identity.process.service_name().is_empty());
}
