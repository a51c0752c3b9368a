//! What is measured: one entry is one row of docs/accuracy.md.
//!
//! An application of a row knows nothing of tracing. It gets `PORT`, the database's address, `POOL_SIZE` and `DOWNSTREAM`
//! by its environment. Whatever it needs is installed by `cargo xtask accuracy` before.

use anyhow::Result;

use super::{
    backends::Backends,
    stack::{Hop, Stack},
};
use crate::{
    apps::{self, App},
    machine::said,
    nginx::Nginx,
    php::PhpFpm,
    runtimes,
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
    Row {
        name: "uvicorn-fanout-tasks",
        what: "the same with `--python-tasks`",
        path: "fanout",
        target: Target::Scheduled,
        version: python,
        start: |backends| {
            let application = App::checkout_in_uvicorn(&backends.environment(&[("POOL_SIZE", "20")]))?;
            Ok(Stack::of(application).with(&["--python-tasks"]))
        },
    },
    Row {
        name: "java",
        what: "Java, Tomcat (64 threads), pgjdbc and HikariCP (20), Apache's client",
        path: "checkout",
        target: Target::Watched,
        version: java_17,
        start: |backends| Ok(Stack::of(runtimes::java_threads(&backends.environment(&[]))?)),
    },
    Row {
        name: "java-http-client",
        what: "the same, but java.net.http calls the service",
        path: "checkout",
        target: Target::Watched,
        version: java_17,
        start: |backends| Ok(Stack::of(runtimes::java_threads(&backends.environment(&[("HTTP_CLIENT", "jdk")]))?)),
    },
    Row {
        name: "java-pool",
        what: "Java as above, but the request's thread gives the work to a pool of 8 and waits",
        path: "handed",
        target: Target::BusyWorkers,
        version: java_17,
        start: |backends| Ok(Stack::of(runtimes::java_threads(&backends.environment(&[]))?)),
    },
    Row {
        name: "java-future",
        what: "a chain of three CompletableFutures on that pool",
        path: "future",
        target: Target::BusyWorkers,
        version: java_17,
        start: |backends| Ok(Stack::of(runtimes::java_threads(&backends.environment(&[]))?)),
    },
    Row {
        name: "java-fanout",
        what: "all three at once on that pool (CompletableFuture.allOf)",
        path: "fanout",
        target: Target::BusyWorkers,
        version: java_17,
        start: |backends| Ok(Stack::of(runtimes::java_threads(&backends.environment(&[]))?)),
    },
    Row {
        name: "java-virtual",
        what: "Java's first row on virtual threads",
        path: "checkout",
        target: Target::Watched,
        version: || said(&runtimes::built(runtimes::JAVA_21)?.display().to_string(), &["-version"]),
        start: |backends| Ok(Stack::of(runtimes::java_virtual_threads(&backends.environment(&[]))?)),
    },
    Row {
        name: "go",
        what: "Go, net/http, pgx (pool of 20), http.Client",
        path: "checkout",
        target: Target::Watched,
        version: || go("web"),
        start: |backends| Ok(Stack::of(runtimes::go(&backends.environment(&[]))?)),
    },
    Row {
        name: "go-sql",
        what: "the same with database/sql and lib/pq",
        path: "sql",
        target: Target::Watched,
        version: || go("web"),
        start: |backends| Ok(Stack::of(runtimes::go(&backends.environment(&[]))?)),
    },
    Row {
        name: "go-fanout",
        what: "Go and pgx: all three at once (errgroup)",
        path: "fanout",
        target: Target::Watched,
        version: || go("web"),
        start: |backends| Ok(Stack::of(runtimes::go(&backends.environment(&[]))?)),
    },
    Row {
        name: "go-stripped",
        what: "Go's first row without symbols",
        path: "checkout",
        target: Target::Watched,
        version: || go("web-stripped"),
        start: |backends| Ok(Stack::of(runtimes::go_stripped(&backends.environment(&[]))?)),
    },
    Row {
        name: "go-old",
        what: "Go's first row by an older Go",
        path: "checkout",
        target: Target::Watched,
        version: || go("web-old"),
        start: |backends| Ok(Stack::of(runtimes::go_old(&backends.environment(&[]))?)),
    },
    Row {
        name: "rust",
        what: "Rust, axum, sqlx (pool of 20), reqwest, multi-threaded Tokio",
        path: "checkout",
        target: Target::Scheduled,
        version: || said("rustc", &["--version"]),
        start: |backends| Ok(Stack::of(runtimes::rust_axum(&backends.environment(&[]))?)),
    },
    Row {
        name: "rust-fanout",
        what: "the same: all three at once (tokio::join!)",
        path: "fanout",
        target: Target::Scheduled,
        version: || said("rustc", &["--version"]),
        start: |backends| Ok(Stack::of(runtimes::rust_axum(&backends.environment(&[]))?)),
    },
    Row {
        name: "puma",
        what: "Ruby, Puma (5 threads), pg, Net::HTTP",
        path: "checkout",
        target: Target::Watched,
        version: || said("ruby", &["--version"]),
        start: |backends| Ok(Stack::of(runtimes::puma(&backends.environment(&[]))?)),
    },
    Row {
        name: "php-fpm",
        what: "nginx, then PHP-FPM (8 processes) over a Unix socket; both traced",
        path: "checkout",
        target: Target::Watched,
        version: || said("/usr/sbin/php-fpm8.2", &["--version"]),
        start: |backends| Ok(php(PhpFpm::start(&backends.environment(&[]))?)),
    },
    Row {
        name: "php-fpm-kept",
        what: "the same over TCP connections that stay open",
        path: "checkout",
        target: Target::Watched,
        version: || said("/usr/sbin/php-fpm8.2", &["--version"]),
        start: |backends| Ok(php(PhpFpm::kept_open(&backends.environment(&[]))?)),
    },
    Row {
        name: "php-fpm-apache",
        what: "Apache event, then PHP-FPM over a Unix socket",
        path: "checkout",
        target: Target::Watched,
        version: || said("/usr/sbin/php-fpm8.2", &["--version"]),
        start: |backends| Ok(php(PhpFpm::behind_apache(&backends.environment(&[]))?)),
    },
    Row {
        name: "apache-prefork",
        what: "Apache prefork (keep-alive to its upstream), then Java as in its first row; both traced",
        path: "checkout",
        target: Target::Watched,
        version: || said("/usr/sbin/apache2", &["-v"]),
        start: |backends| java_behind(runtimes::apache_prefork, backends),
    },
    Row {
        name: "apache-event",
        what: "Apache event, then the same",
        path: "checkout",
        target: Target::Watched,
        version: || said("/usr/sbin/apache2", &["-v"]),
        start: |backends| java_behind(runtimes::apache_event, backends),
    },
    Row {
        name: "haproxy",
        what: "HAProxy (2 threads), then the same",
        path: "checkout",
        target: Target::Watched,
        version: || said("/usr/sbin/haproxy", &["-v"]),
        start: |backends| java_behind(runtimes::haproxy, backends),
    },
];

fn java_17() -> Result<String> {
    said(runtimes::JAVA_17, &["-version"])
}

/// Which Go built a program: `web: go1.26.8`.
fn go(program: &str) -> Result<String> {
    let path = runtimes::built(&format!("go/{program}"))?;
    let said = said("go", &["version", &path.display().to_string()])?;
    Ok(format!("Go {}", said.rsplit(": go").next().unwrap_or_default()))
}

/// PHP-FPM and the web server before it.
fn php(php: PhpFpm) -> Stack {
    let ([front, fpm], port) = (php.pids(), php.port());
    Stack::of(Hop::new(fpm, port, ())).behind(Hop::new(front, port, php))
}

fn java_behind(proxy: fn(u16) -> Result<App>, backends: &Backends) -> Result<Stack> {
    let application = runtimes::java_threads(&backends.environment(&[]))?;
    let proxy = proxy(application.port())?;
    Ok(Stack::of(application).behind(proxy))
}

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
