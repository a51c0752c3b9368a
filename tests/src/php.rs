//! PHP-FPM behind nginx: processes that speak FastCGI over a Unix socket.

use std::{fs, os::unix::net::UnixStream, process::Command};

use anyhow::Result;
use tempfile::TempDir;

use crate::{apps::Environment, nginx::Nginx, server::Server};

/// How many processes serve, unless `WORKERS` says otherwise.
const WORKERS: &str = "8";

/// A running tests/apps/php, with `/hello` and `/checkout`. libpq's connections stay open, curl's end with the request.
#[derive(Debug)]
pub struct PhpFpm {
    nginx: Nginx,
    server: Server,
    _folder: TempDir,
}

impl PhpFpm {
    /// Starts both.
    pub fn start(environment: &Environment) -> Result<Self> {
        let sources = crate::sources().join("apps/php");
        let folder = TempDir::with_prefix("php-")?;
        let (path, socket) = (folder.path().display().to_string(), folder.path().join("fpm.sock"));

        let workers = environment.iter().find_map(|(key, value)| (key == "WORKERS").then_some(value.as_str()));
        let text = fs::read_to_string(sources.join("fpm.conf"))?;
        let configuration = folder.path().join("fpm.conf");
        fs::write(&configuration, text.replace("@FOLDER@", &path).replace("@WORKERS@", workers.unwrap_or(WORKERS)))?;
        let mut command = Command::new("/usr/sbin/php-fpm8.2");
        command.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(&configuration);
        command.envs(environment.iter().cloned());
        let mut server = Server::start("php-fpm", folder.path(), &command)?;
        server.wait_until("its socket", |_| Ok(UnixStream::connect(&socket).is_ok()))?;

        let text = fs::read_to_string(sources.join("nginx.conf"))?;
        let template = folder.path().join("nginx.conf");
        fs::write(
            &template,
            text.replace("@SOCKET@", &socket.display().to_string())
                .replace("@SCRIPT@", &sources.join("index.php").display().to_string()),
        )?;
        Ok(Self { nginx: Nginx::start(&template, 0)?, server, _folder: folder })
    }

    /// nginx's port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.nginx.port()
    }

    /// Process ids of the two masters: nginx's and PHP-FPM's.
    #[must_use]
    pub fn pids(&self) -> [u32; 2] {
        [self.nginx.pid(), self.server.pid()]
    }
}
