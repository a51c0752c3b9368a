//! The only build driver: `cargo xtask setup|build|test|lint|vm|demo|accuracy|bench|fuzz|soak`.

mod accuracy;
mod bench;
mod build;
mod demo;
mod fuzz;
mod links;
mod lint;
mod setup;
mod soak;
mod steps;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows syspan; installs what that needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install everything that building and testing needs and that is missing
    Setup,
    /// Build the agent: target/release/syspan
    Build,
    /// Unit tests, end-to-end tests and lints, with one line at the end that sums them
    Test(test::Options),
    /// Formatting, clippy, dependency rules, spelling and links
    Lint,
    /// The agent under other kernels, in virtual machines: writes docs/kernels.md when it was told `--kernel all`
    Vm(vm::Options),
    /// A small shop, traced: ends with the trace that shows its forgotten N+1 query
    Demo(demo::Options),
    /// How many parents are right: writes docs/accuracy.md
    Accuracy(accuracy::Options),
    /// What tracing costs: writes docs/benchmarks.md
    Bench(bench::Options),
    /// An hour of load with the agent beside it: does it grow, does it harm? Writes target/soak/report.md
    Soak(soak::Options),
    /// Hostile bytes: runs the fuzz targets of fuzz/, and fails if one finds something
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup => setup::run(setup::Scope::Everything),
        Command::Build => build::run(),
        Command::Test(options) => test::run(&options),
        Command::Lint => lint::run(),
        Command::Vm(options) => vm::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Accuracy(options) => accuracy::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
