//! One lexer for both dialects. It never fails: text may be cut short anywhere and need not be UTF-8, and whatever it
//! cannot name is a symbol. Tokens are contiguous, so that joining them gives the text back.
//!
//! Rules: PostgreSQL "Lexical Structure" (4.1), MySQL "Language Structure" (11.1, 11.7).
//!
//! Where a quoted text ends depends on settings that nobody tells (`standard_conforming_strings`, `NO_BACKSLASH_ESCAPES`,
//! `ANSI_QUOTES`): `'a\', 'b'` is two strings or the beginning of one. Where the ways to read it differ, everything up to where
//! they agree again is one literal, so that no value shows by any of them.

use super::Dialect;

/// What a token is, as far as sanitising, summarising and splitting have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Space,
    /// A comment, or the brackets around MySQL's conditional code (`/*!80000 … */`).
    Comment,
    /// A keyword or an identifier without quotes.
    Word,
    /// An identifier in its quotes.
    Quoted,
    /// A string, number or boolean, in whatever notation; prefix and quotes included, the closing quote possibly cut off.
    Literal,
    /// `$1` or `?`.
    Parameter,
    /// Any other character.
    Symbol,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
}

impl Token<'_> {
    /// Whether this is the unquoted word, in any case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether this is one of these unquoted words, in any case.
    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        self.kind == Kind::Word && words.iter().any(|word| self.text.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether this is the symbol.
    pub(super) fn symbol(&self, symbol: u8) -> bool {
        self.kind == Kind::Symbol && self.text == [symbol]
    }
}

/// What a session's settings make of quotes.
#[derive(Debug, Clone, Copy)]
struct Quoting {
    /// In a string, a backslash takes the next character's meaning away.
    escapes: bool,
    /// Double quotes hold a name, in which a backslash is a character like any other.
    names: bool,
}

impl Dialect {
    /// What the settings make of quotes by default, and what else they may.
    fn quotings(self) -> (Quoting, &'static [Quoting]) {
        match self {
            Dialect::PostgreSql => (Quoting { escapes: false, names: true }, &[Quoting { escapes: true, names: true }]),
            Dialect::MySql => (
                Quoting { escapes: true, names: false },
                &[Quoting { escapes: false, names: false }, Quoting { escapes: true, names: true }],
            ),
        }
    }
}

