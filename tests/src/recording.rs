//! `syspan record`, and the bytes in a recording (docs/recording.md).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use tempfile::TempDir;

use crate::{server::Server, syspan};

/// A running `syspan record`.
#[derive(Debug)]
pub struct Recorder {
    server: Server,
    folder: TempDir,
}

impl Recorder {
    /// Starts it with these arguments; returns once it is ready.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("recorder-")?;
        let mut command = Command::new(syspan::program());
        command.arg("record").args(arguments).arg("--output").arg(folder.path().join("recording"));
        let mut server = Server::start("syspan", folder.path(), &command)?;
        server.wait_for("syspan: ready")?;
        Ok(Self { server, folder })
    }

    /// What it has said so far.
    pub fn messages(&self) -> Result<String> {
        self.server.output()
    }

    /// What is in the file so far: the last events may be missing.
    pub fn so_far(&self) -> Result<Recording> {
        let text = fs::read_to_string(self.path())?;
        // The last line may be half written.
        Recording::read(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
    }

    /// Ends it and reads everything.
    pub fn stop(self) -> Result<Recording> {
        Recording::read(&self.end(fs::read_to_string)?)
    }

    /// Ends it and copies the file.
    pub fn keep(self, file: &Path) -> Result<()> {
        self.end(|path| fs::copy(path, file))?;
        Ok(())
    }

    fn end<T>(self, take: impl FnOnce(PathBuf) -> std::io::Result<T>) -> Result<T> {
        let path = self.path();
        let Self { server, folder: _folder } = self;
        ensure!(server.stop()?.success(), "syspan record failed");
        Ok(take(path)?)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("recording")
    }
}

/// A recording.
#[derive(Debug)]
pub struct Recording {
    /// Its events.
    pub events: Vec<Value>,
}

impl Recording {
    fn read(text: &str) -> Result<Self> {
        let event = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
        Ok(Self { events: text.lines().map(event).collect::<Result<_>>()? })
    }

    /// Everything in it: the events as they are written, and their bytes as text.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        for event in &self.events {
            text.push_str(&format!("{event}\n{}\n", bytes(event)?));
        }
        Ok(text)
    }

    /// The contexts of requests that have a span's id, by direction and by who moved their bytes: position, trace id and span id.
    #[must_use]
    pub fn contexts(&self, direction: &str, pid: Option<u32>) -> Vec<(u32, String)> {
        let of = |event: &Value| {
            let text = |name: &str| event.get(name)?.as_str().map(str::to_owned);
            let of_pid = event.pointer("/task/pid")?.as_u64()?;
            let is_one = text("event")? == "context"
                && text("direction")? == direction
                && pid.is_none_or(|pid| u64::from(pid) == of_pid);
            let position = u32::try_from(event.get("position")?.as_u64()?).ok()?;
            is_one.then_some((position, text("trace_id")? + &text("span_id")?))
        };
        self.events.iter().filter_map(of).collect()
    }

    /// The `data` events, in the order of [`Recording::captured`].
    pub fn data(&self) -> Result<Vec<&Value>> {
        Ok(self
            .events
            .iter()
            .filter(|event| event["event"] == "data" && event.pointer("/task/pid").is_some())
            .collect())
    }

    /// How much of a cause was lost.
    #[must_use]
    pub fn lost(&self, cause: &str) -> u64 {
        let lost = self.events.iter().filter(|event| event["event"] == "lost" && event["cause"] == cause);
        lost.filter_map(|event| event["count"].as_u64()).sum()
    }

    /// The bytes of each `data` event, as text, with the process id of who moved them.
    pub fn captured(&self) -> Result<Vec<(u64, String)>> {
        let pid = |event: &Value| event.pointer("/task/pid").and_then(Value::as_u64).context("no process");
        self.of_kind("data").map(|event| Ok((pid(event)?, bytes(event)?))).collect()
    }

    /// Its events of a kind, in their order.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event.get("event").is_some_and(|found| found == kind))
    }
}

/// The bytes of a `data` event, as text.
pub fn bytes(event: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    for part in ["head", "tail"] {
        bytes.extend(BASE64_STANDARD.decode(event.get(part).and_then(Value::as_str).unwrap_or_default())?);
        bytes.push(b'\n');
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
