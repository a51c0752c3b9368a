//! A trace as a waterfall.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    bar::Scale,
    palette::Palette,
    steps::{Step, steps},
};
use crate::{
    escape::harmless,
    export::plain::{columns, duration, fit, shorten},
    traces::span::Span,
};

/// Steps of one trace that are drawn. A terminal is for looking at; a collector gets all.
const MAX_ROWS: usize = 500;
/// Levels of the tree that are drawn: the innermost ones of a deeper step.
const MAX_DEPTH: usize = 12;
/// The narrowest terminal that is drawn for.
const MIN_WIDTH: usize = 60;
/// Columns of the longest duration up to an hour, `59 m 59 s`.
const DURATION: usize = 9;
/// Fewest and most columns of the bars.
const BARS: (usize, usize) = (20, 80);

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; fewer than 60 are taken as 60.
    pub width: usize,
    /// Whether to colour it (by escape sequences).
    pub color: bool,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Dim,
    Bold,
    Error,
    Notice,
    Service(u8),
}

/// Text with its paint, as long as it is wide.
#[derive(Debug, Default)]
struct Line {
    pieces: Vec<(String, Paint)>,
    columns: usize,
}

impl Line {
    fn add(&mut self, text: impl Into<String>, paint: Paint) -> &mut Self {
        let text = text.into();
        self.columns += columns(&text);
        self.pieces.push((text, paint));
        self
    }

    fn pad(&mut self, width: usize) -> &mut Self {
        self.add(" ".repeat(width.saturating_sub(self.columns)), Paint::Plain)
    }

