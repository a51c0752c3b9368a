//! The agent under test.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    otlp::{self, Span},
    server::Server,
    wait,
};

/// The agent's program: `SYSPAN_BIN`, else the release build.
#[must_use]
pub fn program() -> PathBuf {
    std::env::var_os("SYSPAN_BIN").map_or_else(|| crate::target().join("release/syspan"), PathBuf::from)
}

/// The agent's program, run by another command that is given it as arguments; by itself without one.
#[must_use]
pub fn launched(launcher: &[String]) -> Command {
    let Some((first, rest)) = launcher.split_first() else { return Command::new(program()) };
    let mut command = Command::new(first);
    command.args(rest).arg(program());
    command
}

/// A command under `syspan exec` that takes longer hangs.
const EXEC_LIMIT: Duration = Duration::from_secs(120);

/// A `syspan run` whose probes are attached.
#[derive(Debug)]
pub struct Syspan {
    server: Server,
    folder: TempDir,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The spans of `--output otlp-json`.
    pub spans: Vec<Span>,
    /// The loss counters that are not zero.
    pub losses: BTreeMap<String, u64>,
    /// Standard error.
    pub messages: String,
}

impl Outcome {
    /// Asserts that all loss counters are zero.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        assert!(self.losses.is_empty(), "{:?}", self.losses);
    }
}

impl Syspan {
    /// `syspan run --output otlp-json` for the processes and with further arguments; returns once it is ready.
    pub fn run(pids: &[u32], arguments: &[&str]) -> Result<Self> {
        Self::start(&[&["--output", "otlp-json"], arguments].concat(), pids, &[])
    }

    /// The same, run by another command that is given it as arguments (`setpriv …`).
    pub fn run_by(launcher: &[String], pids: &[u32], arguments: &[&str]) -> Result<Self> {
        Self::start_by(&launched(launcher), &[&["--output", "otlp-json"], arguments].concat(), pids, &[])
    }

    /// `syspan run` with exactly these arguments and environment, and a `--pid` for each process; returns once it is
    /// ready.
    pub fn start(arguments: &[&str], pids: &[u32], environment: &[(&str, String)]) -> Result<Self> {
        Self::start_by(&Command::new(program()), arguments, pids, environment)
    }

    /// The same of another program, which may be one that starts the agent in its own way.
    pub fn start_by(
        program: &Command,
        arguments: &[&str],
        pids: &[u32],
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let folder = TempDir::with_prefix("syspan-")?;
        // Spans go to a file, which never makes the agent wait for a reader; messages are the server's log.
        let spans = folder.path().join("spans");
        File::create(&spans)?;
        let mut command = Command::new("sh");
        command.args(["-c", "out=$1; shift; exec \"$@\" > \"$out\"", "sh"]).arg(&spans);
        command.arg(program.get_program()).args(program.get_args());
        command.arg("run").args(arguments).envs(environment.iter().cloned());
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        let mut server = Server::start("syspan", folder.path(), &command)?;
        server
            .wait_until("ready", |server| Ok(server.output()?.lines().any(|line| line.starts_with("syspan: ready"))))?;
        Ok(Self { server, folder })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What it has printed on standard output so far.
    pub fn printed(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("spans"))?)
    }

    /// SIGTERM: demands exit status 0 and reads the spans that were printed.
    pub fn stop(self) -> Result<Outcome> {
        let (printed, messages) = self.stop_unread()?;
        Ok(Outcome { spans: otlp::read(&printed)?, losses: losses(&messages)?, messages })
    }

    /// SIGTERM: demands exit status 0 and returns standard output and standard error.
    pub fn stop_unread(self) -> Result<(String, String)> {
        let Self { server, folder } = self;
        let status = server.stop()?;
        let messages = fs::read_to_string(folder.path().join("syspan.log"))?;
        ensure!(status.success(), "syspan ended with {status}:\n{messages}");
        Ok((fs::read_to_string(folder.path().join("spans"))?, messages))
    }

    /// Waits for an end that comes by itself: demands exit status 0 and reads the spans that were printed.
    pub fn wait(self) -> Result<Outcome> {
        let Self { mut server, folder } = self;
        let status = server.wait_for_end(wait::START)?;
        let messages = server.output()?;
        ensure!(status.success(), "syspan ended with {status}:\n{messages}");
        let printed = fs::read_to_string(folder.path().join("spans"))?;
        Ok(Outcome { spans: otlp::read(&printed)?, losses: losses(&messages)?, messages })
    }

    /// Waits for the end that something else brings about, and says how it ended.
    pub fn wait_for_end(mut self) -> Result<ExitStatus> {
        self.server.wait_for_end(wait::START)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.server.signal(signal)
    }

    /// SIGKILL.
    pub fn kill(self) -> Result<()> {
        self.server.kill()?;
        Ok(())
    }
}

/// `syspan exec` with these options and a silent command: demands that both succeed and reads the spans.
pub fn exec(options: &[&str], command: &Command) -> Result<Outcome> {
    let output = exec_output(options, command)?;
    let messages = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "syspan exec ended with {}:\n{messages}", output.status);
    Ok(Outcome { spans: otlp::read(&String::from_utf8(output.stdout)?)?, losses: losses(&messages)?, messages })
}

