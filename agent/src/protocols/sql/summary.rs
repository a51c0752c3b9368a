//! `db.query.summary`: the operations of a statement and what they work on, as written, for span names of low cardinality.
//!
//! This is a walk over tokens, not a parser: it knows where a table may stand and takes the name there. Where it does not
//! know a statement it says less, never a value.

use super::{
    Dialect,
    lexer::{Kind, Lexer, Token},
};

/// OpenTelemetry: a summary SHOULD be cut, at the edge of an operation or target, to at most 255 characters.
const LIMIT: usize = 255;

/// Statements of which only the first word is reported: what follows is a name of unbounded cardinality, or may be a secret.
const BARE: &[&str] = &[
    "abort",
    "analyze",
    "begin",
    "change",
    "check",
    "checkpoint",
    "close",
    "cluster",
    "comment",
    "commit",
    "deallocate",
    "discard",
    "do",
    "end",
    "fetch",
    "flush",
    "grant",
    "handler",
    "import",
    "install",
    "kill",
    "listen",
    "load",
    "move",
    "notify",
    "optimize",
    "prepare",
    "purge",
    "reassign",
    "refresh",
    "reindex",
    "release",
    "rename",
    "repair",
    "reset",
    "restart",
    "revoke",
    "rollback",
    "savepoint",
    "security",
    "set",
    "show",
    "shutdown",
    "start",
    "stop",
    "uninstall",
    "unlisten",
    "unlock",
    "vacuum",
    "values",
    "xa",
];

/// Words between `CREATE`, `ALTER`, `DROP` and the kind of thing.
const MODIFIERS: &[&str] = &[
    "or",
    "replace",
    "temp",
    "temporary",
    "unlogged",
    "global",
    "local",
    "unique",
    "materialized",
    "recursive",
    "fulltext",
    "spatial",
    "foreign",
    "constraint",
    "undo",
    "aggregate",
    "online",
    "offline",
    "algorithm",
    "event",
];

/// Kinds of things that `CREATE`, `ALTER` and `DROP` work on.
const KINDS: &[&str] = &[
    "table",
    "index",
    "view",
    "database",
    "schema",
    "sequence",
    "function",
    "procedure",
    "trigger",
    "type",
    "domain",
    "extension",
    "tablespace",
    "policy",
    "rule",
    "collation",
    "publication",
    "statistics",
    "language",
    "server",
];

/// Words that may stand before a name without being one.
const BEFORE_NAME: &[&str] = &[
    "if",
    "not",
    "exists",
    "only",
    "lateral",
    "concurrently",
    "low_priority",
    "high_priority",
    "delayed",
    "ignore",
    "quick",
    "into",
    "on",
];

/// Words that end a list of tables.
const AFTER_TABLES: &[&str] = &[
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "except",
    "intersect",
    "window",
    "set",
    "values",
    "returning",
    "into",
    "partition",
    "procedure",
];

/// The summary of one statement, or `None` if it begins with no known operation.
pub(super) fn summarize(text: &[u8], dialect: Dialect) -> Option<String> {
    let mut walk = Walk::default();
    let mut tokens =
        Lexer::new(text, dialect).filter(|token| !matches!(token.kind, Kind::Space | Kind::Comment)).peekable();
    while let Some(token) = tokens.next() {
        match token.kind {
            Kind::Word | Kind::Quoted | Kind::Literal if walk.wants_name(token) => {
                let mut name = String::from_utf8_lossy(token.text).into_owned();
                let mut qualified = false;
                while tokens.next_if(|next| next.symbol(b'.')).is_some() {
                    qualified = true;
                    name.push('.');
                    if let Some(part) = tokens.next_if(|next| matches!(next.kind, Kind::Word | Kind::Quoted)) {
                        name.push_str(&String::from_utf8_lossy(part.text));
                    }
                }
                walk.name(token, name, qualified);
            }
            Kind::Word if walk.last.is_none_or(|last| !last.symbol(b'.')) => walk.word(token, tokens.peek()),
            _ if token.symbol(b'(') => walk.open(),
            _ if token.symbol(b')') => walk.close(),
            _ if token.symbol(b',') => walk.comma(),
            _ if token.symbol(b';') => break,
            _ => walk.expect = Expect::Nothing,
        }
        walk.last = Some(token);
        if walk.done {
            break;
        }
    }
    (!walk.out.is_empty()).then_some(walk.out)
}

/// What the next token may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Expect {
    /// Nothing that matters.
    #[default]
    Nothing,
    /// The table of a `FROM`, `JOIN`, `INTO`, `UPDATE`: here a parenthesis opens a derived table.
    Table,
    /// The name of what a statement creates, calls or copies, which is then all of interest unless a query follows.
    Name,
    /// The kind of thing after `CREATE`, `ALTER`, `DROP`.
    ThingKind,
    /// The name of a common table expression.
    Cte,
}

/// One level of parentheses.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// A statement may begin here.
    start: bool,
    /// An operation whose `FROM` names tables was seen (`EXTRACT(year FROM x)` has none).
    tables: bool,
    /// A comma is followed by another table.
    list: bool,
    /// A comma is followed by another common table expression.
    ctes: bool,
}

#[derive(Default)]
struct Walk<'a> {
    out: String,
    expect: Expect,
    level: Level,
    outer: Vec<Level>,
    ctes: Vec<&'a [u8]>,
    last: Option<Token<'a>>,
    /// The outermost statement has begun.
    begun: bool,
    done: bool,
}

