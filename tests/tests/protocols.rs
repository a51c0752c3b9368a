//! Requests and statements that do not simply alternate with their answers.

#![allow(clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use anyhow::Result;
use syspan_tests::{
    apps::App,
    causes::{differences, markers, requests},
    http::{Client, Load},
    mariadb::MariaDb,
    postgres::Postgres,
    syspan::Syspan,
};

const NONE: [&str; 0] = [];
const RAW: &[&str] = &["--sql-text", "raw"];

fn each_once(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.map(|name| (name, 1)).collect()
}

#[test]
fn a_hundred_pipelined_http_requests() -> Result<()> {
    const CODES: [u16; 5] = [200, 201, 404, 418, 500];
    let app = App::orders(&[])?;
    let syspan = Syspan::run(&[app.pid()], &[])?;
    let paths: Vec<String> =
        CODES.iter().cycle().take(100).enumerate().map(|(n, code)| format!("/status/{code}?id={n}")).collect();
    let responses = Client::connect(app.port())?.pipeline(&paths)?;
    let outcome = syspan.stop()?;
    assert_eq!(outcome.spans.len(), 100);
    assert_eq!(differences(&requests(&outcome.spans), &each_once(paths.iter().cloned())), NONE);
    for (path, response) in paths.iter().zip(responses) {
        let span = outcome.spans.iter().find(|span| span.target() == *path);
        let status = span.map(|span| span.attribute("http.response.status_code").to_owned());
        assert_eq!(status, Some(response.status.to_string()), "{path}");
        assert_eq!(span.map(|span| span.error), Some(response.status >= 500), "{path}");
    }
    outcome.assert_nothing_lost();
    Ok(())
}

#[test]
fn a_postgresql_pipeline_of_fifty_statements() -> Result<()> {
    let postgres = Postgres::start()?;
    let mut environment = postgres.environment();
    environment.push(("MARIADB_PORT".to_owned(), "0".to_owned()));
    let app = App::threads(&environment)?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    let response = Client::connect(app.port())?.get("/pipeline?id=7")?;
    assert_eq!(response.status, 200);
    let outcome = syspan.stop()?;
    let expected = each_once((0..50).map(|step| format!("pipeline-7-{step}")));
    assert_eq!(differences(&markers(&outcome.spans, "pipeline-"), &expected), NONE);
    let request = outcome.spans.iter().find(|span| span.is_http_server()).map(|span| span.span_id.clone());
    let strays = outcome.spans.iter().filter(|span| span.is_sql() && Some(&span.parent_span_id) != request.as_ref());
    assert_eq!(strays.count(), 0, "all statements are below the one request");
    Ok(())
}

#[test]
fn mariadb_by_mysql2() -> Result<()> {
    const REQUESTS: usize = 200;
    let mariadb = MariaDb::start()?;
    let app = App::orders(&mariadb.environment())?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    let mut load = Load::connect(app.port(), 8)?;
    for way in ["plain", "prepared", "repeated"] {
        load.run(REQUESTS, |number| format!("/mariadb/{way}?id={number}"))?;
    }
    let outcome = syspan.stop()?;
    for way in ["plain", "prepared"] {
        let expected = each_once((0..REQUESTS).map(|number| format!("mariadb-{way}-{number}")));
        assert_eq!(differences(&markers(&outcome.spans, &format!("mariadb-{way}-")), &expected), NONE);
    }
    assert_eq!(markers(&outcome.spans, "mariadb-repeated"), [("mariadb-repeated".to_owned(), REQUESTS)].into());
    let system = outcome.spans.iter().filter(|span| span.is_sql()).map(|span| span.attribute("db.system.name"));
    assert_eq!(system.filter(|name| *name != "mariadb").count(), 0);
    outcome.assert_nothing_lost();
    Ok(())
}

#[test]
fn mariadb_by_pymysql() -> Result<()> {
    const REQUESTS: usize = 100;
    let mariadb = MariaDb::start()?;
    let app = App::threads(&mariadb.environment())?;
    let syspan = Syspan::run(&[app.pid()], RAW)?;
    let mut load = Load::connect(app.port(), 8)?;
    for way in ["plain", "prepared"] {
        load.run(REQUESTS, |number| format!("/mariadb/{way}?id={number}"))?;
    }
    let outcome = syspan.stop()?;
    for kind in ["plain", "execute"] {
        let expected = each_once((0..REQUESTS).map(|number| format!("mariadb-{kind}-{number}")));
        assert_eq!(differences(&markers(&outcome.spans, &format!("mariadb-{kind}-")), &expected), NONE);
    }
    outcome.assert_nothing_lost();
    Ok(())
}