/// `syspan exec` with these options and command, to its end.
pub fn exec_output(options: &[&str], command: &Command) -> Result<Output> {
    let mut exec = Command::new("timeout");
    exec.arg(EXEC_LIMIT.as_secs().to_string()).arg(program()).arg("exec").args(options);
    exec.arg("--").arg(command.get_program()).args(command.get_args());
    exec.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    exec.output().with_context(|| program().display().to_string())
}

/// `syspan replay` of a file: demands success and reads the spans, in the order in which they began.
pub fn replay(file: &Path, options: &[&str]) -> Result<Outcome> {
    let file = file.to_str().context("path")?;
    let output = output(&[&["replay", file, "--output", "otlp-json"], options].concat())?;
    let messages = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "syspan replay ended with {}:\n{messages}", output.status);
    let mut spans = otlp::read(&String::from_utf8(output.stdout)?)?;
    spans.sort_by_key(|span| span.start);
    Ok(Outcome { spans, losses: losses(&messages)?, messages })
}

/// Runs the agent to its end: for runs that are refused at once, or are limited by `--duration`.
pub fn output(arguments: &[&str]) -> Result<Output> {
    // A run that should have been refused must not go on for ever.
    let limit = Duration::from_secs(120);
    Command::new("timeout")
        .arg(limit.as_secs().to_string())
        .arg(program())
        .args(arguments)
        .output()
        .with_context(|| program().display().to_string())
}

/// A sum: all there were of a thing, and the parts by name.
pub type Sum = (u64, BTreeMap<String, u64>);

/// The sums that a run with losses ends with, of `transfers`, `requests` and `spans`. Demands that each is right.
pub fn accounts(messages: &str) -> Result<BTreeMap<String, Sum>> {
    let line = messages.lines().rev().find_map(|line| line.strip_prefix("syspan: accounts: "));
    let line = line.with_context(|| format!("no accounts in:\n{messages}"))?;
    let counted = |text: &str| -> Result<(String, u64)> {
        let (number, name) = text.split_once(' ').with_context(|| format!("not a number and a name: {text}"))?;
        Ok((name.to_owned(), number.parse().with_context(|| text.to_owned())?))
    };
    let mut accounts = BTreeMap::new();
    for sum in line.split("; ") {
        let (all, parts) = sum.split_once(" = ").with_context(|| format!("not a sum: {sum}"))?;
        let (name, all) = counted(all)?;
        let parts: BTreeMap<_, _> = parts.split(" + ").map(counted).collect::<Result<_>>()?;
        ensure!(all == parts.values().sum::<u64>(), "{sum} is wrong");
        let plural = if name.ends_with('s') { name } else { format!("{name}s") };
        accounts.insert(plural, (all, parts));
    }
    Ok(accounts)
}

/// The number of spans of the closing line `syspan: 12345 spans` or `syspan: 12345 spans, nothing lost`.
pub fn spans(messages: &str) -> Result<u64> {
    messages
        .lines()
        .rev()
        .find_map(|line| {
            let (number, rest) = line.strip_prefix("syspan: ")?.split_once(' ')?;
            rest.starts_with("span").then(|| number.parse().ok())?
        })
        .with_context(|| format!("no number of spans in:\n{messages}"))
}

/// The loss counters of the closing line `syspan: 3 spans, nothing lost`, or `syspan: not captured or lost: ring_full 7, gap 2`.
pub fn losses(messages: &str) -> Result<BTreeMap<String, u64>> {
    const LOST: &str = "syspan: not captured or lost: ";
    let line = messages
        .lines()
        .rev()
        .find(|line| line.starts_with(LOST) || (line.starts_with("syspan: ") && line.ends_with(", nothing lost")))
        .with_context(|| format!("no loss counters in:\n{messages}"))?;
    let Some(causes) = line.strip_prefix(LOST) else {
        return Ok(BTreeMap::new());
    };
    causes
        .split(", ")
        .map(|cause| {
            let (name, count) = cause.split_once(' ').with_context(|| format!("not a cause and a count: {cause}"))?;
            Ok((name.to_owned(), count.parse().with_context(|| cause.to_owned())?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{accounts, losses, spans};

    #[test]
    fn the_accounts_are_read_and_added_up() {
        let text = "syspan: 1 span\nsyspan: accounts: 7 transfers = 5 seen + 2 ring_full; 1 span = 1 exported\n";
        let found = accounts(text).unwrap();
        assert_eq!(found.get("transfers"), Some(&(7, [("ring_full".into(), 2), ("seen".into(), 5)].into())));
        assert_eq!(found.get("spans"), Some(&(1, [("exported".into(), 1)].into())));
        assert!(accounts("syspan: accounts: 7 transfers = 5 seen + 1 ring_full").is_err());
        assert!(accounts("syspan: 1 span, nothing lost").is_err());
    }

    #[test]
    fn the_closing_line_tells_the_losses() {
        let text = "syspan: ready (1 process)\nsyspan: 5 spans\nsyspan: not captured or lost: ring_full 7, gap 1\n";
        let expected = [("gap".to_owned(), 1), ("ring_full".to_owned(), 7)];
        assert_eq!(losses(text).unwrap(), expected.into());
        assert!(losses("syspan: 1 span, nothing lost\n").unwrap().is_empty());
        assert_eq!(spans(text).unwrap(), 5);
        assert_eq!(spans("syspan: 1 span, nothing lost\n").unwrap(), 1);
        assert!(losses("syspan: ready (1 process)\n").is_err());
    }
}
