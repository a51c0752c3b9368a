//! Running commands, with a line on the terminal for everything that takes a while.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// How many of its last lines a failed quiet command is shown with.
const SHOWN_LINES: usize = 40;

/// Says what happens next.
pub(crate) fn say(what: &str) {
    eprintln!("==> {what}");
}

/// Runs a command that reports its own progress.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{} could not be started", name(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", name(command));
    }
    Ok(())
}

/// Says what a command does, runs it with its output in `target/xtask/<log>.log`, and says how long it took. Should it
/// fail, the end of its output is shown.
pub(crate) fn run_quietly(what: &str, log: &str, command: &mut Command) -> Result<()> {
    say(what);
    let folder = workspace::target().join("xtask");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{log}.log"));
    let output = File::create(&path)?;
    let errors = output.try_clone()?;
    let started = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .status()
        .with_context(|| format!("{} could not be started", name(command)))?;
    if !status.success() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            eprintln!("    {line}");
        }
        bail!("{} failed ({status}); all of its output: {}", name(command), path.display());
    }
    eprintln!("    done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a program of this name is on the PATH.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
