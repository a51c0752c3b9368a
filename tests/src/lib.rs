//! What the end-to-end tests and the demo are made of: servers, applications and collectors with own ports and data
//! folders that end with the value that started them, the agent itself, and a plain HTTP client.

pub mod accuracy;
pub mod apps;
pub mod bpf;
pub mod causes;
pub mod cgroup;
pub mod chain;
pub mod downstream;
pub mod goroutines;
pub mod http;
pub mod machine;
pub mod mariadb;
pub mod mixed;
pub mod network;
pub mod nginx;
pub mod ordeals;
pub mod otlp;
pub mod packets;
pub mod pgbench;
pub mod php;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod propagation;
pub mod receiver;
pub mod recording;
pub mod rotel;
pub mod runtimes;
pub mod segments;
pub mod server;
pub mod statistics;
pub mod syspan;
pub mod tcpdump;
pub mod tshark;
pub mod wait;
pub mod wrk;

use std::path::{Path, PathBuf};

/// The folder of this crate, which holds the applications.
#[must_use]
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's `target` folder, where `cargo xtask` installs and builds.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| sources().parent().unwrap_or(sources()).join("target"), PathBuf::from)
}
