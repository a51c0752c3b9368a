//! The command line: what may be typed, one file for each subcommand. It is a contract: scripts rely on it.

mod check;
mod doctor;
mod exec;
mod held;
mod observer;
mod pipeline;
mod record;
pub mod recording;
mod replay;
mod run;
mod sink;
mod stop;

use std::{ffi::OsString, io::IsTerminal as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    escape::harmless_lines,
    event::Limits,
    export::Protocol,
    kernel::{
        capture::CaptureError,
        propagation::{self, Propagation},
        sockhash,
    },
    processes::selector::{ExePattern, Selectors},
    protocols::{self, SqlText},
    traces::span::Evidence,
};

/// Distributed traces from system calls, with no code changes.
///
/// syspan watches the socket system calls of running programs and turns their HTTP requests and SQL queries into
/// OpenTelemetry spans with the right parents. It needs root (or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and
/// CAP_DAC_READ_SEARCH) and changes nothing in what it watches.
#[derive(Debug, Parser)]
#[command(name = "syspan", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  syspan run                                    every process, traces in the terminal
  syspan run --pid 4711                         one process and its children
  syspan run --exe node --port 5000             several selectors add up
  syspan run --otlp http://collector:4318       to a collector (OTEL_EXPORTER_OTLP_* work as well)
  syspan exec -- ./checkout.sh                  one command and what it starts
  syspan record --pid 4711 -o slow.jsonl        keep the events, for a bug report or for later
  syspan replay slow.jsonl                      the same traces again
  syspan replay legacy.pcap                     traces of what tcpdump has seen
  syspan doctor                                 what this kernel allows, and what to do about the rest

SYSPAN_LOG=info or debug says more about what syspan does (the syntax of RUST_LOG).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace running processes until Ctrl-C, or for --duration
    Run {
        #[command(flatten)]
        select: Select,
        #[command(flatten)]
        capture: CaptureArgs,
        #[command(flatten)]
        show: Show,
        /// Stop after this long (30s, 5m)
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
    },
    /// Trace one command and its children; exits with its status
    Exec {
        #[command(flatten)]
        capture: CaptureArgs,
        #[command(flatten)]
        show: Show,
        /// The command and its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Write kernel events to a file, for `syspan replay`
    ///
    /// The file holds the captured bytes as they were, secrets included: keep it as you would keep a packet capture.
    Record {
        #[command(flatten)]
        select: Select,
        #[command(flatten)]
        capture: CaptureArgs,
        /// The file to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Stop after this long (30s, 5m)
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
    },
    /// Make traces from a recording or a packet capture; the same file gives the same spans
    ///
    /// Of a packet capture (pcap or pcapng, by `tcpdump -s 0 -w FILE`), every TCP connection that speaks a known protocol is traced, from
    /// both of its ends. A server is named by its address and port, a client by its address. A request is the parent of the same request on
    /// the other end, or a traceparent header says it; which program sent it, and for what, no wire shows (docs/captures.md).
    Replay {
        /// A recording (docs/recording.md), pcap or pcapng; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        show: Show,
    },
    /// Say what this kernel allows, what is missing, and the remedy
    Doctor {
        /// How to say it
        #[arg(long, value_enum, default_value_t = DoctorOutput::Text)]
        output: DoctorOutput,
    },
    /// Say which processes would be traced, under which service name, and why
    Check {
        #[command(flatten)]
        select: Select,
    },
}

/// Which processes. Selectors add up; without any, every process but syspan itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors")]
struct Select {
    /// This process and its children (repeatable)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Programs whose file name matches, or whose path if the pattern has a slash (repeatable)
    #[arg(long, value_name = "GLOB")]
    exe: Vec<ExePattern>,
    /// Processes that listen on this TCP port, now or later (repeatable)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Every process but syspan itself
    #[arg(long)]
    all: bool,
}

impl From<Select> for Selectors {
    fn from(Select { pid, exe, port, all }: Select) -> Self {
        Self { pids: pid, exes: exe, ports: port, all }
    }
}

