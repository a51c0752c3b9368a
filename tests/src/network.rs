//! Two network namespaces with a wire between them that nobody else uses.

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The server's end of the wire.
pub const SERVER: &str = "10.99.0.1";

/// The same over IPv6.
pub const SERVER_6: &str = "fd00:99::1";

/// The name of the interface at either end.
pub const INTERFACE: &str = "wire0";

const CLIENT: &str = "10.99.0.2";
const CLIENT_6: &str = "fd00:99::2";

/// A server's and a client's namespace, removed when dropped. What runs in them must have ended before.
#[derive(Debug)]
pub struct Network {
    server: String,
    client: String,
}

impl Network {
    /// Makes both, and the wire.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("syspan-{}-{number}-{end}", std::process::id());
        let network = Self { server: name("server"), client: name("client") };
        for namespace in [&network.server, &network.client] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        let peer = ["type", "veth", "peer", "name", INTERFACE, "netns", &network.server];
        ip(&[&["-n", &network.client, "link", "add", INTERFACE], &peer[..]].concat())?;
        for (namespace, address, address_6) in
            [(&network.server, SERVER, SERVER_6), (&network.client, CLIENT, CLIENT_6)]
        {
            ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", INTERFACE])?;
            // Nobody else has it: it can be used at once.
            ip(&["-n", namespace, "address", "add", &format!("{address_6}/64"), "dev", INTERFACE, "nodad"])?;
            ip(&["-n", namespace, "link", "set", INTERFACE, "up"])?;
        }
        Ok(network)
    }

    /// The words that run a command in the client's namespace.
    #[must_use]
    pub fn client(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.client]
    }

    /// Runs `work` in the server's namespace, with everything that it starts.
    pub fn on_server<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.server, work)
    }

    /// The same in the client's.
    pub fn on_client<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.client, work)
    }
}

fn within<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/run/netns/{namespace}");
    let namespace = File::open(&path).context(path)?;
    // A thread of its own: a namespace is entered for good.
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            // Each connection begins as the first did: nothing is remembered of the ones before.
            fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
            work()
        });
        thread.join().map_err(|_| anyhow!("the namespace's thread panicked")).flatten()
    })
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server] {
            if let Err(error) = ip(&["netns", "delete", namespace]) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("ip could not be started; `cargo xtask setup` installs it")?;
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(())
}
