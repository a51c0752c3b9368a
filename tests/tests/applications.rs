//! The applications and servers by themselves: should one of these fail, no other end-to-end test means anything.

use anyhow::{Result, ensure};
use syspan_tests::{
    apps::App,
    http::{self, Client, Load},
    mariadb::MariaDb,
    nginx::Nginx,
    postgres::Postgres,
};

fn expect(port: u16, path: &str, body: &str) -> Result<()> {
    let response = http::get(port, path)?;
    let text = String::from_utf8_lossy(&response.body);
    ensure!(response.status == 200 && text.contains(body), "{path}: {} {text}", response.status);
    Ok(())
}

#[test]
fn node_behind_nginx_serves_from_both_databases() -> Result<()> {
    let (postgres, mariadb) = (Postgres::start()?, MariaDb::start()?);
    for express in ["express", "express5"] {
        let choice = [("EXPRESS".to_owned(), express.to_owned())];
        let app = App::orders(&[&postgres.environment()[..], &mariadb.environment(), &choice].concat())?;
        let nginx = Nginx::proxy(app.port())?;
        expect(nginx.port(), "/hello", "hello")?;
        expect(nginx.port(), "/checkout?id=7", r#"["checkout-7-a","checkout-7-b"]"#)?;
        expect(app.port(), "/mariadb/plain?id=7", "mariadb-plain-7")?;
        expect(app.port(), "/mariadb/prepared?id=7", "mariadb-prepared-7")?;
        expect(app.port(), "/mariadb/repeated?id=7", "mariadb-repeated")?;
        Load::connect(nginx.port(), 16)?.run(200, |n| format!("/checkout?id={n}"))?;
        let paths: Vec<String> = (0..100).map(|n| format!("/status/{}", if n % 2 == 0 { 200 } else { 404 })).collect();
        let responses = Client::connect(app.port())?.pipeline(&paths)?;
        ensure!(responses.iter().filter(|response| response.status == 404).count() == 50, "{responses:?}");
    }
    Ok(())
}

#[test]
fn python_serves_from_threads_and_from_an_event_loop() -> Result<()> {
    let (postgres, mariadb) = (Postgres::start()?, MariaDb::start()?);
    let threads = App::threads(&[postgres.unix_environment(), mariadb.environment()].concat())?;
    expect(threads.port(), "/checkout?id=7", "checkout-7-b")?;
    expect(threads.port(), "/pipeline?id=7", "pipeline-7-49")?;
    expect(threads.port(), "/mariadb/plain?id=7", "mariadb-plain-7")?;
    expect(threads.port(), "/mariadb/prepared?id=7", "mariadb-execute-7")?;
    Load::connect(threads.port(), 8)?.run(100, |n| format!("/checkout?id={n}"))?;
    let event_loop = App::event_loop(&postgres.environment())?;
    expect(event_loop.port(), "/checkout?id=7", "checkout-7-b")?;
    Load::connect(event_loop.port(), 16)?.run(100, |n| format!("/checkout?id={n}"))
}
