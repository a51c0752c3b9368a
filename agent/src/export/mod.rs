//! Spans leave the process: to a collector by OTLP ([`Exporter`]), or to a terminal or file ([`Printer`]).
//!
//! Both take spans as they are finished. [`Exporter`] runs on its own and never makes the pipeline wait; [`Printer`]
//! writes at once, with the [`json`], [`text`] or [`tree`] format.

pub mod json;
mod otlp;
mod plain;
mod printer;
mod proto;
mod report;
#[cfg(test)]
mod samples;
pub mod text;
pub mod tree;

pub use otlp::{ConfigError, ExportError, Exporter, OtlpConfig, Protocol, Unreachable, probe};
pub use printer::{Format, Printer, UnknownFormat};
pub use report::{ExportReport, summary};
