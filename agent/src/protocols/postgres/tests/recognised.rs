//! Start-up, and recognising connections.

use super::*;
use crate::protocols::{Guess, Hint, postgres::detect::detect};

const ENCRYPTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

#[test]
fn declined_encryption_and_authentication() {
    let mut wire = Wire::new();
    wire.client(&[0, 0, 0, 8, 4, 210, 22, 48]);
    wire.server(b"N");
    wire.client(&ENCRYPTION);
    wire.server(b"N");
    wire.client(&startup(&[("user", "ada")]));
    wire.server(&message(b'R', &[&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat()));
    wire.client(&message(b'p', b"SCRAM-SHA-256\0SECRET"));
    wire.server(&message(b'R', &[0, 0, 0, 11, 1, 2, 3]));
    wire.client(&message(b'p', b"SECRET"));
    wire.server(&[message(b'R', &[0, 0, 0, 12]), message(b'R', &[0, 0, 0, 0])].concat());
    assert_eq!(wire.said(), Vec::<String>::new());
    wire.server(&[message(b'S', &texts(&["TimeZone", "UTC"])), message(b'K', &[0; 8]), ready()].concat());
    assert_eq!(wire.said(), ["Ready"]);
    wire.client(&query("SELECT 1"));
    wire.server(&[complete("SELECT 1"), ready()].concat());
    // The database has the user's name.
    assert_eq!(attribute(&wire.exchanges()[0], "db.namespace").as_deref(), Some("ada"));
}

#[test]
fn accepted_encryption_is_given_up() {
    for answer in [b"S", b"G"] {
        let mut wire = Wire::new();
        wire.client(&ENCRYPTION);
        wire.server(answer);
        assert_eq!(wire.said(), ["Abandon(Tls)"]);
        assert!(wire.connection.is_over());
    }
}

#[test]
fn refused_start_up_and_cancel_make_no_exchange() {
    let mut wire = Wire::new();
    wire.client(&startup(&[("user", "ada")]));
    wire.server(&failure("FATAL", "28P01"));
    wire.close(End::Closed);
    assert_eq!(wire.said(), Vec::<String>::new());

    let mut wire = Wire::new();
    wire.client(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(wire.said(), ["Switched"]);
}

#[test]
fn the_server_s_end_is_not_followed() {
    let mut wire = Wire::older(Origin::Accepted);
    wire.server(&startup(&[("user", "ada")]));
    assert_eq!(wire.said(), ["Switched"]);
    assert!(wire.connection.is_over());
}

#[test]
fn a_connection_older_than_the_agent() {
    for first in [query("SELECT 1 FROM t"), [whole("SELECT 1 FROM t"), sync()].concat()] {
        let answer = if first[0] == b'Q' { complete("SELECT 1") } else { whole_answer("SELECT 1") };
        let mut wire = Wire::older(Origin::Unknown);
        wire.server(&[row(50), row(50)].concat()[7..]);
        wire.client(&first);
        wire.server(&[answer, ready()].concat());
        assert_eq!(wire.names(), ["SELECT t"]);
        wire.client(&query("SELECT 1 FROM u"));
        wire.server(&[complete("SELECT 1"), ready()].concat());
        assert_eq!(wire.names(), ["SELECT u"]);
    }
}

#[test]
fn a_connection_that_is_seen_in_the_middle_of_an_answer() {
    let mut wire = Wire::older(Origin::Unknown);
    wire.server(&[row(5), complete("SELECT 1"), ready()].concat());
    assert_eq!(wire.connection.protocol(), Some("postgresql"));
    wire.client(&query("SELECT 1 FROM t"));
    wire.server(&[complete("SELECT 1"), ready()].concat());
    assert_eq!(wire.said(), ["opened 0 at 20", "requested 0", "closed 0 20..30 SELECT t, 1"]);
}

#[test]
fn what_it_looks_like() {
    let start = Hint { port: 5432, from_start: true };
    let midway = Hint { port: 6000, from_start: false };
    let packet = startup(&[("user", "ada")]);
    for cut in 2..8 {
        assert_eq!(detect(&packet[..cut], start), Guess::TooShort);
    }
    assert_eq!(detect(&packet, start), Guess::Client);
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00", &query("SELECT 1")] {
        assert_eq!(detect(bytes, start), Guess::No);
    }
    for (bytes, guess) in [
        (query("SELECT 1"), Guess::Client),
        (query("SELECT 1")[..9].to_vec(), Guess::TooShort),
        (query(&"x".repeat(100))[..80].to_vec(), Guess::No),
        (row(50)[..9].to_vec(), Guess::No),
        (query("SELECT 1 FROM t")[..12].to_vec(), Guess::Client),
        (query("SELECT 1")[..3].to_vec(), Guess::TooShort),
        ([whole("x"), sync()].concat(), Guess::Client),
        (sync(), Guess::No),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Guess::No),
        (b"PUT / HTTP/1.1\r\n\r\n".to_vec(), Guess::No),
        (b"\x03\0\0\0\x03SELECT 1".to_vec(), Guess::No),
        ([complete("SELECT 1"), ready()].concat(), Guess::Server),
        (complete("SELECT 1"), Guess::No),
    ] {
        assert_eq!(detect(&bytes, midway), guess, "{bytes:?}");
    }
}
