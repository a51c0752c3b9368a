//! The loaded applications.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{apps::App, nginx::Nginx, postgres::Postgres};
use tempfile::TempDir;

use crate::states::State;

/// An application and the request it is loaded with.
#[derive(Debug)]
pub(crate) struct Case {
    /// As the report calls it.
    pub name: &'static str,
    path: &'static str,
    server: ServerKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerKind {
    /// tests/apps/node-orders.
    Node,
    /// tests/bench/static.conf.
    Nginx,
}

/// Bytes of the files that nginx serves.
const FILES: [(&str, usize); 2] = [("1k", 1024), ("100k", 100 * 1024)];

/// In the order of the report. `/checkout` makes two queries, one plain and one with a parameter, through a pool of 20.
pub(crate) const ALL: &[Case] = &[
    Case { name: "Node /hello", path: "/hello", server: ServerKind::Node },
    Case { name: CHECKOUT, path: "/checkout?id=1", server: ServerKind::Node },
    Case { name: "nginx, 1 KiB file", path: "/1k", server: ServerKind::Nginx },
    Case { name: "nginx, 100 KiB file", path: "/100k", server: ServerKind::Nginx },
];

/// The case whose slowdown has a target.
pub(crate) const CHECKOUT: &str = "Node /checkout";

/// A case's servers.
pub(crate) struct Running {
    /// What the states but the SDK's load.
    pub plain: Target,
    /// The same with the SDK, where the case has it.
    pub with_sdk: Option<Target>,
    /// Stopped when dropped, after the applications that use them.
    _servers: Vec<Box<dyn Send>>,
}

/// A process and the URL that loads it.
pub(crate) struct Target {
    pub pid: u32,
    pub url: String,
}

impl Case {
    /// What it is measured in, in this order each round.
    pub(crate) fn states(&self) -> &'static [State] {
        match self.server {
            ServerKind::Node => &[State::Alone, State::Elsewhere, State::Traced, State::Sdk],
            ServerKind::Nginx => &[State::Alone, State::Elsewhere, State::Traced],
        }
    }

    /// Starts its servers. The SDK exports to this OTLP/HTTP port.
    pub(crate) fn start(&self, collector: u16) -> Result<Running> {
        let target = |pid, port| Target { pid, url: format!("http://127.0.0.1:{port}{}", self.path) };
        match self.server {
            ServerKind::Node => {
                let postgres = Postgres::start()?;
                let mut environment = postgres.environment();
                environment.push(("POOL_SIZE".to_owned(), "20".to_owned()));
                environment.push(("NODE_ENV".to_owned(), "production".to_owned()));
                let plain = App::orders(&environment)?;
                environment.extend(sdk(collector)?);
                let with_sdk = App::orders(&environment)?;
                Ok(Running {
                    plain: target(plain.pid(), plain.port()),
                    with_sdk: Some(target(with_sdk.pid(), with_sdk.port())),
                    _servers: vec![Box::new(plain), Box::new(with_sdk), Box::new(postgres)],
                })
            }
            ServerKind::Nginx => {
                let folder = TempDir::with_prefix("static-")?;
                for (name, length) in FILES {
                    fs::write(folder.path().join(name), "x".repeat(length))?;
                }
                let template = syspan_tests::sources().join("bench/static.conf");
                let text = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
                let configuration = folder.path().join("static.conf");
                fs::write(&configuration, text.replace("@ROOT@", &folder.path().display().to_string()))?;
                let nginx = Nginx::start(&configuration, 0)?;
                Ok(Running {
                    plain: target(nginx.pid(), nginx.port()),
                    with_sdk: None,
                    _servers: vec![Box::new(nginx), Box::new(folder)],
                })
            }
        }
    }
}

/// The environment that puts OpenTelemetry's SDK for Node with all its automatic instrumentations into an application,
/// as its documentation says; traces alone, as syspan makes them.
fn sdk(collector: u16) -> Result<Vec<(String, String)>> {
    let apps = syspan_tests::target().join("apps");
    let modules = apps.join("node-opentelemetry/node_modules");
    ensure!(modules.is_dir(), "{} is missing: run `cargo xtask bench`", modules.display());
    let variables = [
        ("NODE_PATH", format!("{}:{}", apps.join("node/node_modules").display(), modules.display())),
        ("NODE_OPTIONS", "--require @opentelemetry/auto-instrumentations-node/register".to_owned()),
        ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
        ("OTEL_METRICS_EXPORTER", "none".to_owned()),
        ("OTEL_LOGS_EXPORTER", "none".to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{collector}")),
        ("OTEL_SERVICE_NAME", "orders".to_owned()),
    ];
    Ok(variables.map(|(key, value)| (key.to_owned(), value)).into())
}
