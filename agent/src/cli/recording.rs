//! Recordings: JSON Lines, one event a line (docs/recording.md).

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, BufRead, BufWriter, Read, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::event::{Event, RECORDING_VERSION};

/// Longest line that is read: an event carries at most 32 KiB of payload, more than doubled by base64 and names.
const LINE_LIMIT: u64 = 1024 * 1024;

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each has its sentence")]
pub enum RecordingError {
    #[error("{path} cannot be {what}: {source}")]
    File { path: String, what: &'static str, source: io::Error },
    #[error("{path}, line {line}: this is no event of a recording: {source}; docs/recording.md describes the format")]
    Line { path: String, line: u64, source: serde_json::Error },
    #[error("{path}, line {line} is longer than {LINE_LIMIT} bytes: this is no recording")]
    TooLong { path: String, line: u64 },
    #[error(
        "{path} is no recording: its first line must be the start event; nor is it a pcap or pcapng file. Record one with `syspan record -o FILE`"
    )]
    NoStart { path: String },
    #[error(
        "{path} was recorded in format {version}, this syspan reads format {RECORDING_VERSION}: use the syspan that wrote it"
    )]
    Version { path: String, version: u32 },
}

/// Writes a recording.
pub(super) struct Writer {
    path: String,
    out: BufWriter<File>,
}

impl Writer {
    /// A new file, readable by its owner alone: it holds what was sent. What is no file (a device, a pipe) keeps its mode.
    pub(super) fn create(path: &Path) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            // The mode above is for a new file only.
            .and_then(|file| {
                if file.metadata()?.is_file() {
                    file.set_permissions(Permissions::from_mode(0o600))?;
                }
                Ok(file)
            })
            .map_err(|source| RecordingError::File { path: name.clone(), what: "written", source })?;
        Ok(Self { path: name, out: BufWriter::new(file) })
    }

    /// Appends an event.
    pub(super) fn write(&mut self, event: &Event) -> Result<(), RecordingError> {
        serde_json::to_writer(&mut self.out, event)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|source| self.failed(source))
    }

    /// Writes out what is buffered.
    pub(super) fn finish(mut self) -> Result<(), RecordingError> {
        self.out.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RecordingError {
        RecordingError::File { path: self.path.clone(), what: "written", source }
    }
}

/// The events of a recording that is called `name` in errors; nothing comes after an error.
pub fn read(name: &str, input: impl BufRead + 'static) -> impl Iterator<Item = Result<Event, RecordingError>> {
    let mut reader = Some(Reader::new(name.to_owned(), Box::new(input)));
    std::iter::from_fn(move || {
        let event = reader.as_mut()?.next();
        if event.is_err() {
            reader = None;
        }
        event.transpose()
    })
}

/// Reads a recording, line by line.
pub(super) struct Reader {
    path: String,
    input: Box<dyn BufRead>,
    line: u64,
    buffer: Vec<u8>,
    /// The start event was read.
    started: bool,
}

impl Reader {
    /// A recording from its beginning; `path` is for messages.
    pub(super) fn new(path: String, input: Box<dyn BufRead>) -> Self {
        Self { path, input, line: 0, buffer: Vec::new(), started: false }
    }

    /// The next event; `None` at the end. The first is always [`Event::Start`]. A last line that was cut off, because
    /// whoever wrote it was killed, is left out.
    pub(super) fn next(&mut self) -> Result<Option<Event>, RecordingError> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let read = self
                .input
                .by_ref()
                .take(LINE_LIMIT)
                .read_until(b'\n', &mut self.buffer)
                .map_err(|source| RecordingError::File { path: self.path.clone(), what: "read", source })?;
            if read as u64 == LINE_LIMIT {
                return Err(RecordingError::TooLong { path: self.path.clone(), line: self.line });
            }
            if read == 0 {
                let path = self.path.clone();
                return if self.started { Ok(None) } else { Err(RecordingError::NoStart { path }) };
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let event: Result<Event, _> = serde_json::from_slice(&self.buffer);
        let path = || self.path.clone();
        match event {
            Ok(Event::Start { version, .. }) if version != RECORDING_VERSION => {
                Err(RecordingError::Version { path: path(), version })
            }
            Ok(event) if self.started || matches!(event, Event::Start { .. }) => {
                self.started = true;
                Ok(Some(event))
            }
            Err(source) if self.started => {
                let cut_off = source.is_eof() && self.buffer.last() != Some(&b'\n');
                if !cut_off {
                    return Err(RecordingError::Line { path: path(), line: self.line, source });
                }
                tracing::warn!(path = self.path, line = self.line, "the last event is incomplete and left out");
                Ok(None)
            }
            _ => Err(RecordingError::NoStart { path: path() }),
        }
    }
}

#[cfg(test)]
mod tests;
