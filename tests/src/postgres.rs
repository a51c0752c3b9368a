//! PostgreSQL with an own data folder.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{ports, server::Server};

/// Debian's PostgreSQL 15.
pub(crate) const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// The operating system's user that Debian's package makes; PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// A running PostgreSQL that trusts everyone: user and database `postgres`.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// Creates a database cluster and starts a server for it on 127.0.0.1.
    pub fn start() -> Result<Self> {
        Self::start_on("127.0.0.1")
    }

    /// The same on another address of this machine, for clients of its network.
    pub fn start_on(address: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("postgres-")?;
        let data = folder.path().join("data");
        own(folder.path())?;
        let output = Command::new("setpriv")
            .args(["--reuid", USER, "--regid", USER, "--init-groups", "--"])
            .arg(Path::new(PROGRAMS).join("initdb"))
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale", "--username=postgres", "--pgdata"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .context("initdb could not be started; `cargo xtask setup` installs it")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let mut clients = OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
        clients.write_all(b"host all all samenet trust\n")?;

        let port = ports::free()?;
        let mut command = Command::new(Path::new(PROGRAMS).join("postgres"));
        command.current_dir(folder.path()).arg("-D").arg(&data);
        // The data live as long as a test: nothing needs to reach the disk.
        for setting in ["fsync=off", "synchronous_commit=off", "max_connections=200"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("listen_addresses={address}")]);
        command.args(["-c", &format!("port={port}")]);
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        // SIGQUIT is PostgreSQL's immediate shutdown.
        let mut server = Server::start_with("postgres", folder.path(), &command, Signal::QUIT, Some(USER))?;
        server.wait_for("database system is ready to accept connections")?;
        Ok(Self { server, folder, port })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The folder of the Unix socket; libpq and the drivers take it as host.
    #[must_use]
    pub fn socket_folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The environment by which libpq and the drivers find the server over TCP.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_with_host("127.0.0.1")
    }

    /// The same over the Unix socket.
    #[must_use]
    pub fn unix_environment(&self) -> Vec<(String, String)> {
        self.environment_with_host(&self.folder.path().display().to_string())
    }

    fn environment_with_host(&self, host: &str) -> Vec<(String, String)> {
        let values = [("PGHOST", host), ("PGPORT", &self.port.to_string()), ("PGUSER", USER), ("PGDATABASE", USER)];
        values.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }

    /// psql with an SQL script.
    #[must_use]
    pub fn psql(&self, file: &Path) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join("psql"));
        command.args(["--quiet", "--no-psqlrc", "--file"]).arg(file).envs(self.environment());
        command
    }

    /// Runs an SQL script by psql.
    pub fn script(&self, file: &Path) -> Result<()> {
        let output = self.psql(file).arg("--set=ON_ERROR_STOP=1").output()?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Gives a folder to the database's user.
fn own(folder: &Path) -> Result<()> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let fields: Vec<&str> = passwd
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .context("no user `postgres`; `cargo xtask setup` installs PostgreSQL")?
        .split(':')
        .collect();
    let id = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).context("/etc/passwd");
    std::os::unix::fs::chown(folder, Some(id(2)?), Some(id(3)?)).context("end-to-end tests need root")
}
