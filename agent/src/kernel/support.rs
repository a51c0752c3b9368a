//! What this kernel allows, what is missing, and the remedy: for `syspan doctor`, and for the one sentence `syspan run`
//! prints when it cannot start.
//!
//! Every check but the last is a pure function of a few files under `/proc` and `/sys`, so that a test can show any host
//! to it. Nothing is mounted or changed. Whether the verifier takes the programs is only known when they were loaded:
//! [`Report::add_programs`] is told by `doctor`, which tries.

use std::{
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
};

use aya::programs::ProgramError;
use serde::Serialize;

use super::{btf, capture::CaptureError, programs::LoadedProgram};

/// The oldest kernel that the programs are tested with (docs/kernels.md). They need 5.8 for the ring buffer alone.
const MINIMUM_KERNEL: (u32, u32) = (5, 10);
/// From here on BPF memory is accounted to the cgroup, and `RLIMIT_MEMLOCK` does not matter.
const NO_MEMLOCK: (u32, u32) = (5, 11);
/// The files read here are a few hundred bytes; mountinfo of a host with many containers is the longest.
const MAX_FILE: u64 = 1 << 20;
/// `/proc/PID/ns/pid` of the first pid namespace has this fixed inode number (`PROC_PID_INIT_INO`).
const HOST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// syspan runs, but sees less or may be refused something.
    Warning,
    /// syspan cannot run.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found, and what that means.
    pub found: String,
    /// What to do about it, as one sentence; none where nothing needs to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), remedy: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { name, status: Status::Warning, found: found.into(), remedy: Some(remedy) }
    }

    fn missing(name: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { name, status: Status::Missing, found: found.into(), remedy: Some(remedy) }
    }

    /// What was found and what to do about it.
    fn sentence(&self) -> String {
        match self.remedy {
            Some(remedy) => format!("{}: {remedy}", self.found),
            None => self.found.clone(),
        }
    }
}

/// Something that syspan cannot run without is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", check.sentence())]
pub struct Unsupported {
    /// The first check that failed.
    pub check: Check,
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing required is missing.
    pub supported: bool,
    /// The checks, in the order they matter.
    pub checks: Vec<Check>,
    /// The programs as the kernel took them; empty where they were not loaded.
    pub programs: Vec<LoadedProgram>,
}

impl Report {
    /// The report for a person: a line for each check, remedies below.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Check { name, status, found, remedy } in &self.checks {
            let mark = match status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Missing => "MISSING",
            };
            let _ = writeln!(text, "{mark:<7}  {name:<width$}  {found}");
            if let Some(remedy) = remedy {
                let _ = writeln!(text, "{:<7}  {:<width$}  -> {remedy}", "", "");
            }
        }
        text.push_str(if self.supported {
            "\nsyspan can run here.\n"
        } else {
            "\nsyspan cannot run here until what is MISSING is remedied.\n"
        });
        text
    }

    /// A sentence for each permission that syspan runs without but sees less.
    pub fn restrictions(&self) -> impl Iterator<Item = String> {
        let is_restriction = |check: &&Check| check.status == Status::Warning && check.name.starts_with("CAP_");
        self.checks.iter().filter(is_restriction).map(Check::sentence)
    }

    /// Adds what became of an attempt to load and attach the programs.
    pub fn add_programs(&mut self, attempt: Result<Vec<LoadedProgram>, &CaptureError>) {
        const NAME: &str = "programs";
        self.checks.push(match attempt {
            Ok(programs) => {
                let loaded = programs.iter().filter(|program| program.loaded);
                let found = match loaded.clone().map(|program| program.verified_instructions).sum::<Option<u32>>() {
                    Some(walked) => format!("{} loaded and verified ({walked} instructions)", loaded.count()),
                    None => format!("{} loaded and verified", loaded.count()),
                };
                self.programs = programs;
                Check::ok(NAME, found)
            }
            Err(error) => {
                self.supported = false;
                refused(NAME, error)
            }
        });
    }

    /// Fails with the first thing that is missing.
    ///
    /// # Errors
    /// [`Unsupported`], whose text is one sentence with the remedy.
    pub fn require(&self) -> Result<(), Unsupported> {
        match self.checks.iter().find(|check| check.status == Status::Missing) {
            Some(check) => Err(Unsupported { check: check.clone() }),
            None => Ok(()),
        }
    }
}

