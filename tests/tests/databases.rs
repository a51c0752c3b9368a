//! What clients and databases say to each other beyond plain statements (tests/apps/databases), over TCP and over Unix
//! sockets.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use syspan_tests::{
    apps,
    mariadb::MariaDb,
    otlp::Span,
    postgres::Postgres,
    server::Server,
    syspan::{self, Outcome, Syspan},
    wait,
};
use tempfile::TempDir;

const OPTIONS: [&str; 5] = ["--output", "otlp-json", "--sql-text", "raw", "--returned-rows"];

/// The default of `--sql-limit`: what is captured of a longer statement.
const SQL_LIMIT: usize = 8 * 1024;

/// What PostgreSQL's and MariaDB's messages and packets add before a statement's text is at most this long.
const FRAMING: usize = 64;

type Environment = Vec<(String, String)>;

fn client(file: &str, environment: Environment) -> Result<Command> {
    let file = syspan_tests::sources().join("apps/databases").join(file);
    let mut command = if file.extension().is_some_and(|extension| extension == "js") {
        let mut node = Command::new("node");
        node.env("NODE_PATH", syspan_tests::target().join("apps/node/node_modules"));
        node
    } else {
        Command::new(apps::python("bin/python")?)
    };
    command.arg(file).envs(environment);
    Ok(command)
}

/// The spans of a client's run, in the order in which they began.
fn traced(command: &Command) -> Result<Outcome> {
    let mut outcome = syspan::exec(&OPTIONS, command)?;
    outcome.spans.sort_by_key(|span| span.start);
    Ok(outcome)
}

/// Asserts exactly these statements in this order, each with its `error.type` (empty for none).
fn assert_statements(spans: &[Span], system: &str, expected: &[(&str, &str)]) {
    let found: Vec<_> =
        spans.iter().map(|span| (span.attribute("db.query.text"), span.attribute("error.type"))).collect();
    assert_eq!(found, expected);
    for span in spans {
        assert!(span.is_sql() && span.attribute("db.system.name") == system, "{span:?}");
        assert_eq!(span.error, !span.attribute("error.type").is_empty(), "{span:?}");
        assert_eq!(span.attribute("db.response.status_code"), span.attribute("error.type"), "{span:?}");
    }
}

fn rows<'a>(spans: &'a [Span], statement: &str) -> Vec<&'a str> {
    let of_statement = spans.iter().filter(|span| span.attribute("db.query.text").starts_with(statement));
    of_statement.map(|span| span.attribute("db.response.returned_rows")).collect()
}

/// A statement of 1 MB whose text was cut at the limit.
fn assert_cut(span: &Span, beginning: &str) {
    let text = span.attribute("db.query.text");
    assert!(text.starts_with(beginning) && text.ends_with("xxx"), "{} bytes", text.len());
    assert!((SQL_LIMIT - FRAMING..=SQL_LIMIT).contains(&text.len()), "{} bytes", text.len());
    assert!(!span.error && span.end > span.start, "{span:?}");
}

