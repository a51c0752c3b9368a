//! `cargo xtask demo`: a small shop with a slow checkout, and syspan beside it. The shop knows nothing of tracing.
//!
//! `POST /checkout` goes through nginx to the orders service (Node, PostgreSQL), which asks inventory (Python,
//! PostgreSQL) and recommendations (Python, MariaDB). Customer 7 has bought much, and finds the forgotten query that is
//! run once for each product.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use syspan_tests::{apps::App, http::Client, mariadb::MariaDb, nginx::Nginx, postgres::Postgres, syspan::Syspan, wait};

/// Customers whose checkouts are fast, and, last, the one whose checkout is slow.
const CUSTOMERS: [u32; 4] = [1, 2, 3, 7];

/// Between two rounds of checkouts while the demo goes on.
const PAUSE: Duration = Duration::from_secs(3);

/// How often what syspan has printed is passed on.
const PASS_ON: Duration = Duration::from_millis(100);

/// Columns of the waterfalls where the terminal's width is not known.
const COLUMNS: u16 = 110;

#[derive(Parser)]
struct Options {
    /// Stop after the traces have been shown
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    match demo(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if wait::interrupted() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(options: &Options) -> Result<()> {
    stop_on_ctrl_c()?;
    let shop = Shop::open()?;
    shop.checkouts()?; // a shop in use: connections are open, code is warm
    say("Attaching syspan to the running shop");
    let mut syspan = Traces::start(&shop)?;
    let url = format!("http://127.0.0.1:{}/checkout?customer=7", shop.gateway.port());
    say(&format!("Four customers check out (curl -X POST '{url}')"));
    let mut times = shop.checkouts()?;
    while !options.once && !wait::interrupted() {
        let until = Instant::now() + PAUSE;
        while Instant::now() < until && !wait::interrupted() {
            syspan.pass_on()?;
            thread::sleep(PASS_ON);
        }
        if !wait::interrupted() {
            times = shop.checkouts()?;
        }
    }
    syspan.stop()?;
    for (customer, time) in times {
        say(&format!("Customer {customer} waited {} ms", time.as_millis()));
    }
    say("The last trace above shows why: recommendations asks for each product by itself (87 queries)");
    drop(shop);
    say("Stopped and cleaned up");
    Ok(())
}

/// Ctrl-C ends every wait; the values that hold processes and folders then clean up.
fn stop_on_ctrl_c() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            wait::interrupt();
        }
    });
    Ok(())
}

fn say(what: &str) {
    eprintln!("==> {what}");
}

/// The services and their databases. The fields are dropped in this order: whoever asks goes before who answers.
struct Shop {
    gateway: Nginx,
    orders: App,
    inventory: App,
    recommendations: App,
    _postgres: Postgres,
    _mariadb: MariaDb,
}

impl Shop {
    fn open() -> Result<Self> {
        say("Starting PostgreSQL");
        let postgres = Postgres::start()?;
        postgres.script(&source("postgres.sql"))?;
        say("Starting MariaDB");
        let mariadb = MariaDb::start()?;
        mariadb.script(&source("mariadb.sql"))?;
        say("Opening the shop: gateway (nginx), orders (Node), inventory and recommendations (Python)");
        let inventory = App::gunicorn(&source("inventory/inventory.py"), &postgres.environment())?;
        let recommendations = App::gunicorn(&source("recommendations/recommendations.py"), &mariadb.environment())?;
        let mut environment = postgres.environment();
        environment.push(("INVENTORY_PORT".to_owned(), inventory.port().to_string()));
        environment.push(("RECOMMENDATIONS_PORT".to_owned(), recommendations.port().to_string()));
        let orders = App::node(&source("orders/server.js"), &environment)?;
        let gateway = Nginx::start(&source("gateway.conf"), orders.port())?;
        Ok(Self { gateway, orders, inventory, recommendations, _postgres: postgres, _mariadb: mariadb })
    }

    fn pids(&self) -> [u32; 4] {
        [self.gateway.pid(), self.orders.pid(), self.inventory.pid(), self.recommendations.pid()]
    }

    /// All customers check out, one after the other: how long each waited.
    fn checkouts(&self) -> Result<Vec<(u32, Duration)>> {
        let mut client = Client::connect(self.gateway.port())?;
        let mut times = Vec::new();
        for customer in CUSTOMERS {
            let started = Instant::now();
            let response = client.post(&format!("/checkout?customer={customer}"))?;
            times.push((customer, started.elapsed()));
            let body = String::from_utf8_lossy(&response.body);
            ensure!(response.status == 200, "customer {customer}: {} {body}", response.status);
        }
        Ok(times)
    }
}

fn source(file: &str) -> PathBuf {
    syspan_tests::sources().join("shop").join(file)
}

/// syspan, and how much of its output has been passed on.
struct Traces {
    syspan: Syspan,
    shown: usize,
}

impl Traces {
    fn start(shop: &Shop) -> Result<Self> {
        let mut environment = Vec::new();
        if std::io::stdout().is_terminal() {
            // Its output goes through this program, so it cannot ask the terminal itself.
            let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(COLUMNS, |size| size.ws_col);
            environment = vec![("CLICOLOR_FORCE", "1".to_owned()), ("COLUMNS", columns.to_string())];
        }
        let syspan = Syspan::start(&["--output", "tree"], &shop.pids(), &environment)?;
        Ok(Self { syspan, shown: 0 })
    }

    /// Passes on what is new.
    fn pass_on(&mut self) -> Result<()> {
        let printed = self.syspan.printed()?;
        self.show(&printed)
    }

    /// Stops syspan and passes on the rest, its closing words included.
    fn stop(mut self) -> Result<()> {
        self.pass_on()?;
        let Self { syspan, shown } = self;
        let (printed, messages) = syspan.stop_unread()?;
        let mut rest = String::from(printed.get(shown..).context("syspan's output has become shorter")?);
        for line in messages.lines().filter(|line| !line.starts_with("syspan: ready")) {
            rest.push_str(line);
            rest.push('\n');
        }
        std::io::stdout().write_all(rest.as_bytes())?;
        ensure!(printed.contains("recommendations"), "syspan has shown no trace through all services");
        Ok(())
    }

    fn show(&mut self, printed: &str) -> Result<()> {
        // Whole lines only: the rest may still be on its way.
        let end = printed.rfind('\n').map_or(0, |last| last + 1);
        if let Some(new) = printed.get(self.shown..end) {
            let mut terminal = std::io::stdout();
            terminal.write_all(new.as_bytes())?;
            terminal.flush()?;
            self.shown = end;
        }
        Ok(())
    }
}
