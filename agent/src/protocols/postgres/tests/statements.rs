//! Statements, in sequences as a server and its clients produce them.

use super::*;

#[test]
fn a_query_is_described() {
    let mut wire = Wire::started();
    wire.client(&query("SELECT * FROM orders WHERE id = 7"));
    wire.server(&[message(b'T', &[0, 0]), row(5), row(5), complete("SELECT 2"), ready()].concat());
    let exchange = wire.exchanges().remove(0);
    let attributes: Vec<_> =
        exchange.attributes.iter().map(|(key, _)| (key.to_string(), attribute(&exchange, key).unwrap())).collect();
    let expected = [
        ("db.system.name", "postgresql"),
        ("db.namespace", "shop"),
        ("db.query.summary", "SELECT orders"),
        ("db.query.text", "SELECT * FROM orders WHERE id = ?"),
        ("server.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.peer.port", "5432"),
        ("db.response.returned_rows", "2"),
    ];
    assert_eq!(attributes, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn fifty_statements_and_syncs_in_one_write() {
    let mut wire = Wire::started();
    let request: Vec<u8> = (0..50).flat_map(|n| [whole(&format!("SELECT 1 FROM t{n}")), sync()].concat()).collect();
    wire.client(&request);
    wire.server(&(0..50).flat_map(|_| [whole_answer("SELECT 1"), ready()].concat()).collect::<Vec<u8>>());
    let expected: Vec<_> = (0..50).map(|n| format!("SELECT t{n}")).collect();
    assert_eq!(wire.names(), expected);
}

#[test]
fn an_error_drops_what_follows_up_to_sync() {
    let mut wire = Wire::started();
    wire.client(&[whole("SELECT 1 FROM a"), whole("SELECT 1 FROM b"), whole("SELECT 1 FROM c")].concat());
    wire.server(&[whole_answer("SELECT 1"), message(b'1', &[]), error("22P02")].concat());
    // The server reads this and does not answer, for the Sync comes only now.
    wire.client(&[whole("SELECT 1 FROM d"), sync(), whole("SELECT 1 FROM e"), sync()].concat());
    wire.server(&[ready(), whole_answer("SELECT 1"), ready()].concat());
    assert!(consistent(&wire.signals));
    assert_eq!(wire.names(), ["SELECT a", "SELECT b 22P02", "SELECT e"]);
}

#[test]
fn a_statement_that_cannot_be_prepared_is_seen() {
    let mut wire = Wire::started();
    wire.client(&[parse("s", "SELECT 1 FROM missing"), describe(b'S', "s"), sync()].concat());
    wire.server(&[error("42P01"), ready()].concat());
    assert_eq!(wire.names(), ["SELECT missing 42P01"]);
    // And it is not known by that name.
    wire.client(&[bind("", "s"), execute("", 0), sync()].concat());
    wire.server(&[error("26000"), ready()].concat());
    assert_eq!(wire.names(), ["shop 26000"]);
}

#[test]
fn a_name_that_is_taken_keeps_its_statement() {
    let mut wire = Wire::started();
    wire.client(&[parse("s", "SELECT 1 FROM a"), sync()].concat());
    wire.server(&[message(b'1', &[]), ready()].concat());
    wire.client(&[parse("s", "SELECT 1 FROM b"), sync()].concat());
    wire.server(&[error("42P05"), ready()].concat());
    wire.client(&[bind("", "s"), execute("", 0), sync()].concat());
    wire.server(&[message(b'2', &[]), complete("SELECT 0"), ready()].concat());
    assert_eq!(wire.names(), ["SELECT b 42P05", "SELECT a"]);
}

#[test]
fn a_statement_of_before_has_no_text() {
    let mut wire = Wire::started();
    wire.client(&[bind("", "old"), execute("", 0), sync()].concat());
    wire.server(&[message(b'2', &[]), complete("INSERT 0 3"), ready()].concat());
    assert_eq!(wire.said(), ["Lost(UnknownStatement)", "opened 0 at 30", "requested 0", "closed 0 30..40 shop, 3"]);
}

#[test]
fn copy_with_the_extended_protocol() {
    let mut wire = Wire::started();
    // libpq sends Sync with the statement, which the server ignores in copy mode, and another one after the data.
    wire.client(&[whole("COPY t FROM STDIN"), sync()].concat());
    wire.server(&[message(b'1', &[]), message(b'2', &[]), message(b'G', &[0, 0, 0])].concat());
    wire.client(&[message(b'd', b"1\n"), message(b'c', &[]), sync()].concat());
    wire.server(&[complete("COPY 1"), ready()].concat());
    wire.client(&query("COPY t TO STDOUT"));
    wire.server(&[message(b'H', &[0, 0, 0]), message(b'd', b"Z\0\0\0\x05I"), message(b'c', &[])].concat());
    wire.server(&[complete("COPY 1"), ready()].concat());
    assert_eq!(wire.names(), ["COPY t", "COPY t"]);
}

#[test]
fn replication_copies_both_ways() {
    let mut wire = Wire::started();
    wire.client(&query("START_REPLICATION SLOT s LOGICAL 0/0"));
    wire.server(&[message(b'W', &[0, 0, 0]), message(b'd', &[b'w'; 40])].concat());
    wire.client(&message(b'd', &[b'r'; 34]));
    wire.server(&message(b'd', &[b'k'; 18]));
    wire.client(&message(b'c', &[]));
    wire.server(&[message(b'c', &[]), complete("COPY 0"), ready()].concat());
    assert_eq!(wire.names(), ["shop"]);
}

#[test]
fn an_empty_query_is_one_and_a_function_call_none() {
    let mut wire = Wire::started();
    wire.client(&query(""));
    wire.server(&[message(b'I', &[]), ready()].concat());
    wire.client(&message(b'F', &[0; 12]));
    wire.server(&[message(b'V', &[0, 0, 0, 0]), ready()].concat());
    wire.client(&query("SELECT 1 FROM t"));
    wire.server(&[message(b'A', &[0; 6]), complete("SELECT 1"), ready()].concat());
    assert_eq!(wire.names(), ["shop", "SELECT t"]);
}

#[test]
fn a_named_portal_is_resumed() {
    let mut wire = Wire::started();
    wire.client(&[parse("", "SELECT a FROM t"), bind("p", ""), execute("p", 1), message(b'H', &[])].concat());
    wire.server(&[message(b'1', &[]), message(b'2', &[]), row(1), message(b's', &[])].concat());
    wire.client(&[execute("p", 1), message(b'C', b"Pp\0"), sync()].concat());
    wire.server(&[complete("SELECT 0"), message(b'3', &[]), ready()].concat());
    assert_eq!(wire.names(), ["SELECT t", "SELECT t"]);
}

#[test]
fn a_long_text_is_cut_and_its_end_awaited() {
    let mut wire = Wire::started();
    let sql = format!("INSERT INTO t VALUES ('{}')", "x".repeat(100_000));
    let bytes = query(&sql);
    wire.cut(Direction::Write, &bytes[..60_000], 8192);
    assert_eq!(wire.said(), ["opened 0 at 30"]);
    wire.cut(Direction::Write, &bytes[60_000..], 0);
    assert_eq!(wire.said(), ["requested 0"]);
    wire.server(&[complete("INSERT 0 1"), ready()].concat());
    let exchange = wire.exchanges().remove(0);
    assert_eq!(attribute(&exchange, "db.query.text").as_deref(), Some("INSERT INTO t VALUES (?"));
}

#[test]
fn the_schema_is_the_first_of_the_search_path() {
    let mut wire = Wire::started();
    wire.server(&message(b'S', &texts(&["search_path", "\"$user\", sales, public"])));
    wire.client(&query("SELECT 1"));
    wire.server(&[complete("SELECT 1"), ready()].concat());
    let exchange = wire.exchanges().remove(0);
    assert_eq!(attribute(&exchange, "db.namespace").as_deref(), Some("shop|sales"));
}

#[test]
fn a_session_that_is_killed() {
    let mut wire = Wire::started();
    wire.client(&[whole("SELECT pg_sleep(9)"), whole("SELECT 2"), sync()].concat());
    wire.server(&[message(b'1', &[]), message(b'2', &[]), failure("FATAL", "57P01")].concat());
    wire.close(End::PeerClosed);
    wire.close(End::Closed);
    assert!(consistent(&wire.signals));
    assert_eq!(wire.names(), ["SELECT 57P01"]);
}

#[test]
fn a_connection_that_breaks() {
    for (end, error) in
        [(End::Reset, "connection_reset"), (End::TimedOut, "timeout"), (End::Closed, "connection_closed")]
    {
        let mut wire = Wire::started();
        wire.client(&query("SELECT 1 FROM t"));
        wire.close(end);
        assert_eq!(wire.names(), [format!("SELECT t {error}")]);
    }
}