/// A host as its `/proc` and `/sys` show it.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self::at("/")
    }
}

impl Host {
    /// The host whose `proc` and `sys` are below a folder.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.root.join(path)).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// `major.minor` of the kernel's release.
    #[must_use]
    pub fn kernel(&self) -> Option<(u32, u32)> {
        let release = self.read("proc/sys/kernel/osrelease")?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }

    /// The capabilities in effect, a bit each.
    fn capabilities(&self) -> Option<u64> {
        let status = self.read("proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    }
}

/// A capability by its number in `include/uapi/linux/capability.h`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Capability {
    DacReadSearch = 2,
    SysPtrace = 19,
    SysAdmin = 21,
    SysResource = 24,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    fn is_in(self, set: u64) -> bool {
        set & (1 << self as u32) != 0
    }
}

/// Looks at everything syspan depends on.
#[must_use]
pub fn doctor(host: &Host) -> Report {
    let mut checks = vec![kernel(host), type_information(host), lockdown(host)];
    checks.extend(capabilities(host));
    checks.push(uprobes(host));
    checks.push(unprivileged_bpf(host));
    checks.extend(memlock(host));
    checks.extend([pid_namespace(host), cgroups(host)]);
    Report { supported: checks.iter().all(|check| check.status != Status::Missing), checks, programs: Vec::new() }
}

/// What the kernel refused.
fn refused(name: &'static str, error: &CaptureError) -> Check {
    let remedy = match error {
        CaptureError::Program { source: ProgramError::LoadError { .. }, .. } => {
            "report it together with `uname -r` and what `SYSPAN_LOG=debug syspan run` says, which has the verifier's whole log"
        }
        _ => "follow the warnings above; if there are none, report it together with `uname -r`",
    };
    Check::missing(name, error.to_string(), remedy)
}

fn kernel(host: &Host) -> Check {
    const NAME: &str = "kernel";
    let release = host.read("proc/sys/kernel/osrelease").unwrap_or_default();
    match host.kernel() {
        Some(version) if version >= MINIMUM_KERNEL => Check::ok(NAME, format!("Linux {release}")),
        Some(_) => Check::missing(NAME, format!("Linux {release} is too old"), "use a kernel of version 5.10 or newer"),
        None => Check::missing(NAME, "the kernel's release cannot be read", "mount proc on /proc"),
    }
}

fn type_information(host: &Host) -> Check {
    const NAME: &str = "BTF";
    if host.root.join(btf::VMLINUX).exists() {
        Check::ok(NAME, "the kernel describes its structures")
    } else {
        Check::missing(
            NAME,
            "the kernel's type information (/sys/kernel/btf/vmlinux) is not there",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and in a container mount the host's /sys",
        )
    }
}

/// The type of file system of a line of mountinfo: the first field behind the lone dash.
fn file_system(line: &str) -> Option<&str> {
    line.split_once(" - ")?.1.split(' ').next()
}

fn lockdown(host: &Host) -> Check {
    const NAME: &str = "lockdown";
    let state = host.read("sys/kernel/security/lockdown");
    let mode = state.as_deref().and_then(|state| state.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    match mode {
        Some("confidentiality") => Check::missing(
            NAME,
            "the kernel is locked down for confidentiality, and BPF programs may not read memory",
            "boot with `lockdown=integrity` or without lockdown",
        ),
        Some(mode) => Check::ok(NAME, format!("{mode}, which syspan works under")),
        None => Check::ok(NAME, "not known (securityfs is not mounted or the kernel has no lockdown)"),
    }
}

fn capabilities(host: &Host) -> Vec<Check> {
    let set = host.capabilities().unwrap_or(0);
    let admin = Capability::SysAdmin.is_in(set);
    let check = |name, held, what: &str, otherwise: fn(&'static str, String, &'static str) -> Check, remedy| {
        if held { Check::ok(name, what) } else { otherwise(name, format!("no permission to {what}"), remedy) }
    };
    vec![
        check(
            "CAP_BPF",
            admin || Capability::Bpf.is_in(set),
            "load BPF programs",
            Check::missing,
            "run as root or grant CAP_BPF",
        ),
        check(
            "CAP_PERFMON",
            admin || Capability::Perfmon.is_in(set),
            "attach to tracepoints and read kernel memory",
            Check::missing,
            "run as root or grant CAP_PERFMON",
        ),
        check(
            "CAP_SYS_PTRACE",
            Capability::SysPtrace.is_in(set),
            "see the executables, folders and descriptors of other users' processes",
            Check::warning,
            "run as root or grant CAP_SYS_PTRACE, or --exe, --port and service names work for the own user's processes only",
        ),
        check(
            "CAP_DAC_READ_SEARCH",
            Capability::DacReadSearch.is_in(set),
            "read the environments and descriptors of other users' processes",
            Check::warning,
            "run as root or grant CAP_DAC_READ_SEARCH, or --port and OTEL_SERVICE_NAME work for the own user's processes only",
        ),
    ]
}

/// From this kernel on, uprobes were seen to take `CAP_SYS_ADMIN`; older ones give them for `CAP_PERFMON`.
const UPROBES_FOR_ADMIN: (u32, u32) = (6, 18);

/// Probes in functions of programs: of Go's net/http, of CPython.
fn uprobes(host: &Host) -> Check {
    const NAME: &str = "uprobes";
    let admin = Capability::SysAdmin.is_in(host.capabilities().unwrap_or(0));
    if admin || host.kernel().is_none_or(|version| version < UPROBES_FOR_ADMIN) {
        return Check::ok(
            NAME,
            "see for which request a Go program's http.Client sends another, and with --python-tasks which tasks begin which",
        );
    }
    Check::warning(
        NAME,
        "no permission to see for which request a Go program's http.Client sends another, and which tasks of Python begin which",
        "run as root or grant CAP_SYS_ADMIN, or the parents of such calls have weaker evidence, or are missing",
    )
}

fn unprivileged_bpf(host: &Host) -> Check {
    const NAME: &str = "unprivileged_bpf_disabled";
    match host.number("proc/sys/kernel/unprivileged_bpf_disabled") {
        Some(0) => Check::ok(NAME, "0: open to everyone; syspan does not need that"),
        Some(level) => Check::ok(NAME, format!("{level}: closed to users without CAP_BPF, as it should be")),
        None => {
            Check::missing(NAME, "the kernel has no bpf system call", "use a kernel built with CONFIG_BPF_SYSCALL=y")
        }
    }
}

/// Only kernels before 5.11 charge BPF maps to the limit on locked memory.
fn memlock(host: &Host) -> Option<Check> {
    const NAME: &str = "memlock";
    if host.kernel()? >= NO_MEMLOCK {
        return None;
    }
    let limits = host.read("proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    let unlimited = limit.split_whitespace().next() == Some("unlimited");
    let may_raise = host.capabilities().is_some_and(|set| Capability::SysResource.is_in(set));
    Some(if unlimited || may_raise {
        Check::ok(NAME, "no limit, or permission to raise it")
    } else {
        Check::warning(
            NAME,
            "this kernel charges BPF maps to the limit on locked memory, which is low",
            "run `ulimit -l unlimited` first, set LimitMEMLOCK=infinity, or grant CAP_SYS_RESOURCE",
        )
    })
}

fn pid_namespace(host: &Host) -> Check {
    const NAME: &str = "pid namespace";
    match std::fs::read_link(host.root.join("proc/self/ns/pid")) {
        Ok(link) if link.as_os_str() == HOST_PID_NAMESPACE => Check::ok(NAME, "the host's"),
        Ok(_) => Check::warning(
            NAME,
            "not the host's: the process ids that the kernel reports do not match those in /proc",
            "run in the host's pid namespace (`hostPID: true` in Kubernetes, `--pid=host` in Docker)",
        ),
        Err(_) => Check::ok(NAME, "the host's (the kernel has no pid namespaces)"),
    }
}

fn cgroups(host: &Host) -> Check {
    const NAME: &str = "cgroups";
    let mounts = host.read("proc/self/mountinfo").unwrap_or_default();
    let has = |wanted: &str| mounts.lines().filter_map(file_system).any(|kind| kind == wanted);
    Check::ok(
        NAME,
        match (has("cgroup"), has("cgroup2")) {
            (false, true) => "version 2",
            (true, true) => "version 1 and 2 (hybrid)",
            (true, false) => "version 1",
            (false, false) => "none mounted; containers and units are still read from /proc/PID/cgroup",
        },
    )
}

#[cfg(test)]
#[path = "support_tests.rs"]
mod tests;
