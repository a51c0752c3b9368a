#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{Dialect, Execution, Statement, lexer::Lexer, sanitize::sanitize, split, summary::summarize};
use crate::{
    event::Address,
    protocols::{Connection, Options, Role, SqlText},
    traces::span::{Status, Value},
};

const BOTH: [Dialect; 2] = [Dialect::PostgreSql, Dialect::MySql];

/// OpenTelemetry's own vectors (semantic-conventions, `db-sql-test-cases.json`), read in place.
#[test]
fn the_convention_s_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/sql/db-sql-test-cases.json");
    let file = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let cases: Vec<Json> = serde_json::from_str(&file).expect("JSON");
    assert_eq!(cases.len(), 24);
    for case in &cases {
        let query = case["input"]["query"].as_str().unwrap();
        for dialect in BOTH {
            let text = sanitize(query.as_bytes(), dialect);
            let accepted = case["expected"]["db.query.text"].as_array().unwrap();
            assert!(accepted.iter().any(|form| form == &text), "{}: {text:?}", case["name"]);
            let summary = summarize(query.as_bytes(), dialect);
            assert_eq!(summary.as_deref(), case["expected"]["db.query.summary"].as_str(), "{}", case["name"]);
        }
    }
}

#[test]
fn literals_of_postgresql() {
    for (text, expected) in [
        (r"SELECT E'a\'b', 'c\d', b'01', X'1F', N'x', U&'\0041'", "SELECT ?, ?, ?, ?, ?, ?"),
        (r#"SELECT "Col 1", U&"x" FROM t"#, r#"SELECT "Col 1", U&"x" FROM t"#),
        ("SELECT $$it's$$, $a$ $b$ $a$, $1, $2::int", "SELECT ?, ?, $1, $2::int"),
        ("SELECT 0x1F, 0b11, 0o17, 1_000, 1e-5, .5e+3, 5.", "SELECT ?, ?, ?, ?, ?, ?, ?"),
        ("SELECT id-1, id - 1, (a)-1, $1-1, a[1]-1", "SELECT id-?, id - ?, (a)-?, $1-?, a[?]-?"),
        ("SELECT data->1->>'k' FROM t", "SELECT data->?->>? FROM t"),
        ("SELECT DATE '2020-01-01', INTERVAL '1 day'", "SELECT DATE ?, INTERVAL ?"),
        ("SELECT TRUE, t.true, falsehood", "SELECT ?, t.true, falsehood"),
        ("SELECT /* a /* b */ 's' */ 1", "SELECT  ?"),
        ("SELECT/**/a--x", "SELECT a"),
        ("SELECT a ? 'b'", "SELECT a ? ?"),
    ] {
        assert_eq!(sanitize(text.as_bytes(), Dialect::PostgreSql), expected);
    }
}

#[test]
fn literals_of_mysql() {
    for (text, expected) in [
        (r#"SELECT "it's", 'a\"b', 'a\\', "a""b""#, "SELECT ?, ?, ?, ?"),
        ("SELECT `a 1` FROM `t`.`u` # tail", "SELECT `a 1` FROM `t`.`u`"),
        ("SELECT _utf8mb4'x', n'y', x'1F', _latin1\"z\"", "SELECT ?, ?, ?, ?"),
        ("SELECT 5--1, a -- c\n, ?", "SELECT ?-?, a \n, ?"),
        ("SELECT /*!80000 STRAIGHT_JOIN 7 */ a", "SELECT  STRAIGHT_JOIN ?  a"),
        ("SELECT 1 -/*!- 2 */", "SELECT ? - - ?"),
        ("SELECT @v, @@global.x, :name", "SELECT @v, @@global.x, :name"),
    ] {
        assert_eq!(sanitize(text.as_bytes(), Dialect::MySql), expected);
    }
}

#[test]
fn what_settings_make_doubtful_is_one_literal_until_all_ways_to_read_it_agree() {
    for (text, dialect, expected) in [
        (r"SELECT 'a\' AND b = 'SECRET' AND c = 1", Dialect::PostgreSql, "SELECT ?"),
        (r"SELECT 'a\', b, 'SECRET\'' FROM t WHERE c = 1", Dialect::PostgreSql, "SELECT ?"),
        (r"SELECT 'it\'s SECRET' FROM t", Dialect::MySql, "SELECT ?"),
        (r#"SELECT "a\", 'it\'s', "SECRET\" FROM t"#, Dialect::MySql, "SELECT ?"),
        (r"SELECT 'it\'s', 'it\'s' FROM t WHERE c = 2", Dialect::MySql, "SELECT ? FROM t WHERE c = ?"),
        (r"SELECT '\\', 'c:\temp', '\n' FROM t", Dialect::MySql, "SELECT ?, ?, ? FROM t"),
    ] {
        assert_eq!(sanitize(text.as_bytes(), dialect), expected, "{text}");
    }
    let text = r"SELECT 1; SELECT 'a\' ; SELECT SECRET '";
    assert_eq!(split(text.as_bytes(), Dialect::PostgreSql).len(), 2, "no part begins in a literal");
}

#[test]
fn a_secret_does_not_survive_truncation_anywhere() {
    let texts = [
        "SELECT * FROM t WHERE a = 'SECRET''SECRET' AND b = E'\\'SECRET' /* SECRET */ AND c = $x$SECRET$x$ -- SECRET",
        "INSERT INTO t VALUES (x'5EC2E7', 'SECRET', U&'SECRET')",
    ];
    for text in texts {
        for cut in 0..=text.len() {
            for dialect in BOTH {
                // MySQL has no dollar quotes: there the tag's text is an identifier.
                if dialect == Dialect::MySql && text.contains("$x$") {
                    continue;
                }
                let statement = Statement::new(&text.as_bytes()[..cut], dialect, &Options::default());
                let shown = format!("{statement:?}");
                assert!(!shown.contains("SEC") && !shown.contains("5EC"), "{shown}");
            }
        }
    }
}

#[test]
fn summaries() {
    for (text, expected) in [
        ("SELECT * FROM \"song list\", 'artists'", "SELECT \"song list\" 'artists'"),
        ("call some_stored_procedure(1, 'x')", "call some_stored_procedure"),
        ("BEGIN", "BEGIN"),
        ("START TRANSACTION READ ONLY", "START"),
        ("COMMIT;", "COMMIT"),
        ("ROLLBACK TO SAVEPOINT s", "ROLLBACK"),
        ("SET search_path TO a, b", "SET"),
        ("SHOW TABLES FROM x", "SHOW"),
        ("EXECUTE plan(1)", "EXECUTE plan"),
        ("COPY public.t (a, b) FROM STDIN", "COPY public.t"),
        ("COPY (SELECT a FROM t) TO STDOUT", "COPY SELECT t"),
        ("TRUNCATE t", "TRUNCATE t"),
        ("TRUNCATE TABLE ONLY t, u CASCADE", "TRUNCATE t u"),
        ("LOCK TABLE t IN SHARE MODE", "LOCK t"),
        ("USE shop", "USE shop"),
        ("WITH r AS (SELECT * FROM orders) SELECT * FROM r JOIN x ON true", "SELECT orders SELECT x"),
        (
            "WITH RECURSIVE a(n) AS (VALUES (1)), b AS (DELETE FROM q RETURNING *) SELECT * FROM a, b, public.a",
            "DELETE q SELECT public.a",
        ),
        ("UPDATE ONLY t SET a = 1 FROM u WHERE t.a IS DISTINCT FROM u.a", "UPDATE t u"),
        ("UPDATE t SET a = extract(year FROM ts), b = substring('x' from 2)", "UPDATE t"),
        ("DELETE FROM t USING u WHERE t.a IN (SELECT a FROM v)", "DELETE t u SELECT v"),
        ("INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = 1", "INSERT t"),
        ("REPLACE INTO t VALUES (1)", "REPLACE t"),
        ("INSERT IGNORE t SET a = REPLACE(b, 'c', 'd')", "INSERT t"),
        ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", "CREATE INDEX i"),
        ("CREATE INDEX ON t (a)", "CREATE INDEX t"),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", "CREATE VIEW v SELECT t"),
        ("CREATE DATABASE shop", "CREATE DATABASE shop"),
        ("CREATE USER bob PASSWORD 'x'", "CREATE"),
        ("DROP TABLE IF EXISTS a, b CASCADE", "DROP TABLE a b"),
        ("EXPLAIN (ANALYZE, COSTS off) SELECT * FROM t", "EXPLAIN SELECT t"),
        ("EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN UPDATE t"),
        ("(SELECT a FROM t) UNION (SELECT b FROM u)", "SELECT t SELECT u"),
        ("SELECT a FROM (t JOIN u USING (a)), v WHERE f(a, b) = 1 ORDER BY a, b", "SELECT t u v"),
        ("SELECT trim(both from 'x'), a FROM LATERAL (SELECT 1) s, ONLY t", "SELECT SELECT t"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "MERGE t u"),
        ("DECLARE c CURSOR FOR SELECT * FROM t", "DECLARE SELECT t"),
        ("SELECT a FROM t FOR UPDATE OF t", "SELECT t"),
        ("SELECT a FROM t AS x (b, c), u LIMIT 1, 2", "SELECT t u"),
        ("SELECT 1 FROM generate_series(1, 2) g, t", "SELECT generate_series t"),
    ] {
        assert_eq!(summarize(text.as_bytes(), Dialect::PostgreSql).as_deref(), Some(expected), "{text}");
    }
    for text in ["", "hunter2", "-- x", "'SELECT'", ";"] {
        assert_eq!(summarize(text.as_bytes(), Dialect::MySql), None, "{text}");
    }
}

#[test]
fn a_summary_is_cut_at_an_edge() {
    let tables: Vec<String> = (0..40).map(|n| format!("table_{n:04}")).collect();
    let text = format!("SELECT * FROM {}", tables.join(", "));
    let summary = summarize(text.as_bytes(), Dialect::PostgreSql).unwrap();
    assert_eq!(summary.len(), 6 + 22 * 11);
    assert!(summary.ends_with(" table_0021"));
}

#[test]
fn statements_are_split() {
    let text =
        b"SELECT ';' ; /* ; */ ; UPDATE t SET a = $$;$$;CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); -- x";
    let parts: Vec<_> = split(text, Dialect::PostgreSql).iter().map(|part| String::from_utf8_lossy(part)).collect();
    assert_eq!(
        parts,
        ["SELECT ';'", "UPDATE t SET a = $$;$$", "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"]
    );
    let atomic = b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END; SELECT 3";
    assert_eq!(split(atomic, Dialect::PostgreSql).len(), 2);
    assert_eq!(split(b"BEGIN; SELECT 1; END", Dialect::PostgreSql).len(), 3);
    assert_eq!(split(b" ; -- x", Dialect::MySql), Vec::<&[u8]>::new());
}

#[test]
fn text_as_the_user_wants_it() {
    let with = |sql_text, sql_limit| {
        let options = Options { sql_text, sql_limit, ..Options::default() };
        Statement::new(b"SELECT 'x' FROM t", Dialect::PostgreSql, &options)
    };
    assert_eq!(with(SqlText::Raw, 100).text.as_deref(), Some("SELECT 'x' FROM t"));
    let off = with(SqlText::Off, 100);
    assert_eq!((off.text, off.summary.as_deref()), (None, Some("SELECT t")));
    assert_eq!(with(SqlText::Sanitized, 9).text.as_deref(), Some("SELECT ?"));
}

#[test]
fn an_execution_is_described() {
    let statement =
        Statement { text: Some("SELECT ?".to_owned()), summary: Some("SELECT".to_owned()), ..Statement::default() };
    let execution = Execution {
        system: "postgresql",
        default_port: 5432,
        namespace: Some("shop|public".to_owned()),
        statement: &statement,
        start: 10,
        end: 30,
        status_code: Some("42P01".to_owned()),
        error: Some("42P01".into()),
        rows: Some(3),
        batch: Some(1),
    };
    let mut connection = Connection {
        local_role: Role::Client,
        local: Address::Inet([127, 0, 0, 1].into(), 40000),
        peer: Address::Inet([10, 0, 0, 2].into(), 5433),
        from_start: true,
    };
    let exchange = execution.clone().exchange(&connection, &Options::default());
    let keys = |exchange: &crate::protocols::Exchange| -> Vec<(String, Value)> {
        exchange.attributes.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
    };
    let expected: Vec<(String, Value)> = [
        ("db.system.name", Value::from("postgresql")),
        ("db.namespace", "shop|public".into()),
        ("db.query.summary", "SELECT".into()),
        ("db.query.text", "SELECT ?".into()),
        ("server.address", "10.0.0.2".into()),
        ("server.port", 5433.into()),
        ("network.peer.address", "10.0.0.2".into()),
        ("network.peer.port", 5433.into()),
        ("db.response.status_code", "42P01".into()),
        ("error.type", "42P01".into()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    assert_eq!(keys(&exchange), expected);
    assert_eq!((exchange.name.as_ref(), exchange.start, exchange.end), ("SELECT", 10, 30));
    assert_eq!(exchange.status, Status::Error(String::new()));

    connection.peer = Address::Unix(7, Some("/run/postgresql/.s.PGSQL.5432".to_owned()));
    let nothing = Statement::default();
    let options = Options { returned_rows: true, ..Options::default() };
    let execution =
        Execution { statement: &nothing, status_code: None, error: None, batch: Some(2), end: 5, ..execution };
    let exchange = execution.exchange(&connection, &options);
    let path = Value::from("/run/postgresql/.s.PGSQL.5432");
    let expected: Vec<(String, Value)> = [
        ("db.system.name", Value::from("postgresql")),
        ("db.namespace", "shop|public".into()),
        ("server.address", path.clone()),
        ("network.peer.address", path),
        ("network.transport", "unix".into()),
        ("db.operation.batch.size", 2.into()),
        ("db.response.returned_rows", 3.into()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    assert_eq!(keys(&exchange), expected);
    assert_eq!((exchange.name.as_ref(), exchange.end, exchange.status), ("shop|public", 10, Status::Unset));
}

proptest! {
    #[test]
    fn tokens_join_to_the_text(text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"'\"`$-+/*#.;eE01x\\ ".to_vec())], 0..200)) {
        for dialect in BOTH {
            let joined: Vec<u8> = Lexer::new(&text, dialect).flat_map(|token| token.text.to_vec()).collect();
            prop_assert_eq!(&joined, &text);
            let summary = summarize(&text, dialect);
            prop_assert!(summary.is_none_or(|summary| summary.chars().count() <= 255));
            sanitize(&text, dialect);
            prop_assert!(split(&text, dialect).iter().all(|part| !part.is_empty()));
        }
    }

    #[test]
    fn no_digit_outside_a_name_survives(text in "[ ,()=a-c.0-9+'-]{0,40}") {
        let sanitized = sanitize(text.as_bytes(), Dialect::PostgreSql);
        let begins_with_digit = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
        prop_assert!(!sanitized.split(|c: char| !c.is_ascii_alphanumeric()).any(begins_with_digit), "{}", sanitized);
    }
}
