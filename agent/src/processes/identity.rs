//! Who a process is: the OpenTelemetry Resource of its spans.
//!
//! Arguments are never exported, they may hold secrets; of the command only the program's own name is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use uuid::Uuid;

use super::{
    Process,
    attributes::resource_attributes,
    cgroup::Cgroup,
    goroutines::Layout,
    java,
    name::{Facts, Name, NameSource},
    proc::{Proc, Stat},
    python,
    runtime::{Executable, Executables, NetHttp},
    script::Interpreter,
};
use crate::event::Pid;

/// The namespace of instance ids that OpenTelemetry's conventions give for UUID version 5.
const INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);
/// `/proc/self/ns/uts` of the first UTS namespace has this fixed inode number (`PROC_UTS_INIT_INO`).
const HOST_UTS_NAMESPACE: &str = "uts:[4026531838]";
/// How many ancestors a worker's name is looked for in.
const MAX_ANCESTORS: usize = 3;
/// How long an attribute's value may be, in characters: more is no name but an attempt to fill memory.
const MAX_VALUE: usize = 1024;
/// Attributes that say what was observed, where it was, and are not the process's to choose.
const OBSERVED: [&str; 4] = ["process.", "telemetry.", "os.", "container."];

/// The machine, as every Resource names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// `/etc/machine-id`.
    pub id: Option<String>,
    /// The host's name.
    pub name: String,
    /// The boot's random id, which tells the process ids of two boots apart.
    boot: String,
}

impl Host {
    /// Reads them. From a container they are those of process 1, which is the host's where its pid namespace is shared.
    #[must_use]
    pub fn read(proc: &Proc) -> Self {
        let line = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let of_init = |path: &str| line(proc.file_of(1, Path::new(path)));
        let own_name = || line(proc.system_text("sys/kernel/hostname"));
        let on_host = proc.system_link("self/ns/uts").is_none_or(|link| link.as_os_str() == HOST_UTS_NAMESPACE);
        let name = if on_host { own_name() } else { of_init("/etc/hostname").or_else(own_name) };
        Self {
            id: of_init("/etc/machine-id"),
            name: name.unwrap_or_default(),
            boot: line(proc.system_text("sys/kernel/random/boot_id")).unwrap_or_default(),
        }
    }
}

/// A process and why it is called what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The process with its Resource.
    pub process: Arc<Process>,
    /// Where its service's name comes from.
    pub source: NameSource,
    /// Its executable.
    pub exe: Option<PathBuf>,
    /// Where it keeps its goroutines, if it is a Go program for which that is known.
    pub goroutines: Option<Layout>,
    /// What it has of Go's http.Client.
    pub net_http: Option<NetHttp>,
    /// Where it keeps the id of the Tokio task that a thread polls, if that is known ([`Executable::tokio_task`]).
    pub tokio_task: Option<i32>,
    /// Where it keeps the contexts of its threads, and copies them, if it runs a CPython for which that is known.
    pub python: Option<python::Interpreter>,
    /// Where it keeps which virtual threads its threads carry, if it is a Java process for which that is known.
    pub java: Option<java::Layout>,
}

impl Identity {
    /// Whether there may be more to it than was found when it was read: an interpreter may not have been loaded then.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        let runs = |interpreter: fn(&Path) -> bool| self.exe.as_deref().is_some_and(interpreter);
        (self.python.is_none() && runs(python::is_python)) || (self.java.is_none() && runs(java::is_java))
    }
}

/// Reads identities.
#[derive(Debug, Clone)]
pub struct Identifier {
    proc: Proc,
    host: Host,
    executables: Executables,
}

impl Identifier {
    /// Reads them from this proc file system.
    #[must_use]
    pub fn new(proc: Proc) -> Self {
        let host = Host::read(&proc);
        Self { proc, host, executables: Executables::default() }
    }

    /// The proc file system.
    #[must_use]
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// Who a process is; `None` once it has ended. This reads files and memory of the process's own choice, and may wait for
    /// them for ever: not for a thread that must not wait (see [`super::reader`]).
    pub fn identify(&mut self, pid: Pid) -> Option<Identity> {
        let stat = self.proc.stat(pid)?;
        let facts = self.facts(pid);
        let name = self.name(pid, &facts, &stat);
        let executable = self.executables.inspect(&self.proc.exe_file(pid));
        let owner = self.owner(pid);
        let identity = self.describe(pid, &stat, facts, name, executable, owner.as_deref());
        Some(self.with_interpreter(identity, pid))
    }

    /// With where it has what an interpreter or a virtual machine tells of its threads.
    fn with_interpreter(&self, identity: Identity, pid: Pid) -> Identity {
        Identity { python: python::find(&self.proc, pid), java: java::find(&self.proc, pid), ..identity }
    }

