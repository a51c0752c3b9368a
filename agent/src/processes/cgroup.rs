//! What a control group's path tells: the container, the Kubernetes pod, the systemd unit.

/// Length of a container id: SHA-256 in hexadecimal, with Docker, containerd, CRI-O and Podman alike.
const CONTAINER_ID: usize = 64;

/// What container runtimes put before the id in a systemd scope's name, and the runtime's name. The bare id (no prefix)
/// is below a folder that has the name, or the runtime is not known.
const RUNTIMES: [(&str, &str); 4] =
    [("docker-", "docker"), ("cri-containerd-", "containerd"), ("crio-", "cri-o"), ("libpod-", "podman")];

/// Services that run other people's programs: what runs in them is not the service, and is named by what it is.
const HOSTS: [&str; 30] = [
    "actions.runner",
    "amazon-ssm-agent",
    "anacron",
    "atd",
    "buildkit",
    "console-getty",
    "containerd",
    "cri-docker",
    "crio",
    "cron",
    "crond",
    "docker",
    "emergency",
    "gdm",
    "gitlab-runner",
    "incus",
    "init",
    "kubelet",
    "lightdm",
    "lxc",
    "monit",
    "podman",
    "rescue",
    "sddm",
    "snap.docker.dockerd",
    "ssh",
    "sshd",
    "supervisor",
    "supervisord",
    "webmin",
];
/// As [`HOSTS`], by how their names begin.
const HOST_PREFIXES: [&str; 10] = [
    "ssh@",
    "sshd@",
    "sshd-",
    "user@",
    "user-runtime-dir@",
    "getty@",
    "serial-getty@",
    "pm2-",
    "lxc@",
    "systemd-nspawn@",
];

/// A container, by its cgroup path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// `docker`, `containerd`, `cri-o` or `podman`, if the path says so.
    pub runtime: Option<&'static str>,
}

/// What the paths in `/proc/PID/cgroup` tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The innermost container.
    pub container: Option<Container>,
    /// The Kubernetes pod's uid.
    pub pod_uid: Option<String>,
    /// The innermost systemd service without its suffix, unless it is one that merely hosts logins, jobs or containers.
    pub unit: Option<String>,
}

impl Cgroup {
    /// Reads the lines `hierarchy:controllers:path` of cgroup version 1, 2 and of both.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut cgroup = Self::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
            cgroup.container = cgroup.container.or_else(|| container(path));
            cgroup.pod_uid = cgroup.pod_uid.or_else(|| path.split('/').rev().find_map(pod_uid));
            // Only these two are systemd's own; in the others it may have put the process elsewhere.
            if matches!(controllers, "" | "name=systemd") {
                cgroup.unit = cgroup.unit.or_else(|| unit(path));
            }
        }
        // A service inside a container (which may run its own systemd) is still a service; the one outside is not.
        if cgroup.container.is_some() && cgroup.unit.as_deref().is_some_and(|unit| !inside_container(text, unit)) {
            cgroup.unit = None;
        }
        cgroup
    }
}

fn container(path: &str) -> Option<Container> {
    path.split('/').rev().find_map(|segment| {
        let segment = segment.strip_suffix(".scope").unwrap_or(segment);
        let named = RUNTIMES.iter().find_map(|&(prefix, runtime)| Some((segment.strip_prefix(prefix)?, Some(runtime))));
        let (id, runtime) = named.unwrap_or((segment, path.starts_with("/docker/").then_some("docker")));
        let is_id = id.len() == CONTAINER_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| Container { id: id.to_owned(), runtime })
    })
}

