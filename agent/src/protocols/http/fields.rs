//! Header fields (RFC 9112 §5), read as an observer must: whatever the two ends accept.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

/// A field's name, and its value without the white space around it.
type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Room for the fields of an ordinary head, so that they are not moved as they become more.
const USUAL_FIELDS: usize = 16;

/// The fields of one request or response.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// Those of these lines.
    pub(crate) fn of_lines(lines: Lines<'a>) -> Self {
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(USUAL_FIELDS);
        for line in lines {
            if line.first().is_some_and(|&byte| is_space(byte)) {
                // obs-fold (RFC 9112 §5.2): the line continues the field before it.
                if let Some((_, value)) = fields.last_mut() {
                    let value = value.to_mut();
                    value.push(b' ');
                    value.extend_from_slice(trim(line));
                }
            } else if let Some((name, value)) = split_once(line, b':') {
                fields.push((Cow::Borrowed(trim(name)), Cow::Borrowed(trim(value))));
            }
        }
        Self(fields)
    }

    /// One more.
    pub(crate) fn push(&mut self, name: Cow<'a, [u8]>, value: Cow<'a, [u8]>) {
        self.0.push((name, value));
    }

    /// The values of all lines of this name, in order.
    pub(crate) fn values<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        let same = move |(field, _): &&Field<'_>| field.eq_ignore_ascii_case(name.as_bytes());
        self.0.iter().filter(same).map(|(_, value)| value.as_ref())
    }

    /// The first value of this name that is not empty.
    pub(crate) fn value<'f>(&'f self, name: &'f str) -> Option<&'f [u8]> {
        self.values(name).find(|value| !value.is_empty())
    }

    /// The comma-separated elements of all lines of this name (RFC 9110 §5.6.1), empty ones left out.
    pub(crate) fn elements<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(trim)
            .filter(|element| !element.is_empty())
    }

    /// The values of all lines of this name as text.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }
}

/// Where the head ends (after its empty line), if it does. The first `searched` bytes are known not to hold the end.
/// A bare LF ends a line as well as CRLF does (RFC 9112 §2.2).
pub(crate) fn find_end(bytes: &[u8], searched: usize) -> Option<usize> {
    // The end is at most two bytes after a line's LF, so that LF may be two bytes back.
    let from = searched.saturating_sub(3);
    memchr_iter(b'\n', bytes.get(from..)?).find_map(|index| {
        let after = from + index + 1;
        match bytes.get(after..)? {
            [b'\n', ..] => Some(after + 1),
            [b'\r', b'\n', ..] => Some(after + 2),
            _ => None,
        }
    })
}

/// Complete lines, without their line ends, up to an empty one.
pub(crate) struct Lines<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = (self.0.get(..end)?, self.0.get(end + 1..)?);
        self.0 = rest;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some(line)
    }
}

/// Splits at the first `separator`.
pub(crate) fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(separator, bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Without the spaces and tabs around it.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