    /// Who a process is as far as the kernel alone knows, which never has to wait; `None` once it has ended.
    #[must_use]
    pub fn glance(&self, pid: Pid) -> Option<Identity> {
        let stat = self.proc.stat(pid)?;
        let facts = self.kernel_facts(pid);
        let name = facts.name(|_| None);
        Some(self.describe(pid, &stat, facts, name, Executable::default(), None))
    }

    /// A copy of its parent that runs the same program: everything is the parent's but what tells the two apart. Of one that
    /// has ended, whose copy it was and its id is all that is known.
    #[must_use]
    pub fn inherit(&self, parent: &Identity, child: Pid) -> Identity {
        let inherited =
            if parent.is_unfinished() { self.with_interpreter(parent.clone(), child) } else { parent.clone() };
        let Some(stat) = self.proc.stat(child) else {
            let process = Process { pid: child, started: 0, ..Process::clone(&parent.process) }.without_instance();
            return Identity { process: Arc::new(process), ..parent.clone() };
        };
        let mut process = Process { pid: child, started: stat.started, ..Process::clone(&parent.process) };
        self.distinguish(&mut process, &stat);
        Identity { process: Arc::new(process), ..inherited }
    }

    fn describe(
        &self,
        pid: Pid,
        stat: &Stat,
        facts: Facts,
        name: Name,
        executable: Executable,
        owner: Option<&str>,
    ) -> Identity {
        let Executable { runtime, goroutines, net_http, tokio_task, .. } = executable;
        let mut resource = Resource::default();
        resource.add("service.name", &name.text);
        self.describe_process(&mut resource, &facts, executable);
        resource.add("process.owner", owner.unwrap_or_default());
        self.describe_surroundings(&mut resource, &facts);
        for (key, value) in &facts.attributes {
            let observed = OBSERVED.iter().any(|prefix| key.starts_with(prefix)) && resource.0.contains_key(key);
            if key != "service.name" && !observed {
                resource.add(key, value);
            }
        }
        let given_instance = resource.0.remove("service.instance.id");
        let mut process = Process { pid, started: stat.started, runtime, resource: resource.0.into_iter().collect() };
        self.distinguish(&mut process, stat);
        if let Some(instance) = given_instance {
            set(&mut process.resource, "service.instance.id", instance);
        }
        let process = Arc::new(process);
        Identity {
            process,
            source: name.source,
            exe: facts.exe,
            goroutines,
            net_http,
            tokio_task,
            python: None,
            java: None,
        }
    }

    /// Sets what is different for every process.
    fn distinguish(&self, process: &mut Process, stat: &Stat) {
        let host = self.host.id.as_deref().unwrap_or_default();
        // Ticks since boot, not the wall clock's time: the id must stay the same when the clock is set.
        let unique = format!("{host}/{}/{}/{}", self.host.boot, process.pid, stat.started_ticks);
        let instance = Uuid::new_v5(&INSTANCE_NAMESPACE, unique.as_bytes());
        set(&mut process.resource, "service.instance.id", instance.to_string());
        set(&mut process.resource, "process.pid", process.pid.to_string());
        set(&mut process.resource, "process.parent_pid", stat.parent.to_string());
        set(&mut process.resource, "process.creation.time", rfc3339(process.started));
    }

    /// What the kernel knows: reading it neither follows a path of the process's choice nor touches its memory.
    fn kernel_facts(&self, pid: Pid) -> Facts {
        Facts {
            exe: self.proc.exe(pid),
            comm: self.proc.comm(pid).unwrap_or_default(),
            cwd: self.proc.cwd(pid),
            cgroup: self.proc.cgroup(pid).as_deref().map(Cgroup::parse).unwrap_or_default(),
            host_name: self.host.name.clone(),
            ..Facts::default()
        }
    }

    /// Arguments and environment as well: they are in the process's memory, which may be a file that is slow to come.
    fn facts(&self, pid: Pid) -> Facts {
        let mut facts = Facts {
            environment: self.proc.environment(pid).unwrap_or_default(),
            arguments: self.proc.arguments(pid).unwrap_or_default(),
            ..self.kernel_facts(pid)
        };
        facts.attributes = facts.variable("OTEL_RESOURCE_ATTRIBUTES").and_then(resource_attributes).unwrap_or_default();
        facts
    }

    /// The process's name, or, if it is only known as an interpreter, that of the process of the same executable that
    /// started it: Python's `multiprocessing` and servers with workers start themselves with code in a string.
    fn name(&self, pid: Pid, facts: &Facts, stat: &Stat) -> Name {
        let name = |pid: Pid, facts: &Facts| {
            let package = |folder: &Path| {
                let text = self.proc.file_of(pid, &folder.join("package.json"))?;
                let json: serde_json::Value = serde_json::from_str(&text).ok()?;
                json.get("name")?.as_str().map(|name| super::proc::shown(name.as_bytes()))
            };
            facts.name(package)
        };
        let own = name(pid, facts);
        let mut parent = stat.parent;
        for _ in 0..MAX_ANCESTORS {
            if own.source != NameSource::Unknown
                || parent <= 1
                || facts.exe.is_none()
                || self.proc.exe(parent) != facts.exe
            {
                break;
            }
            let of_parent = name(parent, &self.facts(parent));
            if of_parent.source != NameSource::Unknown {
                return Name { source: NameSource::Parent, ..of_parent };
            }
            let Some(stat) = self.proc.stat(parent) else { break };
            parent = stat.parent;
        }
        own
    }

