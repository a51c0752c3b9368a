//! `cargo xtask vm`: the agent under other kernels, in virtual machines. What runs in them is tests/vm.

mod initramfs;
mod kernels;
mod machine;
mod page;
mod report;
mod table;

use std::{fmt, path::Path};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use kernels::{KERNELS, Kernel};
use report::{Report, Test};

use crate::{
    build,
    setup::{self, Scope},
    steps,
    test::Counts,
    workspace,
};

/// What `vm` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which kernel
    #[arg(long, default_value = ALL, value_parser = names())]
    kernel: String,
    /// Fetch the kernels again: there may be newer ones
    #[arg(long)]
    refresh: bool,
}

const ALL: &str = "all";

/// The kernel of every `cargo xtask test`: the oldest, whose verifier is the strictest.
const TESTED: &str = "5.10";

fn names() -> PossibleValuesParser {
    KERNELS.iter().map(|kernel| kernel.name).chain([ALL]).collect::<Vec<_>>().into()
}

/// What became of a kernel.
struct Run {
    kernel: &'static Kernel,
    outcome: Outcome,
}

enum Outcome {
    /// It booted and told all.
    Ran(Report),
    /// The machine did not get to its end, and why.
    Failed(String),
    /// There is no such kernel here, and why.
    Skipped(String),
}

/// Runs the kernels that the options name; an error if anything failed. With all of them, writes docs/kernels.md.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(Scope::Everything)?;
    let agent = build::agent()?;
    let all = options.kernel == ALL;
    let chosen = |kernel: &&Kernel| all || kernel.name == options.kernel;
    if options.refresh {
        KERNELS.iter().filter(chosen).try_for_each(Kernel::forget)?;
    }
    let runs = boot(KERNELS.iter().filter(chosen), &agent)?;
    println!("\n{}", table::markdown(&runs));
    if all {
        page::write(&runs)?;
    }
    let counts = counts(&runs);
    println!("{counts}");
    if counts.failed > 0 {
        bail!("{} failed under other kernels", counts.failed);
    }
    Ok(())
}

/// The part of `cargo xtask test`, set-up and build done.
pub(crate) fn test() -> Result<Counts> {
    let runs = boot(KERNELS.iter().filter(|kernel| kernel.name == TESTED), &workspace::agent())?;
    Ok(counts(&runs))
}

/// Without root neither the agent is built for it nor QEMU installed.
pub(crate) fn skipped() -> Counts {
    println!("SKIPPED kernel {TESTED}: only root can install what it needs, and the end-to-end build is not made");
    Counts { skipped: 1, ..Counts::default() }
}

fn boot(kernels: impl Iterator<Item = &'static Kernel>, agent: &Path) -> Result<Vec<Run>> {
    steps::say("Building what runs in the virtual machines");
    steps::run(setup::cargo()?.args(["build", "--quiet", "--package", "syspan-tests", "--bin", "guest"]))?;
    let initramfs = initramfs::build(agent, &workspace::target().join("debug/guest"))?;
    let mut runs = Vec::new();
    for kernel in kernels {
        let outcome = match kernel.image() {
            Err(error) => Outcome::Skipped(format!("{error:#}")),
            Ok(image) => {
                steps::say(&format!("Booting Debian's kernel of {} ({})", kernel.suite, kernel.name));
                match machine::boot(kernel.name, &image, &initramfs) {
                    Ok(report) => Outcome::Ran(report),
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                }
            }
        };
        let run = Run { kernel, outcome };
        print!("{run}");
        runs.push(run);
    }
    Ok(runs)
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kernel.name;
        match &self.outcome {
            Outcome::Skipped(reason) => writeln!(f, "SKIPPED kernel {name}: {reason}"),
            Outcome::Failed(reason) => writeln!(f, "kernel {name} ... FAILED: {reason}"),
            Outcome::Ran(report) => {
                for Test { name: what, seconds, runs, error } in report.tests() {
                    let verdict = if error.is_some() { "FAILED" } else { "ok" };
                    let runs = if runs == 1 { String::new() } else { format!(", run {runs}") };
                    writeln!(f, "kernel {name}: {what} ... {verdict} ({seconds:.1} s{runs})")?;
                    if let Some(error) = error {
                        writeln!(f, "    {}", error.replace('\n', "\n    "))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A kernel that is not there, or a machine that did not get to its end, counts as one.
fn counts(runs: &[Run]) -> Counts {
    let mut counts = Counts::default();
    for run in runs {
        match &run.outcome {
            Outcome::Skipped(_) => counts.skipped += 1,
            Outcome::Failed(_) => counts.failed += 1,
            Outcome::Ran(report) => {
                for test in report.tests() {
                    *if test.error.is_some() { &mut counts.failed } else { &mut counts.passed } += 1;
                }
            }
        }
    }
    counts
}
