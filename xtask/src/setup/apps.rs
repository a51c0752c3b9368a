//! What the test applications import, installed once in `target/apps` and again when a lock file has changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{steps, workspace};

/// Installs the Node and Python packages that tests/apps pins.
pub(crate) fn install() -> Result<()> {
    let sources = workspace::root().join("tests/apps");
    let apps = workspace::apps();

    let node = apps.join("node");
    when_changed(&sources.join("package-lock.json"), &node.join("installed.lock"), || {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(sources.join(file), node.join(file)).with_context(|| format!("tests/apps/{file}"))?;
        }
        steps::run_quietly(
            "Installing the Node packages of the test applications",
            "npm",
            Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&node),
        )
    })?;

    let python = apps.join("python");
    let requirements = sources.join("requirements.txt");
    when_changed(&requirements, &python.join("installed.lock"), || {
        virtual_environment(&python, "venv")?;
        steps::run_quietly(
            "Installing the Python packages of the test applications",
            "pip",
            pip(&python).arg("--requirement").arg(&requirements),
        )
    })
}

/// Installs one Python package's programs into `target/tools/python/bin`.
pub(crate) fn python_tool(requirement: &str) -> Result<()> {
    let folder = workspace::tools().join("python");
    if !folder.join("bin/python").exists() {
        virtual_environment(&folder, "venv-tools")?;
    }
    steps::run_quietly(&format!("Installing {requirement} with pip"), "pip-tool", pip(&folder).arg(requirement))
}

/// Runs `install` unless `installed` is a copy of `lock`, which it becomes afterwards.
fn when_changed(lock: &Path, installed: &PathBuf, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(lock).with_context(|| lock.display().to_string())?;
    if fs::read(installed).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    if let Some(folder) = installed.parent() {
        fs::create_dir_all(folder)?;
    }
    install()?;
    Ok(fs::write(installed, wanted)?)
}

fn virtual_environment(folder: &Path, log: &str) -> Result<()> {
    steps::run_quietly(
        &format!("Creating a Python virtual environment in {}", folder.display()),
        log,
        Command::new("python3").args(["-m", "venv"]).arg(folder),
    )
}

fn pip(environment: &Path) -> Command {
    let mut command = Command::new(environment.join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check"]);
    command
}
