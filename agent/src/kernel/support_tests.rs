#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A made-up host; everything syspan needs is there until a test changes it.
struct Fake(TempDir);

impl Fake {
    fn new() -> Self {
        let fake = Self(TempDir::new().unwrap());
        fake.write("proc/sys/kernel/osrelease", "6.1.0-49-amd64\n");
        fake.write("sys/kernel/btf/vmlinux", "");
        fake.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        fake.capabilities(&[2, 19, 38, 39]);
        fake.write("proc/sys/kernel/unprivileged_bpf_disabled", "2\n");
        fake.write(
            "proc/self/limits",
            "Limit\nMax locked memory         8388608              8388608              bytes\n",
        );
        fake.write(
            "proc/self/mountinfo",
            "24 1 0:22 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n25 1 0:23 / /proc rw - proc proc rw\n",
        );
        std::fs::create_dir_all(fake.0.path().join("proc/self/ns")).unwrap();
        symlink(HOST_PID_NAMESPACE, fake.0.path().join("proc/self/ns/pid")).unwrap();
        fake
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.0.path().join(path)).unwrap();
    }

    fn capabilities(&self, numbers: &[u32]) {
        let set = numbers.iter().fold(0_u64, |set, number| set | 1 << number);
        self.write("proc/self/status", &format!("Name:\tsyspan\nCapPrm:\t{set:016x}\nCapEff:\t{set:016x}\n"));
    }

    fn report(&self) -> Report {
        doctor(&Host::at(self.0.path()))
    }

    fn status(&self, name: &str) -> Option<Status> {
        self.report().checks.into_iter().find(|check| check.name == name).map(|check| check.status)
    }

    fn refusal(&self) -> String {
        self.report().require().unwrap_err().to_string()
    }
}

#[test]
fn a_usual_host_is_supported() {
    let report = Fake::new().report();
    assert!(report.supported);
    assert_eq!(report.require(), Ok(()));
    assert!(report.checks.iter().all(|check| check.status == Status::Ok && check.remedy.is_none()), "{report:?}");
    assert!(report.text().ends_with("syspan can run here.\n"));
}

#[test]
fn uprobes_take_more_on_newer_kernels() {
    let fake = Fake::new();
    assert_eq!(fake.status("uprobes"), Some(Status::Ok));
    fake.write("proc/sys/kernel/osrelease", "6.18.44\n");
    assert_eq!(fake.status("uprobes"), Some(Status::Warning));
    assert!(fake.report().supported);
    assert_eq!(fake.report().restrictions().count(), 0, "a run does not speak of it: there may be no such program");
    fake.capabilities(&[2, 19, 21, 38, 39]);
    assert_eq!(fake.status("uprobes"), Some(Status::Ok));
}

#[test]
fn what_is_required_is_named_with_its_remedy() {
    let fake = Fake::new();
    fake.write("proc/sys/kernel/osrelease", "5.4.0-190-generic\n");
    assert_eq!(fake.refusal(), "Linux 5.4.0-190-generic is too old: use a kernel of version 5.10 or newer");

    let fake = Fake::new();
    fake.remove("sys/kernel/btf/vmlinux");
    assert!(fake.refusal().contains("CONFIG_DEBUG_INFO_BTF"));

    let fake = Fake::new();
    fake.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    assert!(fake.refusal().contains("lockdown=integrity"));

    let fake = Fake::new();
    fake.remove("proc/sys/kernel/unprivileged_bpf_disabled");
    assert!(fake.refusal().contains("CONFIG_BPF_SYSCALL"));
    assert!(fake.report().text().contains("MISSING"));
}