/// `pod<uid>` with cgroupfs, `kubepods-burstable-pod<uid with underscores>.slice` with systemd.
fn pod_uid(segment: &str) -> Option<String> {
    let segment = segment.strip_suffix(".slice").unwrap_or(segment);
    let uid = match segment.strip_prefix("kubepods") {
        Some(rest) => rest.rsplit_once("-pod")?.1,
        None => segment.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let groups: Vec<usize> = uid.split('-').map(str::len).collect();
    let is_uuid = groups == [8, 4, 4, 4, 12] && uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    is_uuid.then_some(uid)
}

fn unit(path: &str) -> Option<String> {
    let name = path.split('/').rev().find_map(|segment| segment.strip_suffix(".service"))?;
    let hosts = HOSTS.contains(&name) || HOST_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (!hosts && !name.is_empty()).then(|| unescape(name))
}

fn inside_container(text: &str, unit: &str) -> bool {
    text.lines().any(|line| {
        let mut segments = line.split('/').skip_while(|segment| container(segment).is_none());
        segments.any(|segment| segment.strip_suffix(".service").is_some_and(|name| unescape(name) == unit))
    })
}

/// Undoes systemd-escape(1): `\x2d` is a dash.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\x").and_then(|after| {
            let (digits, tail) = after.split_at_checked(2)?;
            Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, tail))
        });
        let (byte, tail) = escaped.unwrap_or((first, tail));
        bytes.push(byte);
        rest = tail;
    }
    super::proc::shown(&bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parse(line: &str) -> Cgroup {
        Cgroup::parse(&line.replace("ID", ID))
    }

    fn runtime(line: &str) -> Option<&'static str> {
        let container = parse(line).container.unwrap();
        assert_eq!(container.id, ID);
        container.runtime
    }

    #[test]
    fn finds_containers_of_every_runtime() {
        assert_eq!(runtime("0::/system.slice/docker-ID.scope\n"), Some("docker"));
        assert_eq!(runtime("12:cpu:/docker/ID\n"), Some("docker"));
        assert_eq!(runtime("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope"), Some("containerd"));
        assert_eq!(runtime("0::/kubepods.slice/x.slice/crio-ID.scope/container"), Some("cri-o"));
        assert_eq!(
            runtime("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope"),
            Some("podman")
        );
        assert_eq!(runtime("0::/../../kubepods/besteffort/pod1/ID"), None, "relative to the reader's cgroup namespace");
        assert_eq!(runtime("0::/\n9:name=systemd:/ecs/task/ID\n"), None, "hybrid");
    }

    #[test]
    fn what_is_not_a_container_is_none() {
        for line in
            ["0::/", "0::/crio-conmon-ID.scope", "0::/system.slice/nginx.service", "0::/0123456789abcdef", "", ":::"]
        {
            assert_eq!(parse(line).container, None, "{line}");
        }
    }

    #[test]
    fn finds_the_pod() {
        let uid = Some("9c5b8f2e-1111-2222-3333-444455556666".to_owned());
        let systemd = "0::/kubepods.slice/kubepods-burstable.slice/\
            kubepods-burstable-pod9c5b8f2e_1111_2222_3333_444455556666.slice/cri-containerd-ID.scope";
        assert_eq!(parse(systemd).pod_uid, uid);
        assert_eq!(parse("4:memory:/kubepods/besteffort/pod9c5b8f2e-1111-2222-3333-444455556666/ID").pod_uid, uid);
        assert_eq!(parse("0::/podium/pod-1").pod_uid, None);
    }

    #[test]
    fn names_the_unit_unless_it_only_hosts() {
        let unit = |line: &str| parse(line).unit;
        assert_eq!(unit("0::/system.slice/orders.service").as_deref(), Some("orders"));
        assert_eq!(unit("1:name=systemd:/system.slice/my\\x2dapp.service\n0::/\n").as_deref(), Some("my-app"));
        assert_eq!(unit("0::/system.slice/system-shop.slice/shop@blue.service").as_deref(), Some("shop@blue"));
        assert_eq!(unit("0::/user.slice/user-1.slice/user@1.service/app.slice/dev.service").as_deref(), Some("dev"));
        assert_eq!(unit("0::/system.slice/orders.service/worker").as_deref(), Some("orders"), "a delegated sub-group");
        for line in [
            "0::/user.slice/user-1000.slice/session-3.scope",
            "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
            "0::/system.slice/ssh.service",
            "0::/system.slice/sshd@4-10.0.0.1:22.service",
            "0::/system.slice/cron.service",
            "0::/system.slice/containerd.service",
            "0::/system.slice/docker.service",
            "4:memory:/system.slice/orders.service",
            "0::/.service",
        ] {
            assert_eq!(unit(line), None, "{line}");
        }
    }

    #[test]
    fn the_unit_around_a_container_is_not_its_name() {
        assert_eq!(parse("0::/system.slice/stack.service/docker-ID.scope").unit, None);
        let nested = parse("0::/system.slice/docker-ID.scope/system.slice/orders.service");
        assert_eq!(nested.unit.as_deref(), Some("orders"), "systemd in a container");
    }
}
