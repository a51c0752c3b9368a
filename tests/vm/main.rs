//! What runs inside the virtual machines of `cargo xtask vm`: the first process, the traced service, and the scenarios.
//! It is the same program for every kernel.

mod database;
mod handoff;
mod init;
mod orders;
mod report;
mod scenarios;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Without a subcommand it is the machine's first process.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The traced service: HTTP in, PostgreSQL out, a thread for each connection
    Orders {
        /// It listens on this port of 127.0.0.1 and ::1
        #[arg(long)]
        port: u16,
        /// PostgreSQL's port on 127.0.0.1
        #[arg(long)]
        database: u16,
        /// PostgreSQL's Unix socket
        #[arg(long)]
        database_socket: PathBuf,
    },
    /// The service of two threads
    Handoff {
        /// It listens on this port of 127.0.0.1
        #[arg(long)]
        port: u16,
    },
    /// Examines the kernel and runs the scenarios, with a line of the report for each
    Scenarios,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        None => init::run(),
        Some(Command::Orders { port, database, database_socket }) => orders::serve(port, database, &database_socket),
        Some(Command::Handoff { port }) => handoff::serve(port),
        Some(Command::Scenarios) => scenarios::run(),
    }
}