impl<'a> Walk<'a> {
    fn wants_name(&self, token: Token<'a>) -> bool {
        match (self.expect, token.kind) {
            (Expect::Nothing | Expect::ThingKind, _) => false,
            (_, Kind::Word) => {
                !token.is_any(BEFORE_NAME) && !token.is_any(&["select", "values", "with", "recursive"]) && {
                    // The vectors have a table named `table`; `LOCK TABLE t` and `TRUNCATE TABLE t` say it before the name.
                    self.expect != Expect::Name || !token.is_any(&["table", "tables"])
                }
            }
            (_, Kind::Quoted) => true,
            // The convention's example has a table in single quotes; a cut off or long one may be anything.
            (Expect::Table, _) => {
                self.level.tables
                    && token.text.len() > 2
                    && token.text.len() <= 64
                    && matches!(token.text.first(), Some(b'\'' | b'"'))
                    && token.text.first() == token.text.last()
            }
            _ => false,
        }
    }

    fn name(&mut self, token: Token<'a>, name: String, qualified: bool) {
        match self.expect {
            Expect::Cte => self.ctes.push(token.text),
            _ if !qualified && self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(token.text)) => {}
            _ => self.push(&name),
        }
        self.expect = Expect::Nothing;
    }

    fn word(&mut self, token: Token<'a>, next: Option<&Token<'a>>) {
        let operation = String::from_utf8_lossy(token.text);
        if self.expect == Expect::ThingKind {
            if token.is_any(KINDS) {
                self.push(&operation);
                self.expect = Expect::Name;
            } else if !token.is_any(MODIFIERS) {
                // Users and roles have passwords beside them, and the rest is rare.
                self.done = true;
            }
        } else if token.is("select") {
            self.push(&operation);
            self.expect = Expect::Nothing;
            self.begun = true;
            self.level = Level { tables: true, ..Level::default() };
        } else if self.level.start || !self.begun {
            self.begin(token, &operation);
        } else if token.is("from") {
            let distinct = self.last.is_some_and(|last| last.is("distinct"));
            if self.level.tables && !distinct {
                self.expect = Expect::Table;
                self.level.list = true;
            }
        } else if token.is_any(&["join", "straight_join"]) && self.level.tables {
            self.expect = Expect::Table;
        } else if token.is("using") && self.level.tables && next.is_some_and(|next| !next.symbol(b'(')) {
            self.expect = Expect::Table;
            self.level.list = true;
        } else if token.is_any(AFTER_TABLES) && self.expect != Expect::Table {
            self.level.list = false;
            self.expect = Expect::Nothing;
        } else if !token.is_any(BEFORE_NAME) && !token.is_any(&["table", "tables", "recursive"]) {
            self.expect = Expect::Nothing;
        }
    }

    /// The first word of a statement, or the one after `WITH …` or `EXPLAIN …`.
    fn begin(&mut self, token: Token<'a>, operation: &str) {
        if token.is("with") {
            self.begun = true;
            self.level = Level { start: true, ctes: true, ..Level::default() };
            self.expect = Expect::Cte;
            return;
        }
        let level = Level { tables: true, ..Level::default() };
        let (expect, level) = if token.is_any(&["insert", "replace", "merge"]) {
            (Expect::Table, level)
        } else if token.is("update") {
            (Expect::Table, Level { list: true, ..level })
        } else if token.is("delete") {
            (Expect::Nothing, level)
        } else if token.is_any(&["create", "alter", "drop"]) {
            (Expect::ThingKind, Level { list: token.is("drop"), ..Level::default() })
        } else if token.is_any(&["call", "exec", "execute", "copy", "use", "lock", "truncate", "describe", "desc"]) {
            (Expect::Name, Level { list: token.is_any(&["lock", "truncate"]), ..Level::default() })
        } else if token.is("declare") {
            (Expect::Nothing, Level::default())
        } else if token.is("explain") {
            (Expect::Nothing, Level { start: true, ..Level::default() })
        } else if token.is_any(BARE) && !self.begun {
            self.done = true;
            (Expect::Nothing, Level::default())
        } else if self.begun {
            // A word of `WITH x AS` or `EXPLAIN ANALYZE`: the statement is still to come.
            return;
        } else {
            self.done = true;
            return;
        };
        self.begun = true;
        self.push(operation);
        self.expect = expect;
        self.level = level;
    }

    fn open(&mut self) {
        let table = self.expect == Expect::Table && self.level.tables;
        let body = self.last.is_none_or(|last| last.is_any(&["as", "materialized"]) || last.symbol(b'('));
        self.outer.push(self.level);
        self.level = Level { start: body, tables: table, list: table, ctes: false };
        // `(` after a table's place opens a derived table or a list of joined ones; elsewhere an argument or column list.
        self.expect = if table { Expect::Table } else { Expect::Nothing };
    }

    fn close(&mut self) {
        self.level = self.outer.pop().unwrap_or_default();
        self.expect = Expect::Nothing;
    }

    fn comma(&mut self) {
        self.expect = match self.level {
            Level { ctes: true, .. } => Expect::Cte,
            Level { list: true, tables: true, .. } => Expect::Table,
            Level { list: true, .. } => Expect::Name,
            _ => Expect::Nothing,
        };
    }

    /// Adds an operation or target, or ends the summary where it would become too long.
    fn push(&mut self, part: &str) {
        let space = usize::from(!self.out.is_empty());
        if self.out.chars().count() + space + part.chars().count() > LIMIT {
            self.done = true;
            return;
        }
        self.out.extend((space == 1).then_some(' '));
        self.out.push_str(part);
    }
}
