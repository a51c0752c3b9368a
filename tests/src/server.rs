//! A child process that serves until the value is dropped.

use std::{
    fs::{self, File},
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait;

/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// How many of its last lines of output an unexpected end is reported with.
const SHOWN_LINES: usize = 30;

/// A server's process group. Dropping it stops the server; so does the end of the thread that started it, however it
/// ends.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    stop: Signal,
    log: PathBuf,
}

impl Server {
    /// Starts a server that stops at once on SIGTERM. Its output goes to `<folder>/<name>.log`.
    pub fn start(name: &str, folder: &Path, command: &Command) -> Result<Self> {
        Self::start_with(name, folder, command, Signal::TERM, None)
    }

    /// Starts a server that is stopped by another signal, or that must run as another user.
    pub fn start_with(name: &str, folder: &Path, command: &Command, stop: Signal, user: Option<&str>) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let errors = output.try_clone()?;
        let mut command = tied(command, stop, user);
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        Ok(Self { name: name.to_owned(), child, stop, log })
    }

    /// Process id; also that of its process group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file of its output, in the folder it was started with.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has written so far, standard output and error.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| self.log.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it has written this; fails with the server's last words should it end before.
    pub fn wait_for(&mut self, words: &str) -> Result<()> {
        self.wait_until(words, |server| Ok(server.output()?.contains(words)))
    }

    /// Waits until `probe` is true; fails with the server's last words should it end before.
    pub fn wait_until(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        wait::until(&format!("{}: {what}", self.name), wait::START, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.name, self.last_words());
            }
            Ok(probe(self)?.then_some(()))
        })
        .with_context(|| format!("{} said:\n{}", self.name, self.last_words()))
    }

    /// Waits until a TCP port of the loopback address accepts connections.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_until("its port", |_| Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))
    }

    /// Sends the stop signal to the server's first process, which ends the others, and waits.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.terminate()
    }

    /// Sends its first process a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.group()?, signal)?)
    }

    /// Kills the first process with SIGKILL and waits for its end.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Waits for an end that comes by itself.
    pub fn wait_for_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        wait::until(&format!("{} to end", self.name), timeout, || Ok(self.child.try_wait()?))
    }

    fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(self.group()?, self.stop)?;
        wait::until_ended(&format!("{} to stop", self.name), STOP, || Ok(self.child.try_wait()?))
    }

    fn group(&self) -> Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("process 0")
    }

    fn last_words(&self) -> String {
        let text = self.output().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to tell anyone about: whatever is left of the group is killed, and the first process reaped.
        let _ = self.terminate();
        if let Ok(group) = self.group() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The same command, run by `setpriv`, which asks the kernel to send the stop signal should the starting thread end
/// without stopping the server, and which changes the user.
fn tied(command: &Command, stop: Signal, user: Option<&str>) -> Command {
    let signal = if stop == Signal::QUIT { "QUIT" } else { "TERM" };
    let mut tied = Command::new("setpriv");
    if let Some(user) = user {
        tied.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    tied.args(["--pdeathsig", signal]).arg("--").arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(key, value),
            None => tied.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied
}