#[test]
fn capabilities_are_told_apart() {
    let fake = Fake::new();
    fake.capabilities(&[]);
    let statuses =
        ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"].map(|name| fake.status(name).unwrap());
    assert_eq!(statuses, [Status::Missing, Status::Missing, Status::Warning, Status::Warning]);
    assert_eq!(fake.refusal(), "no permission to load BPF programs: run as root or grant CAP_BPF");
    fake.capabilities(&[21]);
    assert_eq!(fake.status("CAP_BPF"), Some(Status::Ok), "CAP_SYS_ADMIN includes it");
    assert_eq!(fake.status("CAP_SYS_PTRACE"), Some(Status::Warning), "CAP_SYS_ADMIN does not include it");
    let restrictions: Vec<String> = fake.report().restrictions().collect();
    assert_eq!(restrictions.len(), 2, "{restrictions:?}");
    assert!(restrictions.iter().any(|sentence| sentence.contains("grant CAP_SYS_PTRACE")), "{restrictions:?}");
    fake.capabilities(&[2, 19, 38, 39]);
    assert_eq!(fake.report().restrictions().count(), 0);
}

#[test]
fn what_only_might_hinder_is_a_warning() {
    let fake = Fake::new();
    fake.remove("proc/self/ns/pid");
    symlink("pid:[4026532001]", fake.0.path().join("proc/self/ns/pid")).unwrap();
    assert_eq!(fake.status("pid namespace"), Some(Status::Warning));
    assert!(fake.report().supported);
}

#[test]
fn locked_memory_matters_on_old_kernels_only() {
    let fake = Fake::new();
    assert_eq!(fake.status("memlock"), None);
    fake.write("proc/sys/kernel/osrelease", "5.10.0-30-amd64\n");
    assert_eq!(fake.status("memlock"), Some(Status::Warning));
    fake.capabilities(&[2, 19, 24, 38, 39]);
    assert_eq!(fake.status("memlock"), Some(Status::Ok));
}

#[test]
fn cgroup_versions_are_told_apart() {
    let fake = Fake::new();
    let found = || fake.report().checks.into_iter().find(|check| check.name == "cgroups").unwrap().found;
    assert_eq!(found(), "version 2");
    fake.write("proc/self/mountinfo", "1 1 0:1 / /a rw - cgroup cgroup rw,cpu\n2 1 0:2 / /b rw - cgroup2 cgroup rw\n");
    assert_eq!(found(), "version 1 and 2 (hybrid)");
    fake.write("proc/self/mountinfo", "nonsense\n - \n");
    assert!(found().starts_with("none mounted"));
}

fn program(verified_instructions: Option<u32>) -> LoadedProgram {
    LoadedProgram { name: "exit".to_owned(), loaded: true, attached: true, verified_instructions }
}

#[test]
fn programs_that_load_are_counted() {
    let found = |programs: Vec<LoadedProgram>| {
        let mut report = Fake::new().report();
        report.add_programs(Ok(programs));
        assert!(report.supported);
        report.checks.pop().unwrap().found
    };
    assert_eq!(found(vec![program(Some(30)), program(Some(12))]), "2 loaded and verified (42 instructions)");
    assert_eq!(found(vec![program(None)]), "1 loaded and verified", "before 5.16 the number is not told");
    let absent = LoadedProgram { loaded: false, ..program(None) };
    assert_eq!(found(vec![program(Some(30)), absent]), "1 loaded and verified (30 instructions)");
}

#[test]
fn a_program_that_is_refused_is_missing() {
    let mut report = Fake::new().report();
    report.add_programs(Err(&CaptureError::Program { name: "exit", source: ProgramError::AlreadyLoaded }));
    assert!(!report.supported && report.programs.is_empty());
    assert!(report.require().unwrap_err().to_string().contains("refused the eBPF program exit"));
}

#[test]
fn an_empty_host_is_refused_without_a_panic() {
    let folder = TempDir::new().unwrap();
    assert!(!doctor(&Host::at(folder.path())).supported);
}

#[test]
fn json_names_every_check() {
    let json = serde_json::to_value(Fake::new().report()).unwrap();
    assert_eq!(json["supported"], true);
    assert_eq!(json["checks"][0]["name"], "kernel");
    assert_eq!(json["checks"][0]["status"], "ok");
}

#[test]
fn this_host_can_be_examined() {
    let report = doctor(&Host::default());
    assert_eq!(report.checks[0].status, Status::Ok, "tests run on a kernel that syspan supports");
    println!("{}", report.text());
}
