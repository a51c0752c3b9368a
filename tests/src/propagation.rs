//! The client of tests/apps/propagation, which does what it is told on one connection and demands that every answer is right.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    network::{Network, SERVER},
    server::Server,
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

/// How many more acknowledgements may be late than without contexts, of the hundreds of rounds of the steps: a program that does not get to run
/// in time makes some late as well.
const MORE_LATE: u64 = 10;

/// Runs a client against a server (its port and process) in this thread's namespace, without and with contexts, in turns: no round of a
/// step waits for an acknowledgement that it did not wait for before. The time of a step would say the same, and that the machine is busy.
pub fn ensure_not_slowed(network: &Network, (port, pid): (u16, u32), steps: &[&str], propagate: &[&str]) -> Result<()> {
    let late = || anyhow::Ok(late_acknowledgements()? + network.on_client(late_acknowledgements)?);
    let run = |arguments: &[&str]| -> Result<u64> {
        let mut client = Client::start(&network.client(), SERVER, port, steps)?;
        let agent = Syspan::run(&[client.pid(), pid], arguments)?;
        client.connect()?;
        let before = late()?;
        client.begin()?;
        let times = client.end()?;
        let late = late()? - before;
        eprintln!("{arguments:?}: {late} late, {times:.3?} s");
        agent.stop()?;
        Ok(late)
    };
    // The fewest of some runs: what else the machine does only adds to them.
    let (mut without, mut with) = (u64::MAX, u64::MAX);
    for _ in 0..3 {
        without = without.min(run(&[])?);
        with = with.min(run(propagate)?);
    }
    ensure!(with <= without + MORE_LATE, "{with} acknowledgements were late, {without} without contexts");
    Ok(())
}

/// How many acknowledgements were sent in this network namespace because nothing went along with them in time (40 ms).
fn late_acknowledgements() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, numbers) = lines.next().zip(lines.next()).context("TcpExt")?;
    let mut pairs = names.split(' ').zip(numbers.split(' '));
    let (_, number) = pairs.find(|(name, _)| *name == "DelayedACKs").context("DelayedACKs")?;
    Ok(number.parse()?)
}
