//! SQL text: what of it may be shown.

use syspan::protocols::{
    Options,
    sql::{Dialect, Statement, split},
};

/// First the bytes are taken as text: sanitising is done when it is done once, and a part is not worse than the whole. Then they
/// choose the pieces of a statement in which all that is secret is written in capitals or digits, by one of the ways
/// the database may read it: nothing of that may show, wherever the text is cut.
pub fn sql(bytes: &[u8]) {
    for dialect in [Dialect::PostgreSql, Dialect::MySql] {
        as_text(bytes, dialect);
    }
    let Some((&way, choices)) = bytes.split_first() else { return };
    let way = WAYS[usize::from(way) % WAYS.len()];
    let text = statement(choices, way);
    let cut = choices.first().map_or(0, |&cut| usize::from(cut) * text.len() / 255);
    for text in [&text[..], &text[..cut]] {
        assert_hides(text, way);
        for part in split(text, way.dialect) {
            assert_hides(part, way);
        }
    }
}

fn as_text(text: &[u8], dialect: Dialect) {
    let options = Options { sql_limit: usize::MAX, ..Options::default() };
    let statement = Statement::new(text, dialect, &options);
    if let Some(once) = &statement.text {
        let twice = Statement::new(once.as_bytes(), dialect, &options).text;
        assert_eq!(twice.as_ref(), Some(once), "sanitised again, of {}", text.escape_ascii());
    }
    assert!(statement.summary.is_none_or(|summary| summary.chars().count() <= 255));
    let parts = split(text, dialect);
    assert!(parts.iter().all(|part| !part.is_empty()));
    assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= text.len());
}

/// How a database reads text in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    dialect: Dialect,
    /// A backslash takes the next character's meaning away: MySQL without NO_BACKSLASH_ESCAPES, PostgreSQL with
    /// standard_conforming_strings off.
    escapes: bool,
    /// Double quotes hold a name, in which a backslash is a character: PostgreSQL, MySQL with ANSI_QUOTES.
    names: bool,
}

const WAYS: [Way; 6] = [
    Way { dialect: Dialect::PostgreSql, escapes: false, names: true },
    Way { dialect: Dialect::PostgreSql, escapes: true, names: true },
    Way { dialect: Dialect::MySql, escapes: true, names: false },
    Way { dialect: Dialect::MySql, escapes: false, names: false },
    Way { dialect: Dialect::MySql, escapes: true, names: true },
    Way { dialect: Dialect::MySql, escapes: false, names: true },
];

/// A statement of which the bytes choose the pieces; capitals and digits are in its literals and comments only.
fn statement(choices: &[u8], way: Way) -> Vec<u8> {
    let mysql = way.dialect == Dialect::MySql;
    let mut text = Vec::new();
    for &choice in choices {
        let secret = choice >> 4;
        match choice & 15 {
            0 => text.extend(b" select "),
            1 => text.extend(b" from a_b where "), // a string in the place of a table is taken for its name
            2 => text.extend(b" a_b "),
            3 => text.extend(b", "),
            4 => text.extend(b" (x.y) = "),
            5 => text.extend(b"; "),
            6 => text.extend(b" insert into t values ("),
            7 => text.extend(format!(" {}.5e-{} ", secret, secret).bytes()),
            8 => text.extend(format!(" /* SECRET {} */ ", inside(secret, b'X', false)).bytes()),
            9 => text.extend(format!(" -- SECRET {}\n", inside(secret, b'X', false)).bytes()),
            10 if !mysql => text.extend(format!(" e'{}' ", inside(secret, b'\'', true)).bytes()),
            11 if !mysql => text.extend(b" $tag$ SECRET' \\ $tag$ "),
            10 if way.names => text.extend(b" \"a\\\" "),
            // In a name a backslash is a character.
            10 | 11 => text.extend(format!(" \"{}\" ", inside(secret, b'"', way.escapes && !way.names)).bytes()),
            12 => text.extend(b" \"name\" "),
            _ => text.extend(format!(" '{}' ", inside(secret, b'\'', way.escapes)).bytes()),
        }
    }
    text
}

/// What stands between two quotes: capitals, and what could be taken for an end.
fn inside(choice: u8, quote: u8, escapes: bool) -> String {
    let quote = quote as char;
    match choice {
        0 => String::new(),
        1 => "SECRET".to_owned(),
        2 => format!("SE{quote}{quote}CRET"),
        3 if escapes => format!("SE\\{quote}CRET"),
        4 if escapes => "SECRET\\\\".to_owned(),
        5 if escapes => format!("SE\\{quote}{quote}{quote}CRET"),
        3 | 4 => "SECRET\\".to_owned(),
        5 => format!("\\{quote}{quote}, SECRET"),
        6 => format!("{quote}{quote}"),
        7 => "SE--CRET".to_owned(),
        8 => "SE#CRET".to_owned(),
        9 => "SE/*CRET".to_owned(),
        10 => "SE;CRET".to_owned(),
        11 => "SE$$CRET".to_owned(),
        12 => "SE`CRET".to_owned(),
        13 => "SE$tag$CRET".to_owned(),
        14 => format!("SE{}CRET", if quote == '"' { '\'' } else { '"' }),
        _ => "é 12 SECRET".to_owned(),
    }
}

#[track_caller]
fn assert_hides(text: &[u8], way: Way) {
    let statement = Statement::new(text, way.dialect, &Options::default());
    let shown = [statement.text, statement.summary];
    let leaks = shown.iter().flatten().any(|shown| shown.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
    assert!(!leaks, "{way:?}: {} is shown as {shown:?}", text.escape_ascii());
}
