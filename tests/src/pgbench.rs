//! pgbench, PostgreSQL's own load generator.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    postgres::{PROGRAMS, Postgres},
    statistics::{Round, percentiles},
};

/// Where pgbench connects to, and how it talks.
#[derive(Debug, Clone)]
pub struct Pgbench {
    environment: Vec<(String, String)>,
    protocol: &'static str,
}

impl Pgbench {
    /// Over TCP, by simple queries.
    #[must_use]
    pub fn tcp(postgres: &Postgres) -> Self {
        Self { environment: postgres.environment(), protocol: "simple" }
    }

    /// Over the Unix socket, by prepared statements.
    #[must_use]
    pub fn unix(postgres: &Postgres) -> Self {
        Self { environment: postgres.unix_environment(), protocol: "prepared" }
    }

    /// Creates pgbench's tables in the smallest scale.
    pub fn initialise(&self) -> Result<()> {
        self.output(&["--initialize", "--quiet", "--scale=1"], Path::new("/")).map(drop)
    }

    /// Runs transactions (an update, a select and an insert each) on four connections: as fast as possible, or so many
    /// a second. A failed transaction or a broken connection is an error.
    pub fn run(&self, duration: Duration, rate: Option<u32>) -> Result<Round> {
        let folder = TempDir::with_prefix("pgbench-")?;
        let mut arguments = vec!["--no-vacuum", "--builtin=simple-update", "--client=4", "--log"];
        let (time, protocol) = (format!("--time={}", duration.as_secs()), format!("--protocol={}", self.protocol));
        let rate = rate.map(|rate| format!("--rate={rate}"));
        arguments.extend([time.as_str(), protocol.as_str()]);
        arguments.extend(rate.as_deref());
        let text = self.output(&arguments, folder.path())?;
        let requests = transactions(&text).with_context(|| text.clone())?;
        let mut latencies = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            for line in fs::read_to_string(entry?.path())?.lines() {
                latencies.push(latency(line).with_context(|| line.to_owned())?);
            }
        }
        let (p50, p99) = percentiles(latencies).context("no transactions")?;
        Ok(Round { requests, p50, p99 })
    }

    fn output(&self, arguments: &[&str], folder: &Path) -> Result<String> {
        let output = Command::new(Path::new(PROGRAMS).join("pgbench"))
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(folder)
            .output()
            .context("pgbench could not be started; `cargo xtask setup` installs it")?;
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The number of transactions of pgbench's report, none of which may have failed.
fn transactions(report: &str) -> Result<u64> {
    let after = |prefix: &str| {
        let rest = report.lines().find_map(|line| line.strip_prefix(prefix));
        rest.and_then(|rest| rest.split_whitespace().next()).context(prefix.to_owned())
    };
    ensure!(after("number of failed transactions: ")? == "0", "failed transactions");
    Ok(after("number of transactions actually processed: ")?.parse()?)
}

/// The µs that a transaction took once it was begun, from a line of the log: client, number, latency, script, time (s, µs),
/// and with `--rate` how late it was begun, which the latency contains.
fn latency(line: &str) -> Option<f64> {
    let fields: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(fields.get(2)? - fields.get(6).unwrap_or(&0.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{latency, transactions};

    const REPORT: &str = "scaling factor: 1\nnumber of transactions actually processed: 812\n\
                          number of failed transactions: 0 (0.000%)\nlatency average = 1.2 ms\n";

    #[test]
    fn its_report_is_read() {
        assert_eq!(transactions(REPORT).unwrap(), 812);
        assert!(transactions(&REPORT.replace("transactions: 0", "transactions: 1")).is_err());
        assert!(transactions("").is_err());
    }

    #[test]
    fn latencies_of_the_log() {
        assert_eq!(latency("0 1 2412 0 1175850568 995598"), Some(2412.0));
        assert_eq!(latency("0 1 2412 0 1175850568 995598 412"), Some(2000.0));
        assert_eq!(latency("0 1 failed 0 1175850568 995598"), None);
    }
}
