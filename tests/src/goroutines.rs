//! What tests/apps/go-goroutines says of its goroutines, against what was recorded of it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::recording::{Recording, bytes};

/// How many of its writes were compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Those that say which goroutine writes them, and which one started it.
    pub own: usize,
    /// Requests of http.Client, which say which goroutine makes them; another one writes them.
    pub handed: usize,
    /// Such requests of which nothing was told by the probes of http.Client.
    pub untold: usize,
}

/// Fails at the first write of which something else was recorded than it says.
pub fn compare(recording: &Recording) -> Result<Compared> {
    let mut compared = Compared::default();
    for event in recording.of_kind("data").filter(|event| event.get("direction").is_some_and(|way| way == "write")) {
        let text = bytes(event)?;
        let found = event.pointer("/task/goroutine").unwrap_or(&Value::Null);
        if let Some(by) = number(&text, "GET /item?goroutine=") {
            let works_for = found.get("works_for");
            if works_for.is_none_or(|how| how.get("handed_by").is_none()) {
                compared.untold += 1;
                continue;
            }
            ensure!(works_for == Some(&json!({ "handed_by": by })), "{found} instead of a request of {by}: {text}");
            compared.handed += 1;
        } else if let Some(id) = number(&text, "goroutine=") {
            let creator = number(&text, "created_by=").context("no creator")?;
            // Go before 1.21 does not know who started a goroutine.
            let expected = match creator {
                0 => json!({ "id": id }),
                _ => json!({ "id": id, "works_for": { "started_by": creator } }),
            };
            ensure!(*found == expected, "{found} instead of {expected}: {text}");
            compared.own += 1;
        }
    }
    Ok(compared)
}

/// The number behind a key in a text.
fn number(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
