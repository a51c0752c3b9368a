//! What is measured: one entry is one row of docs/accuracy.md.
//!
//! An application of a row knows nothing of tracing. It gets `PORT`, the database's address, `POOL_SIZE` and `DOWNSTREAM`
//! by its environment. Whatever it needs is installed by `cargo xtask accuracy` before.

use anyhow::Result;

use super::{backends::Backends, stack::Stack};
use crate::{
    apps::{self, App},
    machine::said,
    nginx::Nginx,
};

/// A row.
#[derive(Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for the table.
    pub what: &'static str,
    /// Requests go to `/<path>?id=N`, and the markers of its statements are `<path>-N-a` and `<path>-N-b`.
    pub path: &'static str,
    /// What is demanded of it.
    pub target: Target,
    /// What it runs on, with the version.
    pub version: fn() -> Result<String>,
    /// Starts what is traced.
    pub start: fn(&Backends) -> Result<Stack>,
}

/// What is demanded of a row. No row may have a wrong parent, unless it was inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// 99 % right: what happens to a request can be watched from its beginning to its end.
    Watched,
    /// 98 % right: a fixed pool of threads, whose workers are busy when work is handed to them.
    BusyWorkers,
    /// Of an event loop with so many connections to its database for all requests: 99 % right while there are no more
    /// requests at once, 95 % (what was inferred included) where they queue for a connection.
    Pool(usize),
    /// 90 % right, what was inferred included: a scheduler puts work off and moves it about.
    Scheduled,
}

impl Target {
    /// The share of right parents, and whether those count that were inferred.
    #[must_use]
    pub fn right(self, concurrency: usize) -> (f64, bool) {
        match self {
            Target::Watched => (0.99, false),
            Target::BusyWorkers => (0.98, false),
            Target::Pool(connections) if concurrency <= connections => (0.99, false),
            Target::Pool(_) => (0.95, true),
            Target::Scheduled => (0.90, true),
        }
    }
}

/// All rows, in the table's order.
pub const ROWS: &[Row] = &[
    Row {
        name: "node",
        what: "Node, Express, `pg` (pool of 20), fetch",
        path: "checkout",
        target: Target::Pool(20),
        version: node,
        start: |backends| Ok(Stack::of(App::checkout_in_node(&backends.environment(&[("POOL_SIZE", "20")]))?)),
    },
    Row {
        name: "node-pool-4",
        what: "the same with a pool of 4",
        path: "checkout",
        target: Target::Pool(4),
        version: node,
        start: |backends| Ok(Stack::of(App::checkout_in_node(&backends.environment(&[("POOL_SIZE", "4")]))?)),
    },
    Row {
        name: "node-mysql2",
        what: "Node, Express, `mysql2` (pool of 20), fetch",
        path: "checkout",
        target: Target::Pool(20),
        version: node,
        start: |backends| {
            let variables = [("POOL_SIZE", "20"), ("DATABASE", "mariadb")];
            Ok(Stack::of(App::checkout_in_node(&backends.environment_with_mariadb(&variables)?)?))
        },
    },
    Row {
        name: "node-axios",
        what: "Node, Express, `pg` (pool of 20), axios",
        path: "checkout",
        target: Target::Pool(20),
        version: node,
        start: |backends| {
            let variables = [("POOL_SIZE", "20"), ("CLIENT", "axios")];
            Ok(Stack::of(App::checkout_in_node(&backends.environment(&variables))?))
        },
    },
    Row {
        name: "node-fanout",
        what: "Node, Express, `pg` (pool of 20), fetch: all three at once (Promise.all)",
        path: "fanout",
        target: Target::Pool(10),
        version: node,
        start: |backends| Ok(Stack::of(App::checkout_in_node(&backends.environment(&[("POOL_SIZE", "20")]))?)),
    },
    Row {
        name: "nginx-node",
        what: "nginx (keep-alive to its upstream), then Node as in the first row; both traced",
        path: "checkout",
        target: Target::Pool(20),
        version: || Ok(format!("{}, {}", said("/usr/sbin/nginx", &["-v"])?.replace("nginx version: ", ""), node()?)),
        start: |backends| {
            let application = App::checkout_in_node(&backends.environment(&[("POOL_SIZE", "20")]))?;
            let nginx = Nginx::proxy(application.port())?;
            Ok(Stack::of(application).behind(nginx))
        },
    },
    Row {
        name: "gunicorn-sync",
        what: "gunicorn, 2 sync workers, Flask, psycopg, requests",
        path: "checkout",
        target: Target::Watched,
        version: python,
        start: |backends| {
            Ok(Stack::of(App::checkout_in_gunicorn(&["--worker-class", "sync"], &backends.environment(&[]))?))
        },
    },
    Row {
        name: "gunicorn-threads",
        what: "gunicorn, 2 gthread workers of 16 threads, Flask, psycopg, requests",
        path: "checkout",
        target: Target::Watched,
        version: python,
        start: |backends| {
            let class = ["--worker-class", "gthread", "--threads", "16"];
            Ok(Stack::of(App::checkout_in_gunicorn(&class, &backends.environment(&[]))?))
        },
    },
    Row {
        name: "python-executor",
        what: "the same, but the handler gives the work to a ThreadPoolExecutor of 8 and waits",
        path: "handed",
        target: Target::BusyWorkers,
        version: python,
        start: |backends| {
            let class = ["--worker-class", "gthread", "--threads", "16"];
            Ok(Stack::of(App::checkout_in_gunicorn(&class, &backends.environment(&[("WORKERS", "8")]))?))
        },
    },
    Row {
        name: "gunicorn-gevent",
        what: "gunicorn, 2 gevent workers, Flask, psycopg (pools of 20), requests",
        path: "checkout",
        target: Target::Scheduled,
        version: python,
        start: |backends| {
            let environment = backends.environment(&[("POOL_SIZE", "20")]);
            Ok(Stack::of(App::checkout_in_gunicorn(&["--worker-class", "gevent"], &environment)?))
        },
    },
    Row {
        name: "uvicorn",
        what: "uvicorn, FastAPI, asyncpg (pool of 20), httpx",
        path: "checkout",
        target: Target::Scheduled,
        version: python,
        start: |backends| Ok(Stack::of(App::checkout_in_uvicorn(&backends.environment(&[("POOL_SIZE", "20")]))?)),
    },
    Row {
        name: "uvicorn-pool-4",
        what: "the same with a pool of 4",
        path: "checkout",
        target: Target::Scheduled,
        version: python,
        start: |backends| Ok(Stack::of(App::checkout_in_uvicorn(&backends.environment(&[("POOL_SIZE", "4")]))?)),
    },
    Row {
        name: "uvicorn-uvloop",
        what: "uvicorn with uvloop and httptools, FastAPI, asyncpg (pool of 20), httpx",
        path: "checkout",
        target: Target::Scheduled,
        version: python,
        start: |backends| Ok(Stack::of(App::checkout_in_uvloop(&backends.environment(&[("POOL_SIZE", "20")]))?)),
    },
    Row {
        name: "uvicorn-fanout",
        what: "uvicorn, FastAPI, asyncpg (pool of 20), httpx: all three at once (asyncio.gather)",
        path: "fanout",
        target: Target::Scheduled,
        version: python,
        start: |backends| Ok(Stack::of(App::checkout_in_uvicorn(&backends.environment(&[("POOL_SIZE", "20")]))?)),
    },
];

/// The row of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

fn node() -> Result<String> {
    Ok(format!("Node {}", said("node", &["--version"])?))
}

fn python() -> Result<String> {
    said(&apps::python("bin/python")?.display().to_string(), &["--version"])
}