    fn describe_process(&self, resource: &mut Resource, facts: &Facts, executable: Executable) {
        let exe = facts.exe_name();
        if let (Some(name), Some(path)) = (exe, &facts.exe) {
            resource.add("process.executable.name", name);
            resource.add("process.executable.path", &path.to_string_lossy());
        }
        if let Some(command) = command(facts) {
            resource.add("process.command", command);
        }
        let interpreter = exe.and_then(Interpreter::of);
        let language = match (executable.runtime, interpreter) {
            (super::Runtime::Go, _) => {
                resource.add("process.runtime.name", "go");
                if let Some(version) = &executable.go_version {
                    resource.add("process.runtime.version", version);
                }
                "go"
            }
            (_, Some(interpreter)) => {
                if let Some(version) =
                    exe.and_then(|exe| exe.strip_prefix("python")).filter(|version| version.contains('.'))
                {
                    resource.add("process.runtime.name", "cpython");
                    resource.add("process.runtime.version", version);
                }
                interpreter.language().unwrap_or("rust")
            }
            // What a compiled program was written in cannot be told: then it is the language of the instrumentation.
            _ => "rust",
        };
        resource.add("telemetry.sdk.language", language);
    }

    fn describe_surroundings(&self, resource: &mut Resource, facts: &Facts) {
        if let Some(container) = &facts.cgroup.container {
            resource.add("container.id", &container.id);
            if let Some(runtime) = container.runtime {
                resource.add("container.runtime.name", runtime);
            }
        }
        if let Some(uid) = &facts.cgroup.pod_uid {
            resource.add("k8s.pod.uid", uid);
        }
        if let Some(pod) = facts.pod_name() {
            resource.add("k8s.pod.name", pod);
        }
        resource.add("host.name", &self.host.name);
        resource.add("host.id", self.host.id.as_deref().unwrap_or_default());
        resource.add("host.arch", architecture());
        resource.add("os.type", "linux");
        for prefix in ["telemetry.sdk", "telemetry.distro"] {
            resource.add(&format!("{prefix}.name"), "syspan");
            resource.add(&format!("{prefix}.version"), env!("CARGO_PKG_VERSION"));
        }
    }

    /// The name of the process's user, by the users that it sees itself.
    fn owner(&self, pid: Pid) -> Option<String> {
        let user = self.proc.credentials(pid)?.user.to_string();
        let users = self.proc.file_of(pid, Path::new("/etc/passwd"))?;
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == user).then_some(name)
        })?;
        Some(super::proc::shown(name.as_bytes()))
    }
}

impl Process {
    /// The Resource without what belonged to the process it was copied from.
    fn without_instance(mut self) -> Self {
        self.resource.retain(|(key, _)| {
            !matches!(key.as_str(), "service.instance.id" | "process.creation.time" | "process.parent_pid")
        });
        if let Some((_, pid)) = self.resource.iter_mut().find(|(key, _)| key == "process.pid") {
            *pid = self.pid.to_string();
        }
        self
    }
}

/// Attributes by their keys; empty values are left out, long ones cut.
#[derive(Default)]
struct Resource(BTreeMap<String, String>);

impl Resource {
    fn add(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value.chars().take(MAX_VALUE).collect());
        }
    }
}

/// Sets an attribute where the list is sorted by key.
fn set(resource: &mut Vec<(String, String)>, key: &str, value: String) {
    match resource.binary_search_by(|(k, _)| k.as_str().cmp(key)) {
        Ok(at) => {
            if let Some(entry) = resource.get_mut(at) {
                entry.1 = value;
            }
        }
        Err(at) => resource.insert(at, (key.to_owned(), value)),
    }
}

/// What the program was called as. A title that was written over the arguments is not a command: only its first word is
/// kept, as in `nginx: worker process`.
fn command(facts: &Facts) -> Option<&str> {
    let first = facts.arguments.first()?;
    let is_exe = facts.exe.as_deref().is_some_and(|exe| exe == Path::new(first));
    if is_exe { Some(first) } else { first.split(' ').next().map(|word| word.trim_end_matches(':')) }
}

/// `host.arch` by the values of the conventions.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A time in ns since the Unix epoch as RFC 3339 in UTC, to the millisecond.
fn rfc3339(time: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(time)).to_string()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
