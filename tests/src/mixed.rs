//! Servers of several kinds under a load that notices every request that fails: nginx with wrk, a Node service, PostgreSQL
//! with pgbench over TCP and over its Unix socket, and connections that serve one request.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{
    apps::App,
    http::Client,
    nginx::Nginx,
    pgbench::Pgbench,
    postgres::Postgres,
    process,
    statistics::{Round, percentiles},
    wait, wrk,
};

/// Connections between Node and PostgreSQL: fewer than requests at once, so that all of them are open after the warm-up.
const POOL: usize = 8;

/// Clients of the Node service, and of the short connections.
const CLIENTS: usize = 4;

/// The servers.
#[derive(Debug)]
pub struct Servers {
    nginx: Nginx,
    orders: App,
    postgres: Postgres,
}

impl Servers {
    /// Starts them: tests/apps/nginx/mixed.conf, tests/apps/node-orders (which asks PostgreSQL over the Unix socket), and
    /// PostgreSQL with pgbench's tables. All connections that the service keeps are open afterwards.
    pub fn start() -> Result<Self> {
        let postgres = Postgres::start()?;
        Pgbench::tcp(&postgres).initialise()?;
        let mut environment = postgres.unix_environment();
        environment.push(("POOL_SIZE".to_owned(), POOL.to_string()));
        let orders = App::orders(&environment)?;
        let nginx = Nginx::start(&crate::sources().join("apps/nginx/mixed.conf"), orders.port())?;
        let servers = Self { nginx, orders, postgres };
        crate::http::Load::connect(servers.orders.port(), 4 * POOL)?
            .run(20 * POOL, |number| format!("/checkout?id={number}"))?;
        Ok(servers)
    }

    /// The process ids of nginx, Node and PostgreSQL: those that are observed, with their children.
    #[must_use]
    pub fn pids(&self) -> [u32; 3] {
        [self.nginx.pid(), self.orders.pid(), self.postgres.pid()]
    }

    /// The Node service's port.
    #[must_use]
    pub fn orders_port(&self) -> u16 {
        self.orders.port()
    }

    /// How many descriptors each process has open that lives as long as its server, once no client is connected.
    pub fn descriptors(&self) -> Result<BTreeMap<String, usize>> {
        let ports = [self.nginx.port(), self.orders.port(), self.postgres.port()];
        wait::until("the servers to close their connections", wait::START, || {
            Ok((connections(&ports)? == 0).then_some(()))
        })?;
        let mut processes = vec![("nginx".to_owned(), self.nginx.pid())];
        for (number, worker) in process::children(self.nginx.pid())?.into_iter().enumerate() {
            processes.push((format!("nginx worker {number}"), worker));
        }
        processes.push(("node".to_owned(), self.orders.pid()));
        processes.push(("postgres".to_owned(), self.postgres.pid()));
        processes.into_iter().map(|(name, pid)| Ok((name, process::descriptors(pid)?))).collect()
    }
}

/// TCP sockets with one of these local ports that a process has open and that are connected, by proc_net_tcp(5).
fn connections(ports: &[u16]) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = fs::read_to_string("/proc/net/tcp")?;
    let connected = table.lines().skip(1).filter(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        let port = local.and_then(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok());
        port.is_some_and(|port| ports.contains(&port)) && matches!(state, Some(ESTABLISHED | CLOSE_WAIT))
    });
    Ok(connected.count())
}

/// How hard the servers are loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as they answer.
    Full,
    /// What a small machine bears beside other work, with so many short connections a second.
    Steady {
        /// Short connections a second.
        short: f64,
    },
}

impl Pace {
    /// How long each command of the load runs: longer ones have better percentiles, shorter ones end sooner.
    fn round(self) -> Duration {
        Duration::from_secs(if self == Self::Full { 2 } else { 5 })
    }

    /// Transactions a second of each pgbench.
    fn transactions(self) -> Option<u32> {
        (self != Self::Full).then_some(100)
    }

    /// From one request of a Node client to its next.
    fn interval(self) -> Duration {
        Duration::from_millis(if self == Self::Full { 0 } else { 50 })
    }

    /// Short connections a second; the ports would be used up if they were as many as possible.
    fn short(self) -> f64 {
        match self {
            Self::Full => 300.0,
            Self::Steady { short } => short,
        }
    }
}

type Loader = JoinHandle<Result<Vec<Round>>>;

/// A load that runs until it is finished.
#[derive(Debug)]
pub struct Mixed {
    stop: Arc<AtomicBool>,
    short: Arc<AtomicU64>,
    loaders: Vec<(&'static str, Loader)>,
}

impl Mixed {
    /// Begins it.
    #[must_use]
    pub fn start(servers: &Servers, pace: Pace) -> Self {
        let mut load = Self { stop: Arc::default(), short: Arc::default(), loaders: Vec::new() };
        let (length, nginx, orders) = (pace.round(), servers.nginx.port(), servers.orders.port());
        let file = format!("http://127.0.0.1:{nginx}/file");
        load.add("nginx, wrk", move || {
            let run = if pace == Pace::Full { wrk::run } else { wrk::run_paced };
            let wrk::Load { requests, p50, p99, .. } = run(&file, length)?;
            Ok(Round { requests, p50, p99 })
        });
        load.add("Node, two queries", move || clients(length, pace.interval(), |_| Client::connect(orders), checkout));
        for (name, pgbench) in
            [("pgbench, TCP", Pgbench::tcp(&servers.postgres)), ("pgbench, Unix", Pgbench::unix(&servers.postgres))]
        {
            load.add(name, move || pgbench.run(length, pace.transactions()));
        }
        let (made, interval) = (Arc::clone(&load.short), Duration::from_secs_f64(CLIENTS as f64 / pace.short()));
        load.add("short connections", move || {
            clients(
                length,
                interval,
                |client| Ok(address(client, nginx)),
                |address, number| {
                    short(*address, number)?;
                    made.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                },
            )
        });
        load
    }

