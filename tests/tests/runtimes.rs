//! The applications on other runtimes, and the proxies, by themselves: should one of these fail, nothing that is said of
//! their parents means anything.

use anyhow::{Context as _, Result, ensure};
use syspan_tests::{
    apps::App,
    downstream::Downstream,
    http::{self, Load},
    php::PhpFpm,
    postgres::Postgres,
    runtimes,
};

/// The database and the service that every application here calls.
struct Shop {
    postgres: Postgres,
    downstream: Downstream,
}

impl Shop {
    fn open() -> Result<Self> {
        Ok(Self { postgres: Postgres::start()?, downstream: Downstream::start()? })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.postgres.environment();
        environment.push(("DOWNSTREAM".to_owned(), self.downstream.url()));
        environment
    }
}

/// Each page answers with what its two statements and its call gave, also when 64 connections ask at once. Numbers only:
/// an id goes into a statement as it is.
fn serves(port: u16, pages: &[&str]) -> Result<()> {
    let hello = http::get(port, "/hello")?;
    ensure!(hello.body == b"hello\n", "{hello:?}");
    for page in pages {
        let response = http::get(port, &format!("/{page}?id=7"))?;
        let text = String::from_utf8_lossy(&response.body);
        ensure!(text == format!("{page}-7-a\nitem 7\n{page}-7-b\n"), "{page}: {} {text}", response.status);
        ensure!(http::get(port, &format!("/{page}?id=7'"))?.status == 400, "{page}");
        Load::connect(port, 64)?.run(700, |id| format!("/{page}?id={id}")).with_context(|| (*page).to_owned())?;
    }
    Ok(())
}

/// Without a service to call, the statements are all there is.
fn serves_alone(app: &App) -> Result<()> {
    let response = http::get(app.port(), "/checkout?id=7")?;
    ensure!(response.body == b"checkout-7-a\ncheckout-7-b\n", "{response:?}");
    Ok(())
}

#[test]
fn java() -> Result<()> {
    const PAGES: &[&str] = &["checkout", "handed", "future", "fanout"];
    let shop = Shop::open()?;
    serves(runtimes::java_threads(&shop.environment())?.port(), PAGES)?;
    serves(runtimes::java_virtual_threads(&shop.environment())?.port(), PAGES)?;
    let jdk_client = [&shop.environment()[..], &[("HTTP_CLIENT".to_owned(), "jdk".to_owned())]].concat();
    serves(runtimes::java_threads(&jdk_client)?.port(), &["checkout"])?;
    serves_alone(&runtimes::java_threads(&shop.postgres.environment())?)
}

#[test]
fn go() -> Result<()> {
    let shop = Shop::open()?;
    for app in [runtimes::go, runtimes::go_stripped, runtimes::go_old] {
        serves(app(&shop.environment())?.port(), &["checkout", "sql", "fanout"])?;
    }
    serves_alone(&runtimes::go(&shop.postgres.environment())?)
}

#[test]
fn rust() -> Result<()> {
    let shop = Shop::open()?;
    serves(runtimes::rust_axum(&shop.environment())?.port(), &["checkout", "fanout"])?;
    serves_alone(&runtimes::rust_axum(&shop.postgres.environment())?)
}

#[test]
fn ruby() -> Result<()> {
    let shop = Shop::open()?;
    serves(runtimes::puma(&shop.environment())?.port(), &["checkout"])?;
    serves_alone(&runtimes::puma(&shop.postgres.environment())?)
}

#[test]
fn php() -> Result<()> {
    let shop = Shop::open()?;
    for start in [PhpFpm::start, PhpFpm::kept_open, PhpFpm::behind_apache] {
        serves(start(&shop.environment())?.port(), &["checkout"])?;
    }
    let response = http::get(PhpFpm::start(&shop.postgres.environment())?.port(), "/checkout?id=7")?;
    ensure!(response.body == b"checkout-7-a\ncheckout-7-b\n", "{response:?}");
    Ok(())
}

#[test]
fn proxies() -> Result<()> {
    let shop = Shop::open()?;
    let app = runtimes::go(&shop.environment())?;
    for proxy in [runtimes::apache_prefork, runtimes::apache_event, runtimes::haproxy] {
        serves(proxy(app.port())?.port(), &["checkout"])?;
    }
    Ok(())
}
