//! Recognising the protocol.

use proptest::prelude::*;

use super::*;
use crate::protocols::{Guess, Hint};

fn guess(bytes: &[u8], from_start: bool, port: u16) -> Guess {
    detect::detect(bytes, Hint { port, from_start })
}

#[test]
fn a_greeting_is_the_servers() {
    for version in ["8.0.36", "5.5.5-10.11.6-MariaDB-1:10.11.6+maria~ubu2204", "5.7.25-TiDB-v7.5.0"] {
        let bytes = greeting(version, PLAIN);
        assert_eq!(guess(&bytes, true, 4000), Guess::Server);
        for cut in 1..10 {
            assert_eq!(guess(&bytes[..cut], true, 4000), Guess::TooShort);
        }
    }
}

#[test]
fn commands_in_the_middle_of_a_connection_are_the_clients() {
    let commands = [
        query("SELECT 1"),
        query("/* app */ select * from t"),
        query("(SELECT 1) UNION (SELECT 2)"),
        packet(0, b"\x03\0\x01UPDATE t SET a = 1"),
        packet(0, b"\x16INSERT INTO t VALUES (?)"),
        packet(0, b"\x17\x01\0\0\0\0\x01\0\0\0"),
        packet(0, b"\x0e"),
        packet(0, b"\x1f"),
        [packet(0, b"\x19\x01\0\0\0"), query("COMMIT")].concat(),
    ];
    for bytes in commands {
        assert_eq!(guess(&bytes, false, 4000), Guess::Client, "{bytes:?}");
    }
    // Only the head of a long statement was captured.
    assert_eq!(
        guess(&query(&format!("INSERT INTO t VALUES ('{}", "x".repeat(5000)))[..200], false, 4000),
        Guess::Client
    );
    assert_eq!(guess(&packet(0, b"\x02shop"), false, 4000), Guess::No);
    assert_eq!(guess(&packet(0, b"\x02shop"), false, 3306), Guess::Client);
}

#[test]
fn other_protocols_are_not_claimed() {
    let others: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0shop\0\0",
        b"Q\0\0\0\x0eSELECT 1;\0",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\x17\x03\x03\0\x18encrypted, of 24 bytes..",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ];
    for bytes in others {
        for (from_start, port) in [(true, 3306), (true, 80), (false, 3306), (false, 80)] {
            assert_eq!(guess(bytes, from_start, port), Guess::No, "{bytes:?} {from_start} {port}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_not_claimed(bytes in prop::collection::vec(any::<u8>(), 16..200), from_start in any::<bool>()) {
        let guess = guess(&bytes, from_start, 80);
        prop_assert!(matches!(guess, Guess::No | Guess::TooShort));
    }
}
