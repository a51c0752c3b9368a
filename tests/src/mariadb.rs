//! MariaDB with an own data folder.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{ports, server::Server};

/// A running MariaDB: user `root` without a password, database `test`.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
    folder: TempDir,
    port: u16,
}

impl MariaDb {
    /// Creates the system tables and starts a server.
    pub fn start() -> Result<Self> {
        Self::start_with(|_| Ok(Vec::new()))
    }

    /// The same with a certificate of its own, for sessions over TLS.
    pub fn start_with_tls() -> Result<Self> {
        Self::start_with(|folder| {
            let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
            let output = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate)
                .output()
                .context("openssl could not be started")?;
            ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
            Ok(vec![format!("--ssl-key={}", key.display()), format!("--ssl-cert={}", certificate.display())])
        })
    }

    fn start_with(options: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<Self> {
        let folder = TempDir::with_prefix("mariadb-")?;
        let data = folder.path().join("data");
        let output = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", data.display()))
            // A server that starts removes the temporary tables of all others in its folder for them.
            .env("TMPDIR", folder.path())
            .output()
            .context("mariadb-install-db could not be started; `cargo xtask setup` installs it")?;
        ensure!(output.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));

        let port = ports::free()?;
        let mut command = Command::new("/usr/sbin/mariadbd");
        command
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-log-bin"])
            .arg(format!("--tmpdir={}", folder.path().display()))
            .args(options(folder.path())?)
            .arg(format!("--port={port}"))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--pid-file={}", folder.path().join("pid").display()))
            .arg(format!("--socket={}", folder.path().join("socket").display()));
        let mut server = Server::start("mariadb", folder.path(), &command)?;
        server.wait_for("ready for connections")?;
        Ok(Self { server, folder, port })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The path of the Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The environment that the test applications read.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("MARIADB_PORT".to_owned(), self.port.to_string())]
    }

    /// Runs an SQL script in the database `test`.
    pub fn script(&self, file: &Path) -> Result<()> {
        let output = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--database=test"])
            .arg(format!("--socket={}", self.socket().display()))
            .stdin(File::open(file).with_context(|| file.display().to_string())?)
            .output()?;
        ensure!(output.status.success(), "mariadb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
