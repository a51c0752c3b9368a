//! PHP-FPM behind a web server: processes that speak FastCGI.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    process::Command,
};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    apps::{App, Environment},
    nginx::Nginx,
    ports, runtimes,
    server::Server,
};

/// How many processes serve, unless `WORKERS` says otherwise.
const WORKERS: &str = "8";

/// A running tests/apps/php, with `/hello`, `/checkout` and `/echo`. libpq's connections stay open, curl's end with the request.
#[derive(Debug)]
pub struct PhpFpm {
    front: Front,
    address: Address,
    server: Server,
    _folder: TempDir,
}

/// The web server before it.
#[derive(Debug)]
enum Front {
    Nginx(Nginx),
    Apache(App),
}

/// Where PHP listens.
#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(u16),
}

impl PhpFpm {
    /// Behind nginx, with a connection over a Unix socket for each request.
    pub fn start(environment: &Environment) -> Result<Self> {
        Self::serve(environment, Address::unix, |address| nginx(address, false))
    }

    /// Behind nginx, with connections over TCP that stay open.
    pub fn kept_open(environment: &Environment) -> Result<Self> {
        Self::serve(environment, Address::tcp, |address| nginx(address, true))
    }

    /// Behind nginx, with a connection over TCP for each request.
    pub fn over_tcp(environment: &Environment) -> Result<Self> {
        Self::serve(environment, Address::tcp, |address| nginx(address, false))
    }

    /// Behind Apache, with a connection over a Unix socket for each request.
    pub fn behind_apache(environment: &Environment) -> Result<Self> {
        Self::serve(environment, Address::unix, apache)
    }

    fn serve(
        environment: &Environment,
        address: impl FnOnce(&TempDir) -> Result<Address>,
        front: impl FnOnce(&Address) -> Result<Front>,
    ) -> Result<Self> {
        // Apache's processes are not root.
        let folder = tempfile::Builder::new().prefix("php-").permissions(Permissions::from_mode(0o755)).tempdir()?;
        let address = address(&folder)?;
        let workers = environment.iter().find_map(|(key, value)| (key == "WORKERS").then_some(value.as_str()));
        let text = fs::read_to_string(crate::sources().join("apps/php/fpm.conf"))?
            .replace("@LISTEN@", &address.listened())
            .replace("@WORKERS@", workers.unwrap_or(WORKERS));
        let configuration = folder.path().join("fpm.conf");
        fs::write(&configuration, text)?;
        let mut command = Command::new("/usr/sbin/php-fpm8.2");
        command.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(&configuration);
        command.envs(environment.iter().cloned());
        let mut server = Server::start("php-fpm", folder.path(), &command)?;
        server.wait_until("its socket", |_| Ok(address.answers()))?;
        Ok(Self { front: front(&address)?, address, server, _folder: folder })
    }

    /// The web server's port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.front {
            Front::Nginx(nginx) => nginx.port(),
            Front::Apache(apache) => apache.port(),
        }
    }

    /// PHP's own port on 127.0.0.1, if it has one.
    #[must_use]
    pub fn fastcgi_port(&self) -> Option<u16> {
        match self.address {
            Address::Tcp(port) => Some(port),
            Address::Unix(_) => None,
        }
    }

    /// Process ids of the two masters: the web server's and PHP-FPM's.
    #[must_use]
    pub fn pids(&self) -> [u32; 2] {
        let front = match &self.front {
            Front::Nginx(nginx) => nginx.pid(),
            Front::Apache(apache) => apache.pid(),
        };
        [front, self.server.pid()]
    }
}

impl Address {
    #[expect(clippy::unnecessary_wraps, reason = "as the other")]
    fn unix(folder: &TempDir) -> Result<Self> {
        Ok(Self::Unix(folder.path().join("fpm.sock")))
    }

    fn tcp(_: &TempDir) -> Result<Self> {
        Ok(Self::Tcp(ports::free()?))
    }

    /// As PHP is told.
    fn listened(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).to_string(),
        }
    }

    fn answers(&self) -> bool {
        match self {
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
            Self::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
        }
    }
}

fn nginx(address: &Address, keep: bool) -> Result<Front> {
    let php = match address {
        Address::Unix(_) => format!("unix:{}", address.listened()),
        Address::Tcp(_) => address.listened(),
    };
    let template = crate::sources().join("apps/php/nginx.conf");
    let script = script().display().to_string();
    let keeping = if keep { ("on", "keepalive 2;") } else { ("off", "") };
    let placeholders = [("@PHP@", &*php), ("@SCRIPT@", &script), ("@KEEP@", keeping.0), ("@KEEPALIVE@", keeping.1)];
    Ok(Front::Nginx(Nginx::start_with(&template, 0, &placeholders)?))
}

fn apache(address: &Address) -> Result<Front> {
    let php = match address {
        Address::Unix(path) => format!("unix:{}|fcgi://localhost", path.display()),
        Address::Tcp(_) => format!("fcgi://{}", address.listened()),
    };
    let script = script().display().to_string();
    Ok(Front::Apache(runtimes::apache_before_php(&[("@PHP@", &php), ("@SCRIPT@", &script)])?))
}

fn script() -> PathBuf {
    crate::sources().join("apps/php/index.php")
}
