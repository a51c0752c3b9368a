//! Packets built by hand.

use super::*;

#[test]
fn start_up_is_not_an_exchange_and_its_end_is_told() {
    let mut play = Play::new(true);
    play.s(&greeting("8.0.36", PLAIN)).c(&answer(PLAIN, "shop"));
    // Auth switch, scramble, "full authentication", public key, password, OK.
    play.s(&packet(2, b"\xfecaching_sha2_password\0saltsaltsaltsaltsalt\0")).c(&packet(3, &[7; 32]));
    play.s(&packet(4, b"\x01\x04")).c(&packet(5, b"\x02")).s(&packet(6, b"\x01-----BEGIN")).c(&packet(7, &[3; 256]));
    assert_eq!(play.story(), [""; 0]);
    play.s(&okay(8, 2));
    assert_eq!(play.story(), ["Ready"]);
    play.c(&query("SELECT a FROM t WHERE b = 1")).s(&packets(1, &[b"\x01", COLUMN, EOF, b"\x01x", b"\x01y", EOF]));
    assert_eq!(play.story()[1..], ["open 0 @100", "close 0 @110 shop SELECT a FROM t WHERE b = ? error=- rows=2"]);
    assert_eq!(text(play.closed()[0], "db.system.name"), "mysql");
}

#[test]
fn encrypted_and_compressed_sessions_are_given_up() {
    let mut play = Play::new(true);
    let mut request = (PLAIN | SSL).to_le_bytes().to_vec();
    request.extend_from_slice(&[0; 28]);
    play.s(&greeting("8.0.36", u32::MAX)).c(&packet(1, &request)).c(b"\x16\x03\x01\x02\x00").s(b"\x16\x03\x03\0\x20");
    assert_eq!(play.story(), ["Abandon(Tls)"]);
    for flag in [COMPRESS, ZSTD] {
        let mut play = Play::new(true);
        play.s(&greeting("8.0.36", u32::MAX)).c(&answer(PLAIN | flag, "shop")).s(&okay(2, 2));
        assert_eq!(play.story(), ["Abandon(Compressed)"]);
    }
    // Asked for by one side only, there is no compression.
    let mut play = Play::new(true);
    play.s(&greeting("8.0.36", !COMPRESS)).c(&answer(PLAIN | COMPRESS, "shop")).s(&okay(2, 2));
    assert_eq!(play.story(), ["Ready"]);
}

#[test]
fn an_error_is_reported_by_number() {
    let mut play = Play::session();
    play.c(&query("SELECT * FROM missing")).s(&error(1, 1146, "Table 'shop.missing' doesn't exist"));
    assert_eq!(play.story()[1..], ["open 0 @40", "close 0 @50 shop SELECT * FROM missing error=1146 rows=-"]);
    assert_eq!(text(play.closed()[0], "db.response.status_code"), "1146");
}

#[test]
fn deprecated_eof() {
    let mut play = Play::session();
    play.c(&query("SELECT a FROM t")).s(&packets(1, &[b"\x01", COLUMN, b"\x01x", OK_EOF]));
    play.c(&query("SELECT a FROM t")).s(&packets(1, &[b"\x01", COLUMN, OK_EOF]));
    // Column definitions are left out.
    play.c(&query("SELECT a FROM t")).s(&packets(1, &[b"\x01\0", b"\x01x", b"\x01x", b"\x01x", OK_EOF]));
    let rows: Vec<_> = play.closed().iter().map(|done| text(done, "db.response.returned_rows")).collect();
    assert_eq!(rows, ["1", "0", "3"]);
}

#[test]
fn each_statement_of_a_text_is_an_exchange() {
    let mut play = Play::session();
    play.c(&query("SELECT 1; USE other; SELECT a FROM t"));
    play.s(&packets(1, &[b"\x01", COLUMN, EOF, b"\x01x", EOF_MORE, b"\0\0\0\x0a\0\0\0"]));
    play.s(&packets(7, &[b"\x01", COLUMN, OK_EOF]));
    assert_eq!(
        play.story()[1..],
        [
            "open 0 @40",
            "close 0 @50 shop SELECT ? error=- rows=1",
            "open 1 @50",
            "close 1 @50 shop USE other error=- rows=-",
            "open 2 @50",
            "close 2 @60 other SELECT a FROM t error=- rows=0",
        ]
    );
}