    fn write(&self, out: &mut String, style: Style) {
        for (text, paint) in self.pieces.iter().filter(|(text, _)| !text.is_empty()) {
            let code = match paint {
                Paint::Plain => None,
                Paint::Dim => Some("2".to_owned()),
                Paint::Bold => Some("1".to_owned()),
                Paint::Error => Some("31".to_owned()),
                Paint::Notice => Some("1;33".to_owned()),
                Paint::Service(color) => Some(format!("38;5;{color}")),
            };
            match code.filter(|_| style.color) {
                Some(code) => {
                    let _ = write!(out, "\u{1b}[{code}m{text}\u{1b}[0m");
                }
                None => out.push_str(text),
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// Draws one trace: a line about the whole, then a row for each step. Ends with a line break; empty if there are no
/// spans.
#[must_use]
pub fn render(spans: &[Span], style: &Style) -> String {
    draw(spans, *style, &mut Palette::default(), false, 0)
}

/// [`render`]; `continued` for spans that came after their trace was shown, `missing` spans of it were not kept.
pub(super) fn draw(spans: &[Span], style: Style, palette: &mut Palette, continued: bool, missing: u64) -> String {
    let steps = steps(spans);
    let Some(root) = steps.first() else { return String::new() };
    for step in &steps {
        step.service().into_iter().chain(step.caller()).for_each(|service| palette.add(service));
    }
    let paint = |service: &str| Paint::Service(palette.color(service));
    let width = style.width.max(MIN_WIDTH);
    let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();

    let mut text = String::new();
    header(root, spans, end - start, continued, width, paint).write(&mut text, style);

    let hidden = steps.get(MAX_ROWS..).unwrap_or_default().iter().map(|step| step_spans(step)).sum::<usize>();
    let shown = steps.get(..MAX_ROWS).unwrap_or(&steps);
    let widest = width - DURATION - BARS.0 - 4;
    let labels: Vec<Line> = shown.iter().map(|step| label(step, widest, paint)).collect();
    let label_width = labels.iter().map(|label| label.columns).max().unwrap_or_default();
    let scale = Scale { start, end, width: (width - label_width - DURATION - 4).min(BARS.1) };
    for (step, mut line) in shown.iter().zip(labels) {
        let total = step.calls.iter().map(|call| call.span.duration()).fold(0, u64::saturating_add);
        let time = duration(total);
        line.pad(label_width + 2 + DURATION.saturating_sub(columns(&time)));
        line.add(time, Paint::Plain).add("  ", Paint::Plain);
        let failed = step.calls.iter().any(|call| call.error().is_some());
        let color = if failed { Paint::Error } else { paint(step.service().unwrap_or_default()) };
        line.add(bar(step, scale), color);
        line.write(&mut text, style);
    }
    let drawn: usize = steps.iter().map(step_spans).sum();
    let unseen = missing + (hidden + spans.len() - drawn) as u64;
    if unseen > 0 {
        let mut note = Line::default();
        note.add(format!("… {unseen} more {} not shown", plural(unseen, "span", "spans")), Paint::Dim);
        note.write(&mut text, style);
    }
    text
}

fn step_spans(step: &Step<'_>) -> usize {
    step.calls.iter().map(|call| 1 + usize::from(call.answer.is_some())).sum()
}

fn bar(step: &Step<'_>, scale: Scale) -> String {
    let times = |span: &Span| (span.start, span.end);
    let outer: Vec<_> = step.calls.iter().map(|call| times(call.span)).collect();
    let inner: Vec<_> = step.calls.iter().map(|call| times(call.answer.unwrap_or(call.span))).collect();
    scale.bar(&outer, &inner)
}

/// What it is, how long it took and how much of it there is; the trace id last, to be copied.
fn header(
    root: &Step<'_>,
    spans: &[Span],
    total: u64,
    continued: bool,
    width: usize,
    paint: impl Fn(&str) -> Paint,
) -> Line {
    let services: BTreeSet<&str> = spans.iter().map(|span| span.process.service_name()).collect();
    let service = root.service().unwrap_or_default();
    let counts = format!(
        "{} {}, {} {}",
        spans.len(),
        plural(spans.len() as u64, "span", "spans"),
        services.len(),
        plural(services.len() as u64, "service", "services"),
    );
    let trace = spans.first().map(|span| span.trace_id.to_string()).unwrap_or_default();
    let mut rest = Line::default();
    rest.add("  ", Paint::Plain).add(shorten(&harmless(service), width / 3), paint(service));
    rest.add("  ", Paint::Plain).add(duration(total), Paint::Bold);
    rest.add("  ", Paint::Plain).add(counts, Paint::Plain);
    rest.add("  ", Paint::Plain).add(trace, Paint::Dim);
    if continued {
        rest.add("  (continued)", Paint::Dim);
    }
    let mut line = Line::default();
    let title = harmless(&root.title()).into_owned();
    line.add(shorten(&title, width.saturating_sub(rest.columns).max(12)), Paint::Bold);
    line.columns += rest.columns;
    line.pieces.append(&mut rest.pieces);
    line
}

/// The tree's lines, who, what, how often, and what is wrong with it, in at most `width` columns. Where room is short,
/// the name gives way.
fn label(step: &Step<'_>, width: usize, paint: impl Fn(&str) -> Paint) -> Line {
    let mut line = Line::default();
    line.add(branches(step), Paint::Dim);
    let service = step.service().unwrap_or_default();
    let who_width = width / 3;
    let peer = step.unseen_peer();
    let caller = step.caller().unwrap_or_default();
    // The row above says who calls; if it is somebody else, or there is none, it is said here.
    let says_caller =
        if peer.is_some() { step.within != Some(caller) } else { caller != service && step.within != Some(caller) };
    if says_caller {
        line.add(shorten(&harmless(caller), who_width), paint(caller)).add(" → ", Paint::Dim);
    } else if peer.is_some() {
        line.add("→ ", paint(service));
    }
    match &peer {
        Some(peer) => line.add(shorten(&harmless(peer), who_width), Paint::Plain),
        None => line.add(shorten(&harmless(service), who_width), paint(service)),
    };
    line.add("  ", Paint::Plain);

    let mut after = Line::default();
    if step.calls.len() > 1 {
        after.add(format!(" ×{}", step.calls.len()), Paint::Bold);
    }
    if let Some(notice) = step.repeated() {
        after.add(format!("  {notice}"), Paint::Notice);
    }
    let errors: Vec<String> = step.calls.iter().filter_map(|call| call.error()).collect();
    if let Some(error) = errors.first() {
        let times = if errors.len() > 1 { format!(" ×{}", errors.len()) } else { String::new() };
        after.add(format!("  ✗ {}{times}", shorten(&harmless(error), width / 4)), Paint::Error);
    } else if let Some(status) = step.calls.iter().find_map(|call| call.remarkable_status()) {
        after.add(format!("  {status}"), Paint::Dim);
    }

    let left = width.saturating_sub(line.columns + after.columns).max(8);
    line.add(shorten(&harmless(&step.title()), left), Paint::Plain);
    line.columns += after.columns;
    line.pieces.append(&mut after.pieces);
    if line.columns > width {
        // Deep in the tree and full of news: cut the whole.
        let all: String = line.pieces.iter().map(|(text, _)| text.as_str()).collect();
        line = Line::default();
        line.add(fit(&all, width), Paint::Plain);
    }
    line
}

fn branches(step: &Step<'_>) -> String {
    let Some((&more, above)) = step.open.split_last() else { return String::new() };
    if step.depth == 0 {
        return String::new();
    }
    // The first level is that of the roots, which have no lines.
    let above = above.get(1..).unwrap_or_default();
    let skipped = above.len().saturating_sub(MAX_DEPTH);
    let mut text = if skipped > 0 { "⋯  ".to_owned() } else { String::new() };
    for &more in above.get(skipped..).unwrap_or_default() {
        text.push_str(if more { "│  " } else { "   " });
    }
    text.push_str(if more { "├─ " } else { "└─ " });
    text
}

fn plural<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}
