//! The test applications, which know nothing of tracing.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{ports, server::Server};

/// A running application that listens on a port of 127.0.0.1.
#[derive(Debug)]
pub struct App {
    server: Server,
    _folder: TempDir,
    port: u16,
}

/// Environment variables.
pub type Environment = [(String, String)];

impl App {
    /// A Node script, which listens on `PORT`.
    pub fn node(script: &Path, environment: &Environment) -> Result<Self> {
        Self::node_on(ports::free()?, script, environment)
    }

    /// The same on this port.
    pub fn node_on(port: u16, script: &Path, environment: &Environment) -> Result<Self> {
        let modules = crate::target().join("apps/node/node_modules");
        ensure!(modules.is_dir(), "{} is missing: run `cargo xtask setup`", modules.display());
        let mut command = Command::new("node");
        command.arg(script).env("NODE_PATH", modules).env("PORT", port.to_string());
        Self::start("node", port, &mut command, environment)
    }

    /// The WSGI application `app` of a Python file, under gunicorn with two processes of four threads.
    pub fn gunicorn(file: &Path, environment: &Environment) -> Result<Self> {
        Self::gunicorn_with(&["--worker-class", "gthread", "--threads", "4"], file, environment)
    }

    /// The same with two processes of another class.
    pub fn gunicorn_with(class: &[&str], file: &Path, environment: &Environment) -> Result<Self> {
        let port = ports::free()?;
        let (folder, module) = module(file);
        let mut command = Command::new(python("bin/gunicorn")?);
        command
            .args(["--workers", "2", "--no-control-socket"])
            .args(class)
            .args(["--keep-alive", "60", "--graceful-timeout", "1", "--bind"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--chdir")
            .arg(folder)
            .arg(format!("{module}:app"));
        Self::start("gunicorn", port, &mut command, environment)
    }

    /// The ASGI application `app` of a Python file, under uvicorn with Python's own event loop.
    pub fn uvicorn(file: &Path, environment: &Environment) -> Result<Self> {
        Self::uvicorn_with(&["--loop", "asyncio", "--http", "h11"], file, environment)
    }

    /// The same with another event loop.
    pub fn uvicorn_with(event_loop: &[&str], file: &Path, environment: &Environment) -> Result<Self> {
        let port = ports::free()?;
        let (folder, module) = module(file);
        let mut command = Command::new(python("bin/uvicorn")?);
        command.args(event_loop).args(["--timeout-keep-alive", "60"]);
        command.args(["--port", &port.to_string(), "--no-access-log", "--app-dir"]).arg(folder);
        command.arg(format!("{module}:app"));
        Self::start("uvicorn", port, &mut command, environment)
    }

    /// A Python script, which listens on `PORT`.
    pub fn script(file: &Path, environment: &Environment) -> Result<Self> {
        Self::script_on(ports::free()?, &python("bin/python")?, file, environment)
    }

    /// The same on this port, with this interpreter.
    pub fn script_on(port: u16, python: &Path, file: &Path, environment: &Environment) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(file).env("PORT", port.to_string());
        Self::start("script", port, &mut command, environment)
    }

    /// A program of tests/apps that is written in Go, which listens on `PORT`.
    pub fn go(name: &str, environment: &Environment) -> Result<Self> {
        Self::go_on(ports::free()?, name, environment)
    }

    /// The same on this port.
    pub fn go_on(port: u16, name: &str, environment: &Environment) -> Result<Self> {
        let program = crate::target().join("apps/go").join(name);
        ensure!(program.exists(), "{} is missing: run `cargo xtask setup`", program.display());
        Self::start(name, port, Command::new(program).env("PORT", port.to_string()), environment)
    }

    /// tests/apps/node-orders.
    pub fn orders(environment: &Environment) -> Result<Self> {
        Self::node(&crate::sources().join("apps/node-orders/server.js"), environment)
    }

    /// tests/apps/python-web/threads.py under gunicorn.
    pub fn threads(environment: &Environment) -> Result<Self> {
        Self::gunicorn(&crate::sources().join("apps/python-web/threads.py"), environment)
    }

    /// tests/apps/python-web/event_loop.py under uvicorn.
    pub fn event_loop(environment: &Environment) -> Result<Self> {
        Self::uvicorn(&crate::sources().join("apps/python-web/event_loop.py"), environment)
    }

    /// tests/apps/node-checkout.
    pub fn checkout_in_node(environment: &Environment) -> Result<Self> {
        Self::node(&crate::sources().join("apps/node-checkout/server.js"), environment)
    }

    /// tests/apps/python-checkout/wsgi.py under gunicorn with workers of this class.
    pub fn checkout_in_gunicorn(class: &[&str], environment: &Environment) -> Result<Self> {
        Self::gunicorn_with(class, &crate::sources().join("apps/python-checkout/wsgi.py"), environment)
    }

    /// tests/apps/python-checkout/asgi.py under uvicorn.
    pub fn checkout_in_uvicorn(environment: &Environment) -> Result<Self> {
        Self::uvicorn(&crate::sources().join("apps/python-checkout/asgi.py"), environment)
    }

    /// The same with libuv's event loop, as `uvicorn[standard]` has it.
    pub fn checkout_in_uvloop(environment: &Environment) -> Result<Self> {
        let event_loop = ["--loop", "uvloop", "--http", "httptools"];
        Self::uvicorn_with(&event_loop, &crate::sources().join("apps/python-checkout/asgi.py"), environment)
    }

    pub(crate) fn start(name: &str, port: u16, command: &mut Command, environment: &Environment) -> Result<Self> {
        Self::start_in(TempDir::with_prefix("app-")?, name, port, command, environment)
    }

    /// Starts a program that listens on this port and has files in a folder, where its output goes as well.
    pub(crate) fn start_in(
        folder: TempDir,
        name: &str,
        port: u16,
        command: &mut Command,
        environment: &Environment,
    ) -> Result<Self> {
        command.envs(environment.iter().cloned()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut server = Server::start(name, folder.path(), command)?;
        server.wait_for_port(port)?;
        Ok(Self { server, _folder: folder, port })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id: of the master where there are workers.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// SIGKILL; what it had written.
    pub fn kill(self) -> Result<String> {
        let Self { server, _folder: folder, .. } = self;
        let log = server.log().to_owned();
        server.kill()?;
        let output = std::fs::read_to_string(log)?;
        drop(folder);
        Ok(output)
    }

    /// What it has written so far.
    pub fn output(&self) -> Result<String> {
        self.server.output()
    }
}

/// A file of the applications' Python environment.
pub fn python(path: &str) -> Result<PathBuf> {
    let file = crate::target().join("apps/python").join(path);
    ensure!(file.exists(), "{} is missing: run `cargo xtask setup`", file.display());
    Ok(file)
}

fn module(file: &Path) -> (PathBuf, String) {
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    (folder, file.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}
