//! Which processes are observed, and who they are.
//!
//! [`selector`] decides which, [`identity`] says who (with [`name`] for the service's name), [`reader`] asks it on threads
//! that may wait, [`table`] remembers it while they run. All of it comes from `/proc` ([`proc`]) and the executable ([`runtime`],
//! [`goroutines`], [`java`], [`python`], [`tokio`]).

pub mod attributes;
pub mod cgroup;
pub mod exporting;
#[cfg(test)]
pub(crate) mod fake;
mod functions;
pub mod goroutines;
mod hotspot;
pub mod identity;
pub mod java;
mod library;
mod memory;
pub mod name;
pub mod proc;
pub mod python;
pub mod reader;
mod results;
pub mod runtime;
pub mod script;
mod segments;
pub mod selector;
mod symbols;
pub mod table;
mod thread_local;
mod tokio;

use serde::{Deserialize, Serialize};

use self::name::Name;
use crate::event::Pid;

/// An observed process as its spans' Resource describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the host's pid namespace.
    pub pid: Pid,
    /// When it started, in ns since the Unix epoch; with the pid it names the process for good.
    #[serde(default)]
    pub started: u64,
    /// What runs the program's code, as far as its threads' behaviour depends on it.
    #[serde(default)]
    pub runtime: Runtime,
    /// OpenTelemetry resource attributes, `service.name` included, sorted by key.
    pub resource: Vec<(String, String)>,
}

/// How a program's own scheduler maps requests to threads: decides whether what one thread does in sequence belongs
/// together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Threads or a single-threaded event loop: a thread works for one request between two waits.
    #[default]
    Threads,
    /// Go: goroutines share threads without any wait in between; a thread's sequence proves nothing.
    Go,
}

impl Process {
    /// A process that ended before anything was learnt of it but its id and, perhaps, its command name.
    #[must_use]
    pub fn unknown(pid: Pid, command: Option<&str>) -> Self {
        let name = Name::of_command(command.unwrap_or_default()).text;
        let resource = vec![("process.pid".to_owned(), pid.to_string()), ("service.name".to_owned(), name)];
        Self { pid, started: 0, runtime: Runtime::default(), resource }
    }

    /// The value of a resource attribute.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.resource.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// `service.name`, or `unknown_service` where a recording has none.
    #[must_use]
    pub fn service_name(&self) -> &str {
        self.attribute("service.name").unwrap_or(name::UNKNOWN)
    }
}
