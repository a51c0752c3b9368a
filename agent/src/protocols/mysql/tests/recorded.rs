//! Sessions with MariaDB 10.11 (PyMySQL and raw commands), recorded between client and server, and captures by others.

use std::path::Path;

use super::*;
use crate::protocols::{Guess, Hint};

type Call = (Role, Vec<u8>);

/// One line a system call: `C` or `S`, and the bytes in hexadecimal.
fn calls(recorded: &str) -> Vec<Call> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = recorded.lines().map(|line| {
        let (who, hex) = line.split_once(' ').unwrap();
        (if who == "C" { Role::Client } else { Role::Server }, hex.as_bytes().chunks(2).map(byte).collect())
    });
    lines.collect()
}

fn play(calls: &[Call], piece: usize) -> Play {
    let mut play = Play::new(true);
    for (from, bytes) in calls {
        play.time += 10;
        for part in bytes.chunks(piece) {
            play.feed(*from, part);
        }
    }
    play
}

const RECORDED: [&str; 5] = [
    include_str!("../recorded/basic.txt"),
    include_str!("../recorded/procedure.txt"),
    include_str!("../recorded/infile.txt"),
    include_str!("../recorded/prepared.txt"),
    include_str!("../recorded/modern.txt"),
];

/// Text, database and error of each exchange, after checking that nothing was lost.
fn summary(play: &Play, system: &str) -> Vec<String> {
    let lost = play
        .signals
        .iter()
        .any(|signal| matches!(signal, Signal::Lost(_) | Signal::Incomplete(_) | Signal::Abandon(_)));
    assert!(!lost, "{:?}", play.story());
    let lines = play.closed().into_iter().map(|done| {
        assert_eq!(text(done, "db.system.name"), system);
        let rows = text(done, "db.response.returned_rows");
        format!(
            "{} | {} | {} | {rows}",
            text(done, "db.query.text"),
            text(done, "db.namespace"),
            text(done, "error.type")
        )
    });
    lines.collect()
}

#[test]
fn pieces_of_any_size_give_the_same_signals() {
    for recorded in RECORDED {
        let calls = calls(recorded);
        let whole = play(&calls, usize::MAX);
        for piece in [1, 2, 3, 5, 7, 64] {
            assert_eq!(play(&calls, piece).signals, whole.signals, "pieces of {piece}");
        }
    }
}

#[test]
fn one_cut_anywhere_gives_the_same_signals() {
    for recorded in RECORDED {
        let calls = calls(recorded);
        let whole = play(&calls, usize::MAX).signals;
        for at in 0..calls.len() {
            for cut in 1..calls[at].1.len() {
                let mut play = Play::new(true);
                for (n, (from, bytes)) in calls.iter().enumerate() {
                    play.time += 10;
                    let (left, right) = bytes.split_at(if n == at { cut } else { 0 });
                    for part in [left, right] {
                        if !part.is_empty() {
                            play.feed(*from, part);
                        }
                    }
                }
                assert_eq!(play.signals, whole, "call {at} cut at {cut}");
            }
        }
    }
}

#[test]
fn recorded_queries() {
    assert_eq!(
        summary(&play(&calls(RECORDED[0]), usize::MAX), "mariadb"),
        [
            "SET AUTOCOMMIT = ? | test | - | -",
            "DROP TABLE IF EXISTS pets | test | - | -",
            "CREATE TABLE pets (id INT, name VARCHAR(?)) | test | - | -",
            "INSERT INTO pets VALUES (?,?),(?,?) | test | - | -",
            "SELECT * FROM pets | test | - | 2",
            "SELECT * FROM missing | test | 1146 | -",
            "USE test | mysql | - | -",
            "SELECT ? | test | - | 1",
            "SELECT ? | test | - | 1",
            "INSERT INTO pets VALUES (?,?) | test | - | -",
            "COMMIT | test | - | -",
        ]
    );
}

#[test]
fn recorded_procedures() {
    assert_eq!(
        summary(&play(&calls(RECORDED[1]), usize::MAX), "mariadb"),
        [
            "SET AUTOCOMMIT = ? | test | - | -",
            "DROP PROCEDURE IF EXISTS two | test | - | -",
            "CREATE PROCEDURE two() BEGIN SELECT ?; SELECT ?; END | test | - | -",
            "CALL two() | test | - | 2",
            "CALL two() | test | - | 2",
            "SELECT ? | test | - | 1",
        ]
    );
}

