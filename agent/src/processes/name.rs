//! What a service is called, and why.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use super::{cgroup::Cgroup, script};

/// What OpenTelemetry calls a service without a name; what is known of it follows behind a colon.
pub(super) const UNKNOWN: &str = "unknown_service";
/// Longest name of a thread, bytes (the kernel's `TASK_COMM_LEN` without the final NUL): it may have been cut off.
const COMMAND_LENGTH: usize = 15;

/// Where a service's name comes from, in the order they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// `OTEL_SERVICE_NAME` in the process's own environment.
    Environment,
    /// `service.name` in its `OTEL_RESOURCE_ATTRIBUTES`.
    ResourceAttributes,
    /// The Kubernetes pod's name, without the parts its controller appends.
    Pod,
    /// The systemd service it runs in.
    Unit,
    /// The script, module, package, archive or class an interpreter runs.
    Program,
    /// The name of its executable, or of its main thread where that cannot be read.
    Executable,
    /// Inherited from the process that started it as a copy of itself (a worker).
    Parent,
    /// Nothing but the name of an interpreter, or of the main thread, is known.
    Unknown,
}

impl fmt::Display for NameSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "OTEL_SERVICE_NAME of the process",
            Self::ResourceAttributes => "OTEL_RESOURCE_ATTRIBUTES of the process",
            Self::Pod => "name of the Kubernetes pod",
            Self::Unit => "systemd unit",
            Self::Program => "script or program it interprets",
            Self::Executable => "name of the executable",
            Self::Parent => "name of the process it is a worker of",
            Self::Unknown => "nothing better is known; set OTEL_SERVICE_NAME for it",
        })
    }
}

/// A name and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `service.name`.
    pub text: String,
    /// Why.
    pub source: NameSource,
}

impl Name {
    /// A name, unless it is empty.
    fn some(text: &str, source: NameSource) -> Option<Self> {
        (!text.is_empty()).then(|| Self { text: text.to_owned(), source })
    }

    /// Nothing better is known than this.
    fn unknown(known: &str) -> Self {
        let text = if known.is_empty() { UNKNOWN.to_owned() } else { format!("{UNKNOWN}:{known}") };
        Self { text, source: NameSource::Unknown }
    }

    /// By the name of the main thread, all that is left of a process that has ended: it is its executable's, as the kernel sets it at
    /// exec, unless it was cut off. What an interpreter ran is not known.
    pub(super) fn of_command(command: &str) -> Self {
        let whole = !command.is_empty() && command.len() < COMMAND_LENGTH;
        if whole && script::Interpreter::of(command).is_none() {
            return Self { text: command.to_owned(), source: NameSource::Executable };
        }
        Self::unknown(command)
    }
}

/// What the decision is made from.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The executable's path.
    pub exe: Option<PathBuf>,
    /// The main thread's name.
    pub comm: String,
    /// The arguments, the program's own name first.
    pub arguments: Vec<String>,
    /// The working folder.
    pub cwd: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, decoded.
    pub attributes: Vec<(String, String)>,
    /// Container, pod and unit.
    pub cgroup: Cgroup,
    /// The host's name.
    pub host_name: String,
}

impl Facts {
    /// The value of an environment variable; an empty one counts as not set, as OpenTelemetry has it.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The executable's file name.
    #[must_use]
    pub fn exe_name(&self) -> Option<&str> {
        self.exe.as_deref()?.file_name()?.to_str()
    }

    /// The Kubernetes pod's name: the host name of its containers. A pod that uses the host's network has the host's.
    #[must_use]
    pub fn pod_name(&self) -> Option<&str> {
        let in_kubernetes = self.cgroup.pod_uid.is_some() || self.variable("KUBERNETES_SERVICE_HOST").is_some();
        self.variable("HOSTNAME").filter(|name| in_kubernetes && *name != self.host_name)
    }

    /// Decides the name. `package_name` gives the name in a folder's package.json, as the process would find it.
    ///
    /// [`NameSource::Unknown`] is the caller's reason to ask the parent.
    pub fn name(&self, package_name: impl Fn(&Path) -> Option<String>) -> Name {
        let attribute =
            || self.attributes.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value.as_str());
        let given = self
            .variable("OTEL_SERVICE_NAME")
            .and_then(|name| Name::some(name.trim(), NameSource::Environment))
            .or_else(|| Name::some(attribute()?, NameSource::ResourceAttributes))
            .or_else(|| Name::some(workload(self.pod_name()?), NameSource::Pod))
            .or_else(|| Name::some(self.cgroup.unit.as_deref()?, NameSource::Unit));
        if let Some(name) = given {
            return name;
        }
        let Some(exe) = self.exe_name() else { return Name::of_command(&self.comm) };
        // A program that was loaded from memory has no file; what it calls itself is more telling.
        if exe.starts_with("memfd:") {
            return Name::unknown(&self.comm);
        }
        match script::Interpreter::of(exe) {
            Some(interpreter) => interpreter
                .program(self, package_name)
                .and_then(|name| Name::some(&name, NameSource::Program))
                .unwrap_or_else(|| Name::unknown(exe)),
            None => Name { text: exe.to_owned(), source: NameSource::Executable },
        }
    }

    /// A path of the process as an absolute one, `.` and `..` resolved by their names.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        let joined = self.cwd.as_deref().unwrap_or(Path::new("/")).join(path);
        let mut absolute = PathBuf::new();
        for component in joined.components() {
            match component {
                Component::ParentDir => drop(absolute.pop()),
                Component::CurDir => {}
                other => absolute.push(other),
            }
        }
        absolute
    }
}

/// The workload of a pod's name, by the rules its controller appends to it: `-<replica set>-<pod>` for a Deployment,
/// `-<pod>` for a DaemonSet or Job, `-<ordinal>` for a StatefulSet. The appended parts are of Kubernetes' own alphabet
/// (no vowels, no 0, 1, 3), so that ordinary words stay.
fn workload(pod: &str) -> &str {
    let safe = |part: &str| part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod };
    if last.len() <= 4 && !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest;
    }
    if last.len() != 5 || !safe(last) {
        return pod;
    }
    match rest.rsplit_once('-') {
        Some((name, replica_set)) if (8..=10).contains(&replica_set.len()) && safe(replica_set) => name,
        _ => rest,
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
