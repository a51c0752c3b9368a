//! `cargo xtask test`: unit tests, end-to-end tests and lints, summed in one closing line.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    ops::AddAssign,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build, lint,
    setup::{self, Scope},
    steps, vm, workspace,
};

/// End-to-end tests run this many at a time: most start several servers and load them.
const PARALLEL: &str = "--test-threads=2";

/// What `test` can be told; without any of it, everything runs.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the unit tests
    #[arg(long, conflicts_with = "e2e")]
    unit: bool,
    /// Only the end-to-end tests whose name contains FILTER (all of them without one)
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = "")]
    e2e: Option<String>,
}

/// How many tests ended how.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs what the options name; an error if anything failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let privileged = setup::is_root();
    let end_to_end = !options.unit;
    setup::run(if end_to_end && privileged { Scope::Everything } else { Scope::Build })?;

    let mut counts = Counts::default();
    if options.e2e.is_none() {
        steps::say("Unit tests");
        counts += unit()?;
    }
    if end_to_end {
        let filter = options.e2e.as_deref().unwrap_or_default();
        counts += if privileged { e2e(filter)? } else { skipped_e2e(filter)? };
    }
    if options.e2e.is_none() && !options.unit {
        counts += if privileged { vm::test()? } else { vm::skipped() };
        for (name, passed) in lint::checks()? {
            println!("lint {name} ... {}", if passed { "ok" } else { "FAILED" });
            counts += Counts { passed: passed.into(), failed: (!passed).into(), skipped: 0 };
        }
    }
    println!("{counts}");
    if counts == Counts::default() {
        bail!("no test has such a name");
    }
    if counts.failed > 0 {
        bail!("{} tests or lints failed", counts.failed);
    }
    Ok(())
}

fn unit() -> Result<Counts> {
    let mut counts = libtest(setup::cargo()?.args(["test", "--no-fail-fast"]))?;
    for (package, programs) in [("syspan-tests", &["accuracy", "bench"][..]), ("syspan-fuzz", &[][..])] {
        let programs = programs.iter().flat_map(|program| ["--bin", program]);
        counts += libtest(setup::cargo()?.args(["test", "--package", package, "--lib"]).args(programs))?;
    }
    Ok(counts)
}

fn e2e(filter: &str) -> Result<Counts> {
    build::release()?;
    steps::say("End-to-end tests");
    let mut command = e2e_command()?;
    command.env("SYSPAN_BIN", workspace::agent());
    libtest(command.arg("--").arg(PARALLEL).args(filter_argument(filter)))
}

/// Without root no program can be loaded into the kernel: says which tests are left out, and counts them.
fn skipped_e2e(filter: &str) -> Result<Counts> {
    let output =
        e2e_command()?.args(["--", "--list"]).args(filter_argument(filter)).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Ok(Counts { failed: 1, ..Counts::default() });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for name in &names {
        println!("SKIPPED {name}: end-to-end tests need root (the agent loads eBPF programs)");
    }
    Ok(Counts { skipped: u64::try_from(names.len())?, ..Counts::default() })
}

fn e2e_command() -> Result<Command> {
    let mut command = setup::cargo()?;
    command.args(["test", "--package", "syspan-tests", "--test", "*", "--no-fail-fast"]);
    Ok(command)
}

fn filter_argument(filter: &str) -> Option<&str> {
    (!filter.is_empty()).then_some(filter)
}

/// Runs `cargo test`, shows its output and sums its result lines. A run that fails without a failed test (it did not
/// compile, or was killed) counts as one failure.
fn libtest(command: &mut Command) -> Result<Counts> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo could not be started")?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(more) = result_line(&line) {
                counts += more;
            }
        }
    }
    if !child.wait()?.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
fn result_line(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let (_verdict, numbers) = rest.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        let mut words = part.split_whitespace();
        if let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse), words.next()) {
            match word {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.skipped = number,
                _ => {}
            }
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::{Counts, result_line};

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 5 filtered out; finished in 3.10s";
        assert_eq!(result_line(line), Some(Counts { passed: 12, failed: 2, skipped: 1 }));
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["running 3 tests", "test parses ... ok", "", "    Finished `test` profile"] {
            assert_eq!(result_line(line), None, "{line}");
        }
    }

    #[test]
    fn the_sum_is_one_plain_line() {
        assert_eq!(Counts { passed: 3, failed: 0, skipped: 2 }.to_string(), "3 passed, 0 failed, 2 skipped");
    }
}
