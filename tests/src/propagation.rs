//! The client of tests/apps/propagation, which does what it is told on one connection and demands that every answer is right.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    network::{Network, SERVER},
    server::Server,
    statistics::percentiles,
    syspan::Syspan,
    wait,
};

/// A client of tests/apps/propagation that is connected, or waits to be let.
#[derive(Debug)]
pub struct Client {
    server: Server,
    folder: TempDir,
}

impl Client {
    /// Starts one in a namespace, which does these steps when it is told to.
    pub fn start(launcher: &[&str], address: &str, port: u16, steps: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("client-")?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "until [ -e \"$0\" ]; do sleep 0.02; done; exec \"$@\""])
            .arg(folder.path().join("connect"));
        command.args(launcher).arg("/usr/bin/python3");
        command.arg(crate::sources().join("apps/propagation/client.py"));
        command.args([address, &port.to_string()]).arg(folder.path().join("begin")).args(steps);
        Ok(Self { server: Server::start("client", folder.path(), &command)?, folder })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Lets it connect.
    pub fn connect(&mut self) -> Result<()> {
        fs::write(self.folder.path().join("connect"), "")?;
        self.server.wait_for("connected")
    }

    /// Tells it to begin with its steps.
    pub fn begin(&self) -> Result<()> {
        Ok(fs::write(self.folder.path().join("begin"), "")?)
    }

    /// What each step took, in seconds. Demands that every answer was right.
    pub fn end(&mut self) -> Result<Vec<f64>> {
        let status = self.server.wait_for_end(wait::START)?;
        let output = self.server.output()?;
        ensure!(status.success(), "the client ended with {status}: {output}");
        output.lines().skip(1).map(|line| Ok(line.parse()?)).collect()
    }
}

/// How many times as long something may take that a delayed acknowledgement, of 40 ms, would make take dozens of times as long; the
/// rest is noise.
const SLOWER: f64 = 3.0;

/// Runs a client against a server (its port and process) without and with contexts, in turns: no step takes longer.
pub fn ensure_not_slowed(network: &Network, (port, pid): (u16, u32), steps: &[&str], propagate: &[&str]) -> Result<()> {
    let run = |arguments: &[&str]| -> Result<Vec<f64>> {
        let mut client = Client::start(&network.client(), SERVER, port, steps)?;
        let agent = Syspan::run(&[client.pid(), pid], arguments)?;
        client.connect()?;
        client.begin()?;
        let times = client.end()?;
        agent.stop()?;
        Ok(times)
    };
    let (mut without, mut with) = (vec![Vec::new(); steps.len()], vec![Vec::new(); steps.len()]);
    for _ in 0..3 {
        for (times, arguments) in [(&mut without, &[][..]), (&mut with, propagate)] {
            for (times, time) in times.iter_mut().zip(run(arguments)?) {
                times.push(time);
            }
        }
    }
    for ((step, without), with) in steps.iter().zip(&without).zip(&with) {
        let median = |times: &[f64]| Some(percentiles(times.to_vec())?.0);
        let (before, after) = median(without).zip(median(with)).context("no run")?;
        let ratio = after / before;
        eprintln!("{step}: {:.1} ms without, {:.1} ms with, {ratio:.2}", before * 1e3, after * 1e3);
        ensure!(ratio < SLOWER, "{step}: {without:?} {with:?}");
    }
    Ok(())
}
