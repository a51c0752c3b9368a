//! Where finished spans go: the terminal, standard output, a collector.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Failure, OutputFormat, Show};
use crate::{
    accounts::Accounts,
    event::Time,
    export::{
        self, Collector, ExportReport, Exporter, MetricsExporter, OtlpConfig, Pending, Watch,
        metrics::{Snapshot, SpanExport},
        tree,
    },
    processes::{Process, identity::Identifier, proc::Proc},
    streams::Losses,
    traces::span::Span,
};

/// How long what is unsent may hold up the end of a run.
const FLUSH: Duration = Duration::from_secs(5);

/// The part of it that spans leave for the last metrics, which say what became of them.
const METRICS_FLUSH: Duration = Duration::from_millis(500);

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
    metrics: Option<MetricsExporter>,
    /// Where spans are exported to, for the metrics.
    collector: Option<Collector>,
    watch: Option<Watch>,
}

impl Sink {
    /// Within a tokio runtime.
    pub(super) fn new(show: &Show) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let (config, warnings) = OtlpConfig::read(show.otlp.as_deref(), show.protocol, variable)?;
        for warning in warnings {
            eprintln!("syspan: {warning}");
        }
        let exporter = config.traces.as_ref().map(Exporter::start).transpose()?;
        let metrics = config.metrics.map(|config| MetricsExporter::start(&config, myself())).transpose()?;
        let collector = config.traces.map(|traces| traces.collector);
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
        Ok(Self { format, out: BufWriter::new(io::stdout()), exporter, metrics, collector, watch: None })
    }

    /// Takes finished spans; `false` when nobody reads standard output any more and nothing else is asked for.
    pub(super) fn take(&mut self, spans: Vec<Span>, now: Time) -> io::Result<bool> {
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

    /// What was seen so far, and what became of it: for the metrics, and for a warning when something is being lost.
    pub(super) fn account(&mut self, accounts: Accounts, now: Time) {
        let mut losses = accounts.losses.clone();
        if let Some(exporter) = &self.exporter {
            exporter.report().add_to(&mut losses);
        }
        let watch = self.watch.get_or_insert_with(|| Watch::new(now, Losses::default()));
        if let Some(lost) = watch.look(now, &losses) {
            tracing::warn!("{lost}");
        }
        if let Some(metrics) = &self.metrics {
            let spans = self.exporter.as_ref().map(|exporter| (exporter.report(), exporter.pending()));
            metrics.tell(snapshot(accounts, losses, self.collector.as_ref().zip(spans)));
        }
    }

    /// Shows and sends what waits, then says what was lost.
    pub(super) async fn finish(mut self, accounts: Accounts) -> Result<(), Failure> {
        let end = Instant::now() + FLUSH;
        if let Format::Tree(tree) = std::mem::replace(&mut self.format, Format::None) {
            still_read(tree.finish(&mut self.out))?;
        }
        still_read(self.out.flush())?;
        let reserved = if self.metrics.is_some() { METRICS_FLUSH } else { Duration::ZERO };
        let (mut report, mut spans) = (None, None);
        let mut losses = accounts.losses.clone();
        if let Some(exporter) = self.exporter {
            let capacity = exporter.pending().capacity;
            let ended = exporter.shutdown(FLUSH - reserved).await;
            ended.add_to(&mut losses);
            report = Some(ended);
            spans = Some((ended, Pending { capacity, ..Pending::default() }));
        }
        if let Some(metrics) = self.metrics {
            metrics.tell(snapshot(accounts.clone(), losses, self.collector.as_ref().zip(spans)));
            metrics.shutdown(end.saturating_duration_since(Instant::now())).await;
        }
        eprintln!("{}", export::summary(&accounts, report.as_ref()));
        Ok(())
    }
}

/// For the metrics: `losses` are all, the exporter's among them.
fn snapshot(accounts: Accounts, losses: Losses, spans: Option<(&Collector, (ExportReport, Pending))>) -> Snapshot {
    let spans = spans.map(|(collector, (report, pending))| SpanExport {
        protocol: collector.protocol,
        server: collector.server(),
        report,
        pending,
    });
    Snapshot { accounts: Accounts { losses, ..accounts }, spans }
}

/// Who is measured: this process, under its own name whatever started it.
fn myself() -> Arc<Process> {
    let identity = Identifier::new(Proc::at("/proc")).identify(std::process::id());
    let unknown = || Process::unknown(std::process::id(), None);
    let mut process = identity.map_or_else(unknown, |identity| Arc::unwrap_or_clone(identity.process));
    for (key, value) in [("service.name", "syspan"), ("service.version", env!("CARGO_PKG_VERSION"))] {
        process.resource.retain(|(name, _)| name != key);
        process.resource.push((key.to_owned(), value.to_owned()));
    }
    Arc::new(process)
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
