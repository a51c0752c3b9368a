//! nginx from a configuration template.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{ports, server::Server};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
    _folder: TempDir,
    port: u16,
}

impl Nginx {
    /// Starts nginx as a reverse proxy for a port, with keep-alive connections on both sides.
    pub fn proxy(upstream: u16) -> Result<Self> {
        Self::start(&crate::sources().join("apps/nginx/proxy.conf"), upstream)
    }

    /// Starts nginx from a template with the placeholders `@PORT@`, `@UPSTREAM@` (ports) and `@FOLDER@`.
    pub fn start(template: &Path, upstream: u16) -> Result<Self> {
        let folder = TempDir::with_prefix("nginx-")?;
        let port = ports::free()?;
        let text = fs::read_to_string(template).with_context(|| template.display().to_string())?;
        let text = text
            .replace("@PORT@", &port.to_string())
            .replace("@UPSTREAM@", &upstream.to_string())
            .replace("@FOLDER@", &folder.path().display().to_string());
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, text)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-e").arg(folder.path().join("error.log"));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&configuration);
        let mut server = Server::start("nginx", folder.path(), &command)?;
        server.wait_for_port(port)?;
        Ok(Self { server, _folder: folder, port })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the master.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}
