//! `--output`: the spans of a run as one of the formats people and files get.

use std::{
    io::{self, Write},
    str::FromStr,
};

use super::{
    json, text,
    tree::{Style, Tree},
};
use crate::traces::span::Span;

/// What `--output` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `tree`: finished traces as a waterfall.
    Tree,
    /// `text`: one line a span.
    Text,
    /// `otlp-json`: the OTLP file format, JSON Lines.
    OtlpJson,
    /// `none`
    None,
}

/// A word that `--output` does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no output format: use tree, text, otlp-json or none")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tree" => Ok(Self::Tree),
            "text" => Ok(Self::Text),
            "otlp-json" => Ok(Self::OtlpJson),
            "none" => Ok(Self::None),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Writes spans to a terminal or file.
#[derive(Debug)]
pub struct Printer<W> {
    out: W,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Tree(Box<Tree>),
    Text,
    OtlpJson,
    None,
}

impl<W: Write> Printer<W> {
    /// `style` is for the tree.
    pub fn new(format: Format, style: Style, out: W) -> Self {
        let shape = match format {
            Format::Tree => Shape::Tree(Box::new(Tree::new(style))),
            Format::Text => Shape::Text,
            Format::OtlpJson => Shape::OtlpJson,
            Format::None => Shape::None,
        };
        Self { out, shape }
    }

    /// Takes finished spans; to be called now and then without any, so that the tree can show what has become complete.
    /// `now` is in ns of any clock that does not go back.
    ///
    /// # Errors
    /// What the writer says.
    pub fn print(&mut self, spans: &[Span], now: u64) -> io::Result<()> {
        match &mut self.shape {
            Shape::Tree(tree) => {
                tree.push(spans.to_vec(), now);
                tree.poll(now, &mut self.out)?;
            }
            Shape::Text => text::write(&mut self.out, spans)?,
            Shape::OtlpJson => json::write(&mut self.out, spans)?,
            Shape::None => return Ok(()),
        }
        self.out.flush()
    }

    /// Shows what the tree has left.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<()> {
        if let Shape::Tree(tree) = self.shape {
            tree.finish(&mut self.out)?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::export::samples;

    #[test]
    fn each_format_by_its_name() {
        let span = samples::span(&samples::process("web", 1), 1, None);
        let style = Style { width: 80, color: false };
        let print = |name: &str| {
            let mut out = Vec::new();
            let mut printer = Printer::new(name.parse().unwrap(), style, &mut out);
            printer.print(std::slice::from_ref(&span), 0).unwrap();
            printer.finish().unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(print("tree").starts_with("GET /  web  1.00 ms  1 span, 1 service"));
        assert!(print("text").starts_with("2026-01-02T03:04:05.000Z"));
        assert!(print("otlp-json").starts_with("{\"resourceSpans\":["));
        assert_eq!(print("none"), "");
        assert_eq!("json".parse::<Format>(), Err(UnknownFormat("json".to_owned())));
    }
}