#[test]
fn recorded_local_file() {
    assert_eq!(
        summary(&play(&calls(RECORDED[2]), usize::MAX), "mariadb"),
        [
            "SET AUTOCOMMIT = ? | test | - | -",
            "LOAD DATA LOCAL INFILE ? INTO TABLE pets | test | - | -",
            "SELECT COUNT(*) FROM pets | test | - | 1",
        ]
    );
}

#[test]
fn recorded_prepared_statements() {
    assert_eq!(
        summary(&play(&calls(RECORDED[3]), usize::MAX), "mariadb"),
        [
            "SET AUTOCOMMIT = ? | test | - | -",
            "SELECT id, name FROM pets WHERE id > ? | test | - | 3",
            "SELECT id, name FROM pets WHERE id > ? | test | - | -",
            "SELECT ? | test | - | 1",
            "SELECT nope FROM pets | test | 1054 | -",
            "SELECT ? | test | - | 1",
        ]
    );
}

#[test]
fn recorded_deprecated_eof_and_cached_metadata() {
    assert_eq!(
        summary(&play(&calls(RECORDED[4]), usize::MAX), "mariadb"),
        [
            "SELECT id FROM pets | test | - | 3",
            "USE mysql | test | - | -",
            "SELECT ? | mysql | - | 1",
            "USE test | mysql | - | -",
            "SELECT ? | test | - | 1",
            "SELECT id FROM pets WHERE id > ? | test | - | 2",
            "SELECT id FROM pets WHERE id > ? | test | - | 2",
            "SELECT id FROM pets WHERE id > ? | test | - | 2",
            "SELECT id FROM pets WHERE id > ? | test | - | -",
            "INSERT INTO pets VALUES (?, ?) | test | - | -",
        ]
    );
}

/// The TCP payloads of a classic pcap file of Ethernet frames with IPv4, in file order; the lower port is the server's.
fn pcap(path: &Path) -> Vec<Call> {
    let file = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0xA1B2_C3D4, "little endian pcap");
    assert_eq!(word(20), 1, "Ethernet");
    let (mut at, mut calls) = (24, Vec::new());
    while at + 16 <= file.len() {
        let length = word(at + 8) as usize;
        let frame = &file[at + 16..at + 16 + length];
        at += 16 + length;
        let ip = &frame[14..];
        if ip[0] >> 4 != 4 || ip[9] != 6 {
            continue;
        }
        let ip = &ip[..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
        let tcp = &ip[usize::from(ip[0] & 15) * 4..];
        let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
        if !payload.is_empty() {
            let to_server = tcp[2..4] < tcp[..2];
            calls.push((if to_server { Role::Client } else { Role::Server }, payload.to_vec()));
        }
    }
    calls
}

#[test]
fn captures_by_others() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/pcap/mysql");
    if !folder.is_dir() {
        eprintln!("no captures at {}: not checked", folder.display());
        return;
    }
    let seen = |name: &str, from_start: bool| {
        let mut play = Play::new(from_start);
        for (from, bytes) in pcap(&folder.join(name)) {
            play.send(from, &bytes);
        }
        summary(&play, "mysql")
    };
    // MySQL 8.0 with query attributes and without EOF packets.
    assert_eq!(
        seen("mysql-error.pcap", true),
        ["select @@version_comment limit ? | - | - | 1", "SELECT DATABASE() | - | - | 1"]
    );
    assert_eq!(
        seen("mysql-table-insert.pcap", true),
        [
            "select @@version_comment limit ? | deepflow | - | 1",
            "insert into tmp (id,lcuuid) values (?,?) | deepflow | - | -",
        ]
    );
    assert_eq!(
        seen("mysql-table-select.pcap", true),
        ["select @@version_comment limit ? | yuanchao | - | 1", "select * from test_table | yuanchao | - | 3"]
    );
    // The middle of a connection: one statement is prepared and executed.
    let middle = folder.join("mysql-exec.pcap");
    let first = pcap(&middle).remove(0).1;
    assert_eq!(super::super::detect::detect(&first, Hint { port: 30130, from_start: false }), Guess::Client);
    let executed = seen("mysql-exec.pcap", false);
    assert_eq!(executed.len(), 1);
    assert!(executed[0].starts_with("INSERT INTO `controller` (`cpu_num`,`memory_size`,"), "{executed:?}");
}
