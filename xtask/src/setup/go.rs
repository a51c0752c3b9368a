//! The test applications that are written in Go, built in `target/apps/go` with the machine's own Go.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{steps, workspace};

/// Builds every folder tests/apps/go-*; what has not changed, Go takes from its cache.
pub(crate) fn build() -> Result<()> {
    let sources = workspace::root().join("tests/apps");
    for entry in std::fs::read_dir(&sources).with_context(|| sources.display().to_string())? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("go-") && folder.join("go.mod").exists() {
            program(&folder, &name)?;
        }
    }
    Ok(())
}

fn program(folder: &Path, name: &str) -> Result<()> {
    let program = workspace::apps().join("go").join(name);
    let mut command = Command::new("go");
    // Without C they run on any machine.
    command.args(["build", "-o"]).arg(program).arg(".").current_dir(folder).env("CGO_ENABLED", "0");
    steps::run_quietly(&format!("Building the test application {name}"), name, &mut command)
}