#[test]
fn a_failure_ends_a_text_of_several_statements() {
    let mut play = Play::session();
    play.c(&query("SELECT 1; SELECT nope; SELECT 2"));
    play.s(&packets(1, &[b"\x01", COLUMN, OK_EOF_MORE])).s(&error(4, 1054, "Unknown column"));
    play.c(&query("COMMIT")).s(&okay(1, 2));
    let texts: Vec<_> =
        play.closed().iter().map(|done| (text(done, "db.query.text"), text(done, "error.type"))).collect();
    let want = [("SELECT ?", "-"), ("SELECT nope", "1054"), ("COMMIT", "-")];
    assert_eq!(texts, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn a_text_with_semicolons_that_gives_one_result_is_one_statement() {
    let mut play = Play::session();
    let text_sent = "CREATE PROCEDURE p() BEGIN SELECT a FROM t; SELECT b FROM t; END";
    play.c(&query(text_sent)).s(&okay(1, 2));
    assert_eq!(text(play.closed()[0], "db.query.text"), text_sent);
}

#[test]
fn prepared_statements_are_known_by_id() {
    let mut play = Play::session();
    let prepare = packet(0, b"\x16SELECT a FROM t WHERE b = ?");
    play.c(&prepare).s(&packets(1, &[b"\0\x07\0\0\0\x01\0\x01\0\0\0\0", COLUMN, EOF, COLUMN, EOF]));
    let execute = packet(0, b"\x17\x07\0\0\0\0\x01\0\0\0\0\x01\x03\0\x05\0\0\0");
    play.c(&execute).s(&packets(1, &[b"\x01", COLUMN, EOF, b"\0\0\x02", EOF]));
    // Long data and closing have no response; another statement without EOF packets.
    play.c(&[packet(0, b"\x18\x07\0\0\0\0\0data"), packet(0, b"\x19\x07\0\0\0"), packet(0, b"\x16SELECT ?")].concat());
    play.s(&packets(1, &[b"\0\x08\0\0\0\x01\0\x01\0\0\0\0", COLUMN, COLUMN]));
    play.c(&packet(0, b"\x17\x08\0\0\0\0\x01\0\0\0\0")).s(&packets(1, &[b"\x01", COLUMN, b"\0\0\x02", OK_EOF]));
    // The closed one is not known any more.
    play.c(&execute).s(&error(1, 1243, "Unknown prepared statement handler"));
    assert_eq!(
        play.story()[1..],
        [
            "open 0 @60",
            "close 0 @70 shop SELECT a FROM t WHERE b = ? error=- rows=1",
            "open 1 @100",
            "close 1 @110 shop SELECT ? error=- rows=1",
            "open 2 @120",
            "Lost(UnknownStatement)",
            "close 2 @130 shop - error=1243 rows=-",
        ]
    );
}

#[test]
fn a_statement_executed_before_its_id_is_known() {
    let mut play = Play::session();
    play.c(&[packet(0, b"\x16SELECT ?"), packet(0, b"\x17\xff\xff\xff\xff\0\x01\0\0\0\0")].concat());
    play.s(&packets(1, &[b"\0\x01\0\0\0\x01\0\x01\0\0\0\0", COLUMN, EOF, COLUMN, EOF]));
    play.s(&packets(1, &[b"\x01", COLUMN, EOF, b"\0\0\x02", EOF]));
    assert_eq!(play.story()[1..], ["open 0 @40", "close 0 @60 shop SELECT ? error=- rows=1"]);
}

#[test]
fn a_failed_prepare_is_an_exchange() {
    let mut play = Play::session();
    play.c(&packet(0, b"\x16SELECT nope")).s(&error(1, 1054, "Unknown column"));
    assert_eq!(play.story()[1..], ["open 0 @40", "close 0 @50 shop SELECT nope error=1054 rows=-"]);
}

#[test]
fn rows_behind_a_cursor_are_fetched_later() {
    let mut play = Play::session();
    play.c(&packet(0, b"\x16SELECT a")).s(&packets(1, &[b"\0\x07\0\0\0\x01\0\0\0\0\0\0", COLUMN, EOF]));
    play.c(&packet(0, b"\x17\x07\0\0\0\x01\x01\0\0\0")).s(&packets(1, &[b"\x01", COLUMN, b"\xfe\0\0\x42\0"]));
    play.c(&packet(0, b"\x1c\x07\0\0\0\x01\0\0\0")).s(&packets(1, &[b"\0\0\x02", b"\xfe\0\0\x42\0"]));
    play.c(&packet(0, b"\x1a\x07\0\0\0")).s(&okay(1, 2));
    play.c(&query("COMMIT")).s(&okay(1, 2));
    let texts: Vec<_> = play.closed().iter().map(|done| text(done, "db.query.text")).collect();
    assert_eq!(texts, ["SELECT a", "COMMIT"]);
}

#[test]
fn a_local_file_belongs_to_its_statement() {
    let mut play = Play::session();
    play.c(&query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t")).s(&packet(1, b"\xfb/tmp/x"));
    // The file's contents look like a command.
    play.c(&packets(2, &[b"\x03SELECT 1", b"\x01", b""])).s(&okay(5, 2));
    play.c(&query("SELECT 1")).s(&okay(1, 2));
    assert_eq!(play.closed().len(), 2);
    assert_eq!(play.closed()[0].end, 70);
}

#[test]
fn packets_over_16_mb_are_never_kept() {
    let mut play = Play::with(true, &Options { sql_limit: 40, ..Options::default() });
    play.s(&greeting("8.0.36", PLAIN)).c(&answer(PLAIN, "shop")).s(&okay(2, 2));
    let mut command = b"\x03INSERT INTO t VALUES ('".to_vec();
    command.resize(packet::LARGEST, b'x');
    let mut rest = vec![b'x'; 100];
    rest.extend_from_slice(b"')");
    play.c(&packet(0, &command));
    assert!(!play.signals.iter().any(|signal| matches!(signal, Signal::Requested(_))));
    play.c(&packet(1, &rest));
    assert!(matches!(play.signals.last(), Some(Signal::Requested(0))));
    play.s(&okay(2, 2));
    // A row of two packets.
    play.c(&query("SELECT a")).s(&packets(1, &[b"\x01", COLUMN, EOF]));
    play.s(&packet(4, &vec![0xFE; packet::LARGEST])).s(&packet(5, b"\xfe\0\0\x02\0")).s(&packet(6, EOF));
    assert_eq!(play.closed().len(), 2);
    assert_eq!(play.closed()[1].end, 110);
    assert_eq!(text(play.closed()[0], "db.query.text"), "INSERT INTO t VALUES (?");
}

#[test]
fn attributes_come_before_the_text() {
    let mut play = Play::new(true);
    play.s(&greeting("8.0.36", PLAIN | ATTRIBUTES)).c(&answer(PLAIN | ATTRIBUTES, "shop")).s(&okay(2, 2));
    play.c(&packet(0, b"\x03\0\x01SELECT a")).s(&okay(1, 2));
    let attributes = b"\x03\x02\x01\0\x01\xfe\0\x05trace\x08\0\0\x0200\x01\0\0\0\0\0\0\0SELECT b";
    play.c(&packet(0, attributes)).s(&okay(1, 2));
    let texts: Vec<_> = play.closed().iter().map(|done| text(done, "db.query.text")).collect();
    assert_eq!(texts, ["SELECT a", "SELECT b"]);
}

#[test]
fn the_database_follows_the_session() {
    let mut play = Play::session();
    play.c(&packet(0, b"\x02other")).s(&okay(1, 2));
    play.c(&query("SELECT a")).s(&okay(1, 2));
    play.c(&query("use `third db`")).s(&error(1, 1049, "Unknown database"));
    play.c(&query("use `third db` ;")).s(&okay(1, 2));
    play.c(&query("SELECT a")).s(&packet(1, b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04four"));
    play.c(&query("SELECT a")).s(&okay(1, 2));
    play.c(&packet(0, b"\x11app\0\x04hashfive\0"))
        .s(&packet(1, b"\xfeplugin\0salt\0"))
        .c(&packet(2, b"x"))
        .s(&okay(3, 2));
    play.c(&query("SELECT a")).s(&okay(1, 2));
    let names: Vec<_> = play.closed().iter().map(|done| text(done, "db.namespace")).collect();
    assert_eq!(names, ["other", "other", "other", "third db", "four", "five"]);
    assert_eq!(play.story().iter().filter(|line| *line == "Ready").count(), 1);
}

#[test]
fn other_commands_are_answered_and_unseen() {
    let mut play = Play::session();
    play.c(&packet(0, b"\x0e")).s(&okay(1, 2));
    play.c(&packet(0, b"\x09")).s(&packet(1, b"Uptime: 5  Threads: 1"));
    play.c(&packet(0, b"\x1b\0\0")).s(&packet(1, EOF));
    play.c(&packet(0, b"\x04t\0")).s(&packets(1, &[COLUMN, COLUMN, EOF]));
    play.c(&packet(0, b"\x0a")).s(&packets(1, &[b"\x01", COLUMN, EOF, b"\x01x", EOF]));
    play.c(&packet(0, b"\x1f")).s(&okay(1, 2));
    play.c(&query("SELECT a")).s(&okay(1, 2));
    play.c(&packet(0, b"\x01"));
    play.end(End::Closed);
    assert_eq!(play.story()[1..], ["open 0 @160", "close 0 @170 shop SELECT a error=- rows=-"]);
    let mut play = Play::session();
    play.c(&packet(0, b"\x12\0\0\0\0\0\0\x01\0\0\0")).s(&packet(1, b"\0events"));
    assert_eq!(play.story(), ["Ready", "Switched"]);
}

#[test]
fn progress_reports_are_not_errors() {
    let mut play = Play::session();
    play.c(&query("ALTER TABLE t ADD b INT")).s(&packet(1, b"\xff\xff\xff\x01\x01\x02\0\0\0\x05stage")).s(&okay(2, 2));
    assert_eq!(text(play.closed()[0], "error.type"), "-");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut play = Play::session();
    play.c(&[query("SELECT a"), query("SELECT b"), query("SELECT c")].concat());
    play.s(&[okay(1, 2), error(1, 1064, "syntax"), okay(1, 2)].concat());
    let errors: Vec<_> =
        play.closed().iter().map(|done| (text(done, "db.query.text"), text(done, "error.type"))).collect();
    let want = [("SELECT a", "-"), ("SELECT b", "1064"), ("SELECT c", "-")];
    assert_eq!(errors, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn the_servers_end_reports_nothing() {
    let mut parser = MySql::new(Connection { local_role: Role::Server, ..connection(true) }, &Options::default());
    let mut signals = Signals::new();
    let bytes = greeting("8.0.36", PLAIN);
    let input = Input { bytes: &bytes, first: 1, last: 1, position: 0, turned: true };
    for from in [Role::Server, Role::Client] {
        assert_eq!(parser.read(from, input, &mut signals), Taken::Skip { bytes: 0, skip: FOREVER });
    }
    assert_eq!(signals, [Signal::Switched]);
}

#[test]
fn an_unanswered_statement_ends_with_the_connection() {
    for (end, error) in
        [(End::Reset, "connection_reset"), (End::TimedOut, "timeout"), (End::Closed, "connection_closed")]
    {
        let mut play = Play::session();
        play.c(&query("SELECT SLEEP(9)")).end(end);
        assert_eq!(text(play.closed()[0], "error.type"), error);
    }
}
