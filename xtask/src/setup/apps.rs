//! What the test applications import, installed once in `target/apps` and again when a lock file has changed.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{steps, workspace};

/// Installs the Node and Python packages that tests/apps pins.
pub(crate) fn install() -> Result<()> {
    let sources = workspace::root().join("tests/apps");
    node_packages(&sources, "node", "the Node packages of the test applications")?;
    let sdk = "node-opentelemetry";
    node_packages(&sources.join(sdk), sdk, "OpenTelemetry's SDK for Node")?;

    let python = workspace::apps().join("python");
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

/// Installs what a folder's package-lock.json pins in `target/apps/<name>`.
fn node_packages(sources: &Path, name: &str, what: &str) -> Result<()> {
    let folder = workspace::apps().join(name);
    when_changed(&sources.join("package-lock.json"), &folder.join("installed.lock"), || {
        for file in ["package.json", "package-lock.json"] {
            let source = sources.join(file);
            fs::copy(&source, folder.join(file)).with_context(|| source.display().to_string())?;
        }
        steps::run_quietly(
            &format!("Installing {what}"),
            "npm",
            Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder),
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

/// Runs `install` unless `installed` has the contents of `lock`, a file or a folder, which it has afterwards.
pub(super) fn when_changed(lock: &Path, installed: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = contents(lock).with_context(|| lock.display().to_string())?;
    if fs::read(installed).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    if let Some(folder) = installed.parent() {
        fs::create_dir_all(folder)?;
    }
    install()?;
    Ok(fs::write(installed, wanted)?)
}

/// A file's bytes; of a folder, the names and bytes of all files below.
fn contents(path: &Path) -> Result<Vec<u8>> {
    if !path.is_dir() {
        return Ok(fs::read(path)?);
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    let mut all = Vec::new();
    for entry in entries {
        all.extend_from_slice(format!("\n{}\n", entry.file_name().unwrap_or_default().display()).as_bytes());
        all.extend(contents(&entry)?);
    }
    Ok(all)
}

fn virtual_environment(folder: &Path, log: &str) -> Result<()> {
    steps::run_quietly(
        &format!("Creating a Python virtual environment in {}", folder.display()),
        log,
        Command::new("python3").args(["-m", "venv"]).arg(folder),
    )
}

pub(super) fn pip(environment: &Path) -> Command {
    let mut command = Command::new(environment.join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check"]);
    command
}