/// The tokens of a text.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    dialect: Dialect,
    quoting: Quoting,
    /// Quotes may be read in other ways as well: what they do not agree on is a literal.
    doubt: bool,
    /// The token before, white space included: what a sign or a dot means depends on what it touches.
    previous: Option<Token<'a>>,
    /// Inside MySQL's conditional code.
    conditional: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self { rest: text, dialect, quoting: dialect.quotings().0, doubt: true, previous: None, conditional: false }
    }

    /// The quoted text that begins the rest, and all after it that is not read alike whatever the settings are.
    fn agreed(&mut self, kind: Kind, length: usize) -> (Kind, usize) {
        let mut first = Lexer { doubt: false, ..self.clone() };
        let others = self.dialect.quotings().1.iter();
        let mut others: Vec<Lexer<'a>> = others.map(|&quoting| Lexer { quoting, ..first.clone() }).collect();
        loop {
            let longest = others.iter().map(|way| way.rest.len()).max().unwrap_or(0).max(first.rest.len());
            for way in others.iter_mut().chain([&mut first]).filter(|way| way.rest.len() == longest) {
                way.next();
            }
            let agrees = |way: &Lexer<'_>| {
                way.rest.len() == first.rest.len() && (way.conditional == first.conditional || way.rest.is_empty())
            };
            if others.iter().all(agrees) {
                break;
            }
        }
        self.conditional = first.conditional;
        let agreed = self.rest.len() - first.rest.len();
        if agreed == length { (kind, length) } else { (Kind::Literal, agreed) }
    }

    /// Kind and length of the token that begins the rest; `first` is its first byte.
    fn measure(&mut self, first: u8) -> (Kind, usize) {
        let rest = self.rest;
        let mysql = self.dialect == Dialect::MySql;
        let Quoting { escapes, names } = self.quoting;
        match first {
            byte if is_space(byte) => (Kind::Space, run(rest, is_space)),
            b'-' if self.line_comment(rest) => (Kind::Comment, line(rest)),
            b'#' if mysql => (Kind::Comment, line(rest)),
            b'/' if mysql && rest.starts_with(b"/*!") => {
                self.conditional = true;
                (Kind::Comment, 3 + run(skip(rest, 3), |byte| byte.is_ascii_digit()))
            }
            b'*' if self.conditional && rest.starts_with(b"*/") => {
                self.conditional = false;
                (Kind::Comment, 2)
            }
            b'/' if rest.starts_with(b"/*") => (Kind::Comment, block_comment(rest, !mysql)),
            b'\'' => (Kind::Literal, quoted(rest, b'\'', escapes)),
            b'"' if mysql => (Kind::Literal, quoted(rest, b'"', escapes && !names)),
            b'"' => (Kind::Quoted, quoted(rest, b'"', false)),
            b'`' if mysql => (Kind::Quoted, quoted(rest, b'`', false)),
            b'$' if !mysql => dollar(rest),
            b'?' => (Kind::Parameter, 1),
            b'0'..=b'9' => (Kind::Literal, number(rest)),
            b'.' if !self.touches_operand() && digit_at(rest, 1) => (Kind::Literal, number(rest)),
            b'+' | b'-' if !self.touches_operand() && (digit_at(rest, 1) || dot_digit(skip(rest, 1))) => {
                (Kind::Literal, 1 + number(skip(rest, 1)))
            }
            byte if is_word(byte) => self.word(rest),
            _ => (Kind::Symbol, 1),
        }
    }

    /// MySQL takes `--` for a comment only before white space or a control character: `5--1` is a subtraction there. (At the end of
    /// the text as well, where it hides nothing; a text of nothing but minus signs would be eaten up from behind.)
    fn line_comment(&self, rest: &[u8]) -> bool {
        rest.starts_with(b"--")
            && (self.dialect == Dialect::PostgreSql
                || rest.get(2).is_some_and(|byte| is_space(*byte) || byte.is_ascii_control()))
    }

    /// Whether the token before touches this one and is an operand: then a sign is an operator and a dot qualifies a name.
    /// A sign that touches a number is swallowed, as the convention's vectors want (`99+100` is `??`).
    fn touches_operand(&self) -> bool {
        self.previous.is_some_and(|previous| match previous.kind {
            Kind::Word | Kind::Quoted | Kind::Parameter => true,
            Kind::Symbol => matches!(previous.text, b")" | b"]"),
            Kind::Space | Kind::Comment | Kind::Literal => false,
        })
    }

    /// A word, or a literal that begins with letters: `E'…'`, `x'1F'`, `U&'…'`, `_utf8mb4'…'`, `true`.
    fn word(&self, rest: &[u8]) -> (Kind, usize) {
        let length = run(rest, |byte| is_word(byte) || byte == b'$');
        let Some((word, after)) = rest.split_at_checked(length) else { return (Kind::Word, rest.len()) };
        let mysql = self.dialect == Dialect::MySql;
        let Quoting { escapes, names } = self.quoting;
        let string = |backslash| (Kind::Literal, length + quoted(after, b'\'', backslash));
        match after.first() {
            Some(b'\'') if word.eq_ignore_ascii_case(b"e") => return string(true),
            Some(b'\'') if word.len() == 1 || (mysql && word.starts_with(b"_")) => return string(escapes),
            Some(b'"') if mysql && (word.len() == 1 || word.starts_with(b"_")) => {
                return (Kind::Literal, length + quoted(after, b'"', escapes && !names));
            }
            Some(b'&') if !mysql && word.eq_ignore_ascii_case(b"u") => match after.get(1) {
                Some(b'\'') => return (Kind::Literal, length + 1 + quoted(skip(after, 1), b'\'', escapes)),
                Some(b'"') => return (Kind::Quoted, length + 1 + quoted(skip(after, 1), b'"', false)),
                _ => {}
            },
            _ => {}
        }
        let qualified = self.previous.is_some_and(|previous| previous.symbol(b'.'));
        let boolean = word.eq_ignore_ascii_case(b"true") || word.eq_ignore_ascii_case(b"false");
        (if boolean && !qualified { Kind::Literal } else { Kind::Word }, length)
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = *self.rest.first()?;
        let (mut kind, mut length) = self.measure(first);
        if self.doubt && matches!(kind, Kind::Literal | Kind::Quoted) {
            let text = self.rest.get(..length).unwrap_or_default();
            if memchr::memchr(b'\\', text).is_some() {
                (kind, length) = self.agreed(kind, length);
            }
        }
        // The rules above measure at least 1 and at most what is there; a mistake in them must not loop or panic.
        let (text, rest) = self.rest.split_at_checked(length.max(1)).unwrap_or((self.rest, &[]));
        let token = Token { kind, text };
        self.rest = rest;
        self.previous = Some(token);
        Some(token)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Bytes above ASCII are letters in both databases, whatever the encoding.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn skip(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(count..).unwrap_or_default()
}

fn run(bytes: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !accept(*byte)).unwrap_or(bytes.len())
}