fn both_ways(postgres: &Postgres) -> [(&'static str, Environment); 2] {
    [("127.0.0.1", postgres.environment()), ("/", postgres.unix_environment())]
}

#[test]
fn postgresql_by_psycopg() -> Result<()> {
    let postgres = Postgres::start()?;
    for (peer, environment) in both_ways(&postgres) {
        let outcome = traced(client("postgres.py", environment)?.arg("statements"))?;
        let expected = [
            ("CREATE TEMP TABLE items (id int PRIMARY KEY, text text)", ""),
            ("COPY items FROM STDIN", ""),
            ("COPY items TO STDOUT", ""),
            ("DO $$ BEGIN RAISE NOTICE 'hello'; END $$", ""),
            ("SELECT * FROM missing", "42P01"),
            ("SELECT 1 / $1::int", "22012"),
            ("INSERT INTO items VALUES (7)", "23505"),
            ("SELECT 'one'", ""),
            ("SELECT 'two'", ""),
            ("SELECT 'three'", ""),
            ("SELECT 'four' FROM missing", "42P01"),
            ("BEGIN", ""),
            ("UPDATE items SET text = 'new' WHERE id = $1", ""),
            ("COMMIT", ""),
            ("SELECT 'prepared', $1::int", ""),
            ("SELECT 'prepared', $1::int", ""),
            ("SELECT 'prepared', $1::int", ""),
        ];
        assert_statements(&outcome.spans, "postgresql", &expected);
        assert_eq!(rows(&outcome.spans, "COPY"), ["2000", "2000"]);
        outcome.assert_nothing_lost();
        for span in &outcome.spans {
            assert!(span.attribute("network.peer.address").starts_with(peer), "{span:?}");
        }
    }
    Ok(())
}

#[test]
fn postgresql_by_node() -> Result<()> {
    let postgres = Postgres::start()?;
    for (peer, environment) in both_ways(&postgres) {
        let outcome = traced(&client("postgres.js", environment)?)?;
        let expected = [
            ("CREATE TEMP TABLE items (id int PRIMARY KEY, text text)", ""),
            ("SELECT * FROM missing", "42P01"),
            ("SELECT 1 / $1::int", "22012"),
            ("SELECT 'one'", ""),
            ("SELECT 'two'", ""),
            ("SELECT 'named', $1::int", ""),
            ("SELECT 'named', $1::int", ""),
            ("SELECT 'named', $1::int", ""),
            ("BEGIN", ""),
            ("INSERT INTO items VALUES ($1, $2)", ""),
            ("ROLLBACK", ""),
            ("SELECT number, 'a row' FROM generate_series(1, 50000) AS number", ""),
        ];
        assert_statements(&outcome.spans, "postgresql", &expected);
        assert_eq!(rows(&outcome.spans, "SELECT number"), ["50000"]);
        outcome.assert_nothing_lost();
        for span in &outcome.spans {
            assert!(span.attribute("network.peer.address").starts_with(peer), "{span:?}");
        }
    }
    Ok(())
}

#[test]
fn large_statements_and_results_of_postgresql() -> Result<()> {
    let postgres = Postgres::start()?;
    for (_, environment) in both_ways(&postgres) {
        let Outcome { mut spans, losses, messages } = traced(client("postgres.py", environment)?.arg("large"))?;
        ensure!(spans.len() == 5, "{spans:#?}");
        assert_cut(&spans.remove(2), "INSERT INTO texts VALUES ('xxx");
        let expected = [
            ("SELECT number, 'a row of the result' FROM generate_series(1, 50000) AS number", ""),
            ("CREATE TEMP TABLE texts (text text)", ""),
            ("INSERT INTO texts VALUES ($1)", ""),
            ("SELECT sum(length(text)) FROM texts", ""),
        ];
        assert_statements(&spans, "postgresql", &expected);
        assert_eq!(rows(&spans, "SELECT number"), ["50000"]);
        Outcome { spans, losses, messages }.assert_nothing_lost();
    }
    Ok(())
}

/// The two executions of a statement whose text was never seen are spans without text, and counted.
#[test]
fn statements_prepared_before_the_agent() -> Result<()> {
    let (postgres, folder) = (Postgres::start()?, TempDir::with_prefix("databases-")?);
    for (_, environment) in both_ways(&postgres) {
        let mut command = client("postgres.py", environment)?;
        let mut server = Server::start("client", folder.path(), command.arg("prepared_before"))?;
        server.wait_for("open")?;
        let syspan = Syspan::run(&[server.pid()], &["--sql-text", "raw"])?;
        kill_process(Pid::from_raw(i32::try_from(server.pid())?).context("process 0")?, Signal::USR1)?;
        let status = server.wait_for_end(wait::START)?;
        ensure!(status.success(), "{status}: {}", server.output()?);
        let mut outcome = syspan.stop()?;
        outcome.spans.sort_by_key(|span| span.start);
        let expected = [("", ""), ("", ""), ("SELECT 'after', $1::int", ""), ("SELECT 'simple'", "")];
        assert_statements(&outcome.spans, "postgresql", &expected);
        assert_eq!(outcome.losses, [("unknown_statement".to_owned(), 2)].into());
    }
    Ok(())
}

fn both_ways_to(mariadb: &MariaDb) -> [Environment; 2] {
    [mariadb.environment(), vec![("MARIADB_SOCKET".to_owned(), mariadb.socket().display().to_string())]]
}

#[test]
fn mariadb_by_pymysql() -> Result<()> {
    let (mariadb, folder) = (MariaDb::start()?, TempDir::with_prefix("databases-")?);
    let file = folder.path().join("items");
    let load = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE items", file.display());
    for mut environment in both_ways_to(&mariadb) {
        environment.push(("ITEMS".to_owned(), file.display().to_string()));
        let outcome = traced(client("mariadb.py", environment)?.arg("statements"))?;
        let expected = [
            ("SET NAMES utf8mb4", ""),
            ("SELECT * FROM missing", "1146"),
            ("SELECT FROM", "1064"),
            ("CREATE TEMPORARY TABLE items (id int PRIMARY KEY, text text)", ""),
            (load.as_str(), ""),
            ("SELECT count(*) FROM items", ""),
            ("INSERT INTO items VALUES (7, '')", "1062"),
            ("SELECT 'one'", ""),
            ("SELECT 'two'", ""),
            ("USE information_schema", ""),
            ("SELECT 'elsewhere'", ""),
            ("SELECT 'back'", ""),
        ];
        assert_statements(&outcome.spans, "mariadb", &expected);
        let databases: Vec<&str> = outcome.spans.iter().map(|span| span.attribute("db.namespace")).collect();
        assert_eq!(databases, [["test"; 10].as_slice(), &["information_schema", "test"]].concat());
        outcome.assert_nothing_lost();
    }
    Ok(())
}

#[test]
fn large_statements_and_results_of_mariadb() -> Result<()> {
    let mariadb = MariaDb::start()?;
    for environment in both_ways_to(&mariadb) {
        let Outcome { mut spans, losses, messages } = traced(client("mariadb.py", environment)?.arg("large"))?;
        ensure!(spans.len() == 5, "{spans:#?}");
        assert_cut(&spans.remove(3), "INSERT INTO texts VALUES ('xxx");
        let expected = [
            ("SET NAMES utf8mb4", ""),
            ("SELECT seq, 'a row of the result' FROM seq_1_to_50000", ""),
            ("CREATE TEMPORARY TABLE texts (text mediumtext)", ""),
            ("SELECT sum(length(text)) FROM texts", ""),
        ];
        assert_statements(&spans, "mariadb", &expected);
        Outcome { spans, losses, messages }.assert_nothing_lost();
    }
    Ok(())
}

/// What cannot be read is said, not guessed: a session over TLS, and a compressed one.
#[test]
fn sessions_that_cannot_be_read() -> Result<()> {
    let mariadb = MariaDb::start_with_tls()?;
    for (option, cause) in [("--ssl", "tls"), ("--compress", "compressed")] {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--host=127.0.0.1", "--database=test", option]);
        command.arg(format!("--port={}", mariadb.port())).arg("--execute=DO 1");
        if cause == "compressed" {
            command.arg("--skip-ssl");
        }
        let outcome = traced(&command)?;
        assert_eq!(outcome.losses, [(cause.to_owned(), 1)].into());
        assert_eq!(outcome.spans, []);
    }
    Ok(())
}
