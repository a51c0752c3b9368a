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

/// Longest command name of a thread, bytes (the kernel's `TASK_COMM_LEN` without the final NUL).
const COMMAND_LENGTH: usize = 15;

impl Process {
    /// A process that ended before anything was learnt of it but its id and, perhaps, its command name: that is its executable's, as
    /// the kernel sets it at exec, unless it was cut off. What an interpreter ran is not known.
    #[must_use]
    pub fn unknown(pid: Pid, command: Option<&str>) -> Self {
        let name = match command {
            None | Some("") => "unknown_service".to_owned(),
            Some(cut_off) if cut_off.len() >= COMMAND_LENGTH => format!("unknown_service:{cut_off}"),
            Some(command) if script::Interpreter::of(command).is_some() => format!("unknown_service:{command}"),
            Some(command) => command.to_owned(),
        };
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
        self.attribute("service.name").unwrap_or("unknown_service")
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn a_process_that_ended_early_is_called_like_its_executable() {
        let name = |command| Process::unknown(1, command).service_name().to_owned();
        assert_eq!(name(Some("curl")), "curl");
        assert_eq!(name(Some("python3.11")), "unknown_service:python3.11");
        assert_eq!(name(Some("a-service-of-ou")), "unknown_service:a-service-of-ou");
        assert_eq!(name(Some("")), "unknown_service");
        assert_eq!(name(None), "unknown_service");
    }
}
