//! Where finished spans go: the terminal, standard output, a collector.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write as _},
    time::Duration,
};

use super::{Failure, OutputFormat, Show};
use crate::{
    event::Time,
    export::{self, Exporter, OtlpConfig, tree},
    streams::Losses,
    traces::span::Span,
};

/// How long unsent spans may hold up the end of a run.
const FLUSH: Duration = Duration::from_secs(5);

/// Columns where standard output is no terminal.
const DEFAULT_WIDTH: u16 = 120;

enum Format {
    Tree(Box<tree::Tree>),
    Text,
    OtlpJson,
    None,
}

/// Takes spans.
pub(super) struct Sink {
    format: Format,
    out: BufWriter<Stdout>,
    exporter: Option<Exporter>,
    shown: u64,
}

impl Sink {
    /// Within a tokio runtime.
    pub(super) fn new(show: &Show) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let (config, warnings) = OtlpConfig::read(show.otlp.as_deref(), show.protocol, variable)?;
        for warning in warnings {
            eprintln!("syspan: {warning}");
        }
        let exporter = config.as_ref().map(Exporter::start).transpose()?;
        let terminal = io::stdout().is_terminal();
        let format = show.output.unwrap_or(match (&exporter, terminal) {
            (Some(_), _) => OutputFormat::None,
            (None, true) => OutputFormat::Tree,
            (None, false) => OutputFormat::Text,
        });
        let format = match format {
            OutputFormat::Tree => Format::Tree(Box::new(tree::Tree::new(style(terminal)))),
            OutputFormat::Text => Format::Text,
            OutputFormat::OtlpJson => Format::OtlpJson,
            OutputFormat::None => Format::None,
        };
        Ok(Self { format, out: BufWriter::new(io::stdout()), exporter, shown: 0 })
    }

    /// Takes finished spans; `false` when nobody reads standard output any more and nothing else is asked for.
    pub(super) fn take(&mut self, spans: Vec<Span>, now: Time) -> io::Result<bool> {
        self.shown += spans.len() as u64;
        if let Some(exporter) = &self.exporter
            && !spans.is_empty()
        {
            if matches!(self.format, Format::None) {
                exporter.send(spans);
                return Ok(true);
            }
            exporter.send(spans.clone());
        }
        // Whoever follows the output sees a span when it is known.
        let written = match &mut self.format {
            Format::Tree(tree) => {
                tree.push(spans, now);
                tree.poll(now, &mut self.out)
            }
            Format::Text => export::text::write(&mut self.out, &spans),
            Format::OtlpJson => export::json::write(&mut self.out, &spans),
            Format::None => return Ok(true),
        };
        let read = still_read(written.and_then(|()| self.out.flush()))?;
        if !read && self.exporter.is_some() {
            self.format = Format::None; // the collector still wants them
            return Ok(true);
        }
        Ok(read)
    }

    /// Shows and sends what waits, then says what was lost.
    pub(super) async fn finish(mut self, mut losses: Losses) -> Result<(), Failure> {
        if let Format::Tree(tree) = self.format {
            still_read(tree.finish(&mut self.out))?;
        }
        still_read(self.out.flush())?;
        let mut count = self.shown;
        if let Some(exporter) = self.exporter {
            let report = exporter.shutdown(FLUSH).await;
            report.add_to(&mut losses);
            count = report.exported;
        }
        eprintln!("{}", export::summary(count, &losses));
        Ok(())
    }
}

/// A reader that went away (`syspan run | head`) is no failure.
fn still_read(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

fn style(terminal: bool) -> tree::Style {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = if columns > 0 { columns } else { named.unwrap_or(DEFAULT_WIDTH) };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0" && !value.is_empty());
    tree::Style { width: width.into(), color: (terminal || forced) && !plain }
}