    /// A loader makes its rounds until the load is finished or one fails.
    fn add(&mut self, name: &'static str, round: impl Fn() -> Result<Round> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        let rounds = thread::spawn(move || {
            let mut rounds = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                rounds.push(round()?);
            }
            Ok(rounds)
        });
        self.loaders.push((name, rounds));
    }

    /// Whether a request has failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.loaders.iter().any(|(_, loader)| loader.is_finished())
    }

    /// Short connections so far.
    #[must_use]
    pub fn short_connections(&self) -> u64 {
        self.short.load(Ordering::Relaxed)
    }

    /// Ends it after the rounds that are under way; an error if any request failed.
    pub fn finish(self) -> Result<Summary> {
        self.stop.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = self
            .loaders
            .into_iter()
            .map(|(name, loader)| {
                let rounds = loader.join().map_err(|_| anyhow!("the load panicked")).flatten();
                rounds.with_context(|| format!("{name}: a request failed")).map(|rounds| (name, rounds))
            })
            .collect();
        let loads: Vec<(&'static str, Vec<Round>)> = outcomes.into_iter().collect::<Result<_>>()?;
        ensure!(loads.iter().all(|(_, rounds)| rounds.iter().all(|round| round.requests > 0)), "no load: {loads:?}");
        Ok(Summary { loads })
    }

    /// The load for at least this long, by itself.
    pub fn run(servers: &Servers, pace: Pace, length: Duration) -> Result<Summary> {
        let load = Self::start(servers, pace);
        thread::sleep(length);
        load.finish()
    }
}

/// What a load did: none of its requests failed.
#[derive(Debug)]
pub struct Summary {
    loads: Vec<(&'static str, Vec<Round>)>,
}

impl Summary {
    /// Each load by its name: all of its requests, and the medians of its rounds' percentiles.
    #[must_use]
    pub fn loads(&self) -> Vec<(&'static str, Round)> {
        let median = |rounds: &[Round], of: fn(&Round) -> f64| {
            percentiles(rounds.iter().map(of).collect()).map_or(0.0, |(median, _)| median)
        };
        let sum = |rounds: &[Round]| Round {
            requests: rounds.iter().map(|round| round.requests).sum(),
            p50: median(rounds, |round| round.p50),
            p99: median(rounds, |round| round.p99),
        };
        self.loads.iter().map(|(name, rounds)| (*name, sum(rounds))).collect()
    }

    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.loads.iter().flat_map(|(_, rounds)| rounds).map(|round| round.requests).sum()
    }
}

/// `nginx, wrk: 4711 requests, p50 80 µs, p99 210 µs`, a line each.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loads().iter().try_for_each(|(name, Round { requests, p50, p99 })| {
            writeln!(f, "{name}: {requests} requests, p50 {p50:.0} µs, p99 {p99:.0} µs")
        })
    }
}

/// A round of several clients at once: each has a state of its own and asks again when an interval has passed since it
/// last began (or was to begin) to.
fn clients<C>(
    length: Duration,
    interval: Duration,
    begin: impl Fn(usize) -> Result<C> + Sync,
    ask: impl Fn(&mut C, u64) -> Result<()> + Sync,
) -> Result<Round> {
    let end = Instant::now() + length;
    let work = |client: usize| -> Result<Vec<f64>> {
        let (mut state, mut latencies, mut next) = (begin(client)?, Vec::new(), Instant::now());
        while Instant::now() < end {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next += interval;
            let begun = Instant::now();
            ask(&mut state, latencies.len() as u64)?;
            latencies.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(latencies)
    };
    let latencies = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
        threads.into_iter().try_fold(Vec::new(), |mut all, thread| {
            all.extend(thread.join().map_err(|_| anyhow!("a client panicked")).flatten()?);
            Ok::<_, anyhow::Error>(all)
        })
    })?;
    let requests = latencies.len() as u64;
    let (p50, p99) = percentiles(latencies).context("no requests")?;
    Ok(Round { requests, p50, p99 })
}

/// A request to the Node service, whose answer must be its own.
fn checkout(client: &mut Client, number: u64) -> Result<()> {
    let response = client.get(&format!("/checkout?id={number}"))?;
    let body = String::from_utf8_lossy(&response.body);
    let expected = format!(r#"{{"markers":["checkout-{number}-a","checkout-{number}-b"]}}"#);
    ensure!(response.status == 200 && body == expected, "/checkout?id={number}: {} {body}", response.status);
    Ok(())
}

/// Where a client of short connections connects to.
fn address(client: usize, port: u16) -> SocketAddr {
    let last = u8::try_from(client % CLIENTS).unwrap_or(0) + 1;
    (Ipv4Addr::new(127, 0, 0, last), port).into()
}

/// Connects, makes one request, closes: by turns for nginx's file, and for a page that nginx asks Node for by a
/// connection of its own.
fn short(address: SocketAddr, number: u64) -> Result<()> {
    let path = if number.is_multiple_of(2) { "/file" } else { "/hello" };
    let response = Client::connect_to(address)?.get_with(path, &["Connection: close"])?;
    if response.status != 200 {
        bail!("{path}: {}", response.status);
    }
    Ok(())
}
