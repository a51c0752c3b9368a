//! wrk, and what it says.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

/// Connections that wrk keeps busy, with one thread: more than an application can serve at once, fewer than its pool.
const CONNECTIONS: &str = "-c16";

/// The same where each connection pauses between its requests: 400 requests a second at most.
const PACED_CONNECTIONS: &str = "-c4";

/// An answer that takes longer is a failed request. wrk's own 2 s are not enough where the machine is busy.
const TIMEOUT: &str = "--timeout=30s";

/// What one run of wrk measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Answers.
    pub requests: u64,
    /// Answers a second.
    pub requests_per_second: f64,
    /// Median of the latency, µs.
    pub p50: f64,
    /// 99th percentile of the latency, µs.
    pub p99: f64,
}

/// Loads a URL as fast as it answers. An answer that is not 2xx, or a broken connection, is an error.
pub fn run(url: &str, duration: Duration) -> Result<Load> {
    finish(Command::new("wrk").arg(CONNECTIONS), url, duration)
}

/// The same with tests/apps/wrk/paced.lua's pause between the requests of a connection.
pub fn run_paced(url: &str, duration: Duration) -> Result<Load> {
    let script = crate::sources().join("apps/wrk/paced.lua");
    finish(Command::new("wrk").arg(PACED_CONNECTIONS).arg("--script").arg(script), url, duration)
}

fn finish(command: &mut Command, url: &str, duration: Duration) -> Result<Load> {
    let output = command
        .args(["-t1", TIMEOUT, "--latency", &format!("-d{}s", duration.as_secs())])
        .arg(url)
        .output()
        .context("wrk could not be started; `cargo xtask setup` installs it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk {url}: {}{text}", String::from_utf8_lossy(&output.stderr));
    parse(&text).with_context(|| format!("wrk {url}:\n{text}"))
}

fn parse(text: &str) -> Result<Load> {
    let lines = || text.lines().map(str::trim);
    let failed = |line: &str| line.starts_with("Non-2xx") || line.starts_with("Socket errors");
    ensure!(!lines().any(failed), "failed requests");
    let after = |prefix: &str| lines().find_map(|line| line.strip_prefix(prefix)).context(prefix.to_owned());
    let requests = lines()
        .find_map(|line| line.split_once(" requests in ").map(|(number, _)| number))
        .context("no number of requests")?;
    Ok(Load {
        requests: requests.parse()?,
        requests_per_second: after("Requests/sec:")?.trim().parse()?,
        p50: microseconds(after("50%")?.trim())?,
        p99: microseconds(after("99%")?.trim())?,
    })
}

/// `812.00us`, `1.23ms`, `2.00s`
fn microseconds(text: &str) -> Result<f64> {
    let (number, factor) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .into_iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, factor)))
        .with_context(|| format!("not a duration: {text}"))?;
    Ok(number.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Load, parse};

    const REPORT: &str = "Running 2s test @ http://127.0.0.1:1/hello
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.98ms  701.29us  20.80ms   93.79%
    Req/Sec     8.16k     1.07k    9.27k    85.00%
  Latency Distribution
     50%    1.81ms
     75%    2.05ms
     90%    2.51ms
     99%    4.44ms
  16243 requests in 2.00s, 3.72MB read
Requests/sec:   8119.65
Transfer/sec:      1.86MB
";

    #[test]
    fn its_report_is_read() {
        let expected = Load { requests: 16_243, requests_per_second: 8_119.65, p50: 1_810.0, p99: 4_440.0 };
        assert_eq!(parse(REPORT).unwrap(), expected);
    }

    #[test]
    fn failed_requests_are_no_measurement() {
        assert!(parse(&format!("{REPORT}  Non-2xx or 3xx responses: 16243\n")).is_err());
        assert!(parse(&format!("{REPORT}  Socket errors: connect 0, read 3, write 0, timeout 0\n")).is_err());
        assert!(parse("").is_err());
    }
}
