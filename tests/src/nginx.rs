//! nginx from a configuration template.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{ports, server::Server, wait};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
    folder: TempDir,
    port: u16,
}

impl Nginx {
    /// Starts nginx as a reverse proxy for a port, with keep-alive connections on both sides.
    pub fn proxy(upstream: u16) -> Result<Self> {
        Self::start(&crate::sources().join("apps/nginx/proxy.conf"), upstream)
    }

    /// Starts nginx from a template with the placeholders `@PORT@`, `@UPSTREAM@` (ports) and `@FOLDER@`.
    pub fn start(template: &Path, upstream: u16) -> Result<Self> {
        Self::start_with(template, upstream, &[])
    }

    /// The same, with further placeholders.
    pub fn start_with(template: &Path, upstream: u16, placeholders: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::with_prefix("nginx-")?;
        let port = ports::free()?;
        let text = fs::read_to_string(template).with_context(|| template.display().to_string())?;
        let text = placeholders.iter().fold(text, |text, (placeholder, value)| text.replace(placeholder, value));
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
        Ok(Self { server, folder, port })
    }

    /// Nginx that answers `/200/…` by 200 and `/404/…` by 404, and logs how many bytes it sent in each answer.
    pub fn statuses() -> Result<Self> {
        Self::start(&crate::sources().join("apps/nginx/statuses.conf"), 0)
    }

    /// How many requests its access log has.
    pub fn served(&self) -> Result<usize> {
        Ok(fs::read_to_string(self.access_log())?.lines().count())
    }

    /// Waits until its access log has so many requests.
    pub fn wait_for_served(&self, requests: usize) -> Result<()> {
        wait::until("requests", wait::START, || Ok((self.served()? >= requests).then_some(())))
    }

    fn access_log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// Lets it finish what it does and end (SIGQUIT); its access log.
    pub fn finish(mut self) -> Result<String> {
        let pid = Pid::from_raw(i32::try_from(self.server.pid())?).context("process 0")?;
        kill_process(pid, Signal::QUIT)?;
        let status = self.server.wait_for_end(wait::START)?;
        ensure!(status.success(), "nginx ended with {status}");
        Ok(fs::read_to_string(self.access_log())?)
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