/// What is captured and kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Capture")]
struct CaptureArgs {
    /// Longest HTTP head that is looked at, bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.head, value_parser = clap::value_parser!(u32).range(256..=32_768))]
    head_limit: u32,
    /// Longest SQL text that is looked at, bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.sql, value_parser = clap::value_parser!(u32).range(256..=32_768))]
    sql_limit: u32,
    /// Memory for events between kernel and agent, MiB or with a unit (4, 4MiB, 512KiB), a power of two [default: 2 MiB for each CPU, 4 to 64]
    #[arg(long, value_name = "SIZE", value_parser = ring_size)]
    ring_size: Option<u32>,
    /// How traces are joined with those of other hosts: this touches traffic (docs/propagation.md)
    #[arg(long, value_enum, default_value_t = PropagateArg::Off)]
    propagate: PropagateArg,
    /// See as well which tasks of Python begin which, which slows the programs that have many (docs/how-parents-are-found.md)
    #[arg(long)]
    python_tasks: bool,
}

/// What becomes of the traces.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
struct Show {
    /// Send spans to this collector (the OTEL_EXPORTER_OTLP_* variables work as well)
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// How to talk to the collector: grpc or http/protobuf
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,
    /// Show spans: as waterfalls, a line each, as OTLP JSON lines, or not [default: tree in a terminal, else text; none with a collector]
    #[arg(long, value_enum)]
    output: Option<OutputFormat>,
    /// What becomes of SQL text
    #[arg(long, value_enum, default_value_t = SqlTextArg::Sanitized)]
    sql_text: SqlTextArg,
    /// The weakest evidence that makes a parent; what has weaker evidence is linked, and is no child
    #[arg(long, value_enum, default_value_t = EvidenceArg::Handoff)]
    evidence: EvidenceArg,
    /// What becomes of the requests of a program that exports spans of its own (docs/programs-that-trace-themselves.md)
    #[arg(long, value_enum, default_value_t = SdkArg::Leave)]
    sdk: SdkArg,
    /// Report how many rows a statement returned
    #[arg(long)]
    returned_rows: bool,
    /// Report this request and response header (repeatable)
    #[arg(long, value_name = "NAME")]
    http_header: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Waterfalls of finished traces
    Tree,
    /// One line a span
    Text,
    /// JSON lines, each a TracesData object
    OtlpJson,
    /// Nothing
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SqlTextArg {
    /// Literals replaced by `?`
    Sanitized,
    /// As it was sent, secrets included
    Raw,
    /// Left out
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SdkArg {
    /// What its spans cover is left to it
    Leave,
    /// They have spans all the same
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EvidenceArg {
    /// A traceparent came with the request
    Header,
    /// Both ends of the connection were seen
    Socket,
    /// The same thread or event-loop turn
    Task,
    /// Work observably passed on
    Handoff,
    /// Timing and order only
    Inferred,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PropagateArg {
    /// Not at all: only what arrives in a traceparent header counts
    Off,
    /// By a TCP option on the segment that begins a request
    Tcp,
    /// By a traceparent header in HTTP/1 requests without one; not at all where this kernel's sockets would answer wrongly (FIONREAD)
    Headers,
    /// The same on every kernel
    #[value(name = "headers=force")]
    HeadersForce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DoctorOutput {
    /// For people
    Text,
    /// For programs
    Json,
}

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// Bytes of a ring buffer. The smallest holds one event with the longest head, and is a multiple of every page size.
fn ring_size(text: &str) -> Result<u32, String> {
    let (number, unit) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(number), _) => (number, KIB),
        (None, number) => (number.unwrap_or(text), MIB),
    };
    let bytes = number.trim_end().parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| bytes.is_power_of_two() && (64 * KIB..=1024 * MIB).contains(bytes))
        .ok_or_else(|| "give a power of two from 64KiB to 1024MiB, like 8 (MiB) or 512KiB".to_owned())
}

impl Default for CaptureArgs {
    fn default() -> Self {
        let Limits { head, sql } = Limits::DEFAULT;
        Self { head_limit: head, sql_limit: sql, ring_size: None, propagate: PropagateArg::Off, python_tasks: false }
    }
}

impl CaptureArgs {
    /// How contexts are carried, as far as that does no harm here: says so where it would.
    fn propagation(&self) -> Result<Propagation, CaptureError> {
        match self.propagate {
            PropagateArg::Off => return Ok(Propagation::Off),
            PropagateArg::Tcp => return Ok(Propagation::Tcp),
            PropagateArg::HeadersForce => return Ok(Propagation::Headers),
            PropagateArg::Headers => {}
        }
        propagation::may_attach()?;
        let found = match sockhash::tells_what_waits() {
            Ok(true) => return Ok(Propagation::Headers),
            Ok(false) => sockhash::BROKEN.to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("syspan: {found}; no socket is touched and no context is sent: {}", sockhash::REMEDY);
        Ok(Propagation::Off)
    }

    fn limits(&self) -> Limits {
        Limits { head: self.head_limit, sql: self.sql_limit }
    }

    /// Size of the ring buffer, bytes. It holds what all CPUs do while the agent waits for one: about a tenth of a second at
    /// 100 000 system calls a second and CPU. All of it counts as the agent's memory, twice.
    fn ring_bytes(&self) -> u32 {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let default = u32::try_from(cpus).unwrap_or(32).saturating_mul(2).clamp(4, 64).next_power_of_two();
        self.ring_size.unwrap_or(default * MIB)
    }
}

impl Show {
    fn evidence(&self) -> Evidence {
        match self.evidence {
            EvidenceArg::Header => Evidence::Header,
            EvidenceArg::Socket => Evidence::Socket,
            EvidenceArg::Task => Evidence::Task,
            EvidenceArg::Handoff => Evidence::Handoff,
            EvidenceArg::Inferred => Evidence::Inferred,
        }
    }

    fn options(&self) -> protocols::Options {
        let mut options = protocols::Options {
            sql_text: match self.sql_text {
                SqlTextArg::Sanitized => SqlText::Sanitized,
                SqlTextArg::Raw => SqlText::Raw,
                SqlTextArg::Off => SqlText::Off,
            },
            returned_rows: self.returned_rows,
            trace_instrumented: self.sdk == SdkArg::Trace,
            http_headers: self.http_header.iter().map(|name| name.to_ascii_lowercase()).collect(),
            ..protocols::Options::default()
        };
        let methods = std::env::var("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS").unwrap_or_default();
        if !methods.is_empty() {
            options.http_methods = methods.split(',').map(|method| method.trim().to_owned()).collect();
        }
        options
    }
}

/// Runs the program; its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    log();
    let result = match command {
        Command::Run { select, capture, show, duration } => run::run(select.into(), &capture, &show, duration),
        Command::Exec { capture, show, command } => exec::exec(&capture, &show, &command),
        Command::Record { select, capture, output, duration } => {
            record::record(select.into(), &capture, &output, duration)
        }
        Command::Replay { file, show } => replay::replay(&file, &show),
        Command::Doctor { output } => doctor::doctor(output),
        Command::Check { select } => check::check(&select.into()),
    };
    result.unwrap_or_else(|error| {
        // Some sentences quote files and other programs.
        eprintln!("syspan: {}", harmless_lines(&error.to_string()));
        ExitCode::FAILURE
    })
}

/// A subcommand's failure, one sentence for the user.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Own messages go to standard error; `SYSPAN_LOG` chooses (default `warn`). The kernel programs' and libraries' `log` records come along.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SYSPAN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_log::LogTracer::init(); // only fails when a logger is set already
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .without_time()
            .finish(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_ring_buffer() {
        assert_eq!(ring_size("4"), Ok(4 * MIB));
        assert_eq!(ring_size("4MiB"), Ok(4 * MIB));
        assert_eq!(ring_size("64KiB"), Ok(64 * KIB));
        assert_eq!(ring_size("1024"), Ok(1024 * MIB));
        for bad in ["", "0", "3", "32KiB", "2048", "4 GiB", "-4", "4096MiB", "KiB"] {
            assert!(ring_size(bad).is_err(), "{bad}");
        }
    }
}