fn digit_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

fn dot_digit(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'.') && digit_at(bytes, 1)
}

/// Up to, not including, the line's end.
fn line(bytes: &[u8]) -> usize {
    run(bytes, |byte| byte != b'\n' && byte != b'\r')
}

/// Up to and including the end of the comment, which is the end of the text if it is cut off.
fn block_comment(bytes: &[u8], nests: bool) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match bytes.get(at..at + 2) {
            Some(b"/*") if nests || depth == 0 => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            Some(_) => at += 1,
            None => return bytes.len(),
        }
    }
}

/// Length of what stands between two quotes, quotes included; a doubled quote does not end it. To the end if cut off.
fn quoted(bytes: &[u8], quote: u8, backslash: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if *byte == b'\\' && backslash {
            at += 1;
        } else if *byte == quote {
            if bytes.get(at) != Some(&quote) {
                return at;
            }
            at += 1;
        }
    }
    bytes.len()
}

/// `$1`, `$tag$…$tag$`, or a lone `$`.
fn dollar(bytes: &[u8]) -> (Kind, usize) {
    let digits = run(skip(bytes, 1), |byte| byte.is_ascii_digit());
    if digits > 0 {
        return (Kind::Parameter, 1 + digits);
    }
    let tag = run(skip(bytes, 1), is_word) + 2;
    let Some((opening, body)) = bytes.split_at_checked(tag).filter(|(opening, _)| opening.ends_with(b"$")) else {
        return (Kind::Symbol, 1);
    };
    let length = memchr::memmem::find(body, opening).map_or(bytes.len(), |at| tag + at + tag);
    (Kind::Literal, length)
}

/// A number with everything that touches it: fraction, exponent, radix, separators. What is no number to a database
/// (`5f3a`) is taken whole too, for it may be a value that someone forgot to quote.
fn number(bytes: &[u8]) -> usize {
    let radix = matches!(bytes.get(1), Some(b'x' | b'X' | b'b' | b'B' | b'o' | b'O'));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let exponent = matches!(byte, b'+' | b'-')
            && !radix
            && at > 0
            && matches!(bytes.get(at - 1), Some(b'e' | b'E'))
            && digit_at(bytes, at + 1);
        if !(is_word(*byte) || *byte == b'.' || exponent) {
            break;
        }
        at += 1;
    }
    at
}
