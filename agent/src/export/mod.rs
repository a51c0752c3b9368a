//! Spans leave the process: to a collector by OTLP ([`Exporter`]), or as text to a terminal or file.
//!
//! [`Exporter`] runs on its own and never makes the pipeline wait. The three printers are plain functions of spans:
//! [`json::write`], [`text::write`] and, with a memory of unfinished traces, [`tree::Tree`].

pub mod json;
pub mod metrics;
mod otlp;
mod plain;
mod proto;
mod report;
#[cfg(test)]
pub(crate) mod samples;
pub mod text;
pub mod tree;

pub use otlp::{
    Collector, ConfigError, ExportError, Exporter, MetricsConfig, MetricsExporter, OtlpConfig, Protocol, TracesConfig,
    Unreachable, probe,
};
pub use report::{ExportReport, Pending, Watch, recording_summary, summary};
