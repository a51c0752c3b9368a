//! Contexts between hosts: what is attached to sockets, and only when it is asked for (docs/propagation.md).

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError, SockHash},
    programs::{CgroupAttachMode, CgroupSockopt, Program, ProgramError, SkMsg, SockOps},
};
use rustix::{
    net::{getpeername, getsockname, ipproto, sockopt},
    process::{Pid as Process, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    thread::{CapabilitySet, capabilities},
};
use syspan_abi::propagation::{ADOPT_LEVEL, Outgoing, carrier};

use super::{capture::CaptureError, sockhash, sys};
use crate::{event::Pid, processes::proc::Proc};

/// How contexts are carried to other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Not at all: nothing is attached to sockets.
    #[default]
    Off,
    /// By a TCP option on the segment that begins a request.
    Tcp,
    /// By a `traceparent` header in HTTP/1 requests that have none.
    Headers,
}

/// Entries of each table, while contexts are carried: open connections and requests of the host. The least recently used is
/// dropped, and its context with it.
const ENTRIES: u32 = 65_536;

/// The tables that only this needs.
pub(super) const TABLES: [&str; 8] =
    ["CLIENTS", "ARRIVED", "WORK", "REQUESTS", "MADE", "CROWDS", "STREAMS", "RECEIVED"];

/// Connections whose requests get headers at a time. Beyond it they go without, and that is counted.
const SOCKETS: u32 = 16_384;

/// Links take no flags: others of the same cgroup run too, whatever this says (`cgroup_bpf_link_attach`, since 5.7).
const ATTACH: CgroupAttachMode = CgroupAttachMode::Single;

/// `BPF_SOCK_OPS_*_CB_FLAG` (linux/bpf.h): asked about options that arrive and are unknown; about each segment that is sent.
const PARSE_UNKNOWN: i32 = 1 << 5;
const WRITE: i32 = 1 << 6;

impl Propagation {
    /// How many entries [`TABLES`] have.
    pub(super) fn entries(self) -> u32 {
        if self == Self::Off { 1 } else { ENTRIES }
    }

    /// How many entries the table of sockets has.
    pub(super) fn sockets(self) -> u32 {
        if self == Self::Headers { SOCKETS } else { 1 }
    }

    /// What the programs call it.
    pub(super) fn carrier(self) -> u32 {
        match self {
            Self::Off => carrier::NONE,
            Self::Tcp => carrier::TCP,
            Self::Headers => carrier::HEADERS,
        }
    }
}

/// What is attached.
pub(super) struct Carrier {
    clients: HashMap<MapData, u64, Outgoing>,
    /// Those whose requests get headers.
    sockets: Option<SockHash<MapData, u64>>,
}

/// Whether the agent may attach to the sockets of a cgroup at all.
///
/// # Errors
/// It may not.
pub fn may_attach() -> Result<(), CaptureError> {
    match capabilities(None) {
        Ok(held) if held.effective.contains(CapabilitySet::NET_ADMIN) => Ok(()),
        _ => Err(CaptureError::NoNetAdmin),
    }
}

impl Carrier {
    /// Attaches the program that writes and reads the option. From here on new connections are included.
    pub(super) fn option(ebpf: &mut Ebpf) -> Result<Self, CaptureError> {
        may_attach()?;
        attach_to_connections(ebpf, "tcp_option")?;
        Ok(Self { clients: HashMap::try_from(take(ebpf, "CLIENTS")?)?, sockets: None })
    }

    /// Attaches the program that inserts headers, and the one that puts connections before it.
    pub(super) fn headers(ebpf: &mut Ebpf) -> Result<Self, CaptureError> {
        let sockets = SockHash::try_from(take(ebpf, sockhash::TABLE)?)?;
        let name = "insert_header";
        let program: &mut SkMsg = program(ebpf, name)?;
        program
            .load()
            .and_then(|()| program.attach(sockets.fd()))
            .map_err(|source| CaptureError::Program { name, source })?;
        attach_to_connections(ebpf, "client_sockets")?;
        Ok(Self { clients: HashMap::try_from(take(ebpf, "CLIENTS")?)?, sockets: Some(sockets) })
    }

    /// Includes the connections that these processes have open, as far as this kernel lets them be.
    pub(super) fn adopt(&mut self, ebpf: &mut Ebpf, proc: &Proc, pids: &[Pid]) -> Result<Adopted, CaptureError> {
        if self.sockets.is_some() {
            return Ok(self.adopt_all(proc, pids));
        }
        let cgroup = cgroup()?;
        let program: &mut CgroupSockopt = program(ebpf, "adopt")?;
        let attached = program.load().and_then(|()| program.attach(&cgroup, ATTACH));
        let adopted = self.adopt_all(proc, pids);
        match attached.and_then(|link| program.detach(link)).and_then(|()| program.unload()) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "older connections cannot be included"),
        }
        Ok(adopted)
    }

    fn adopt_all(&mut self, proc: &Proc, pids: &[Pid]) -> Adopted {
        let carrier = if self.sockets.is_some() { Propagation::Headers } else { Propagation::Tcp };
        let mut adopted = Adopted { carrier, ..Adopted::default() };
        for &pid in pids.iter().filter(|&&pid| pid != std::process::id()) {
            self.adopt_of(proc, pid, &mut adopted);
        }
        adopted
    }

    fn adopt_of(&mut self, proc: &Proc, pid: Pid, adopted: &mut Adopted) {
        let Some(process) = i32::try_from(pid).ok().and_then(Process::from_raw) else { return };
        // It may have ended, or be another user's.
        let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return };
        let listening: HashSet<u16> = proc.listeners(pid).into_iter().map(|(_, port)| port).collect();
        for (descriptor, inode) in proc.socket_descriptors(pid) {
            let Ok(socket) = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()) else { continue };
            let Some((cookie, port)) = connection(&socket) else { continue };
            if !adopted.seen.insert(inode) {
                continue;
            }
            let is_client = !listening.contains(&port);
            if self.sockets.is_some() && !is_client {
                continue; // headers arrive by themselves
            }
            adopted.found += 1;
            if is_client {
                const NEW: u64 = 1; // BPF_NOEXIST
                let _ = self.clients.insert(cookie, Outgoing::default(), NEW); // it may have been opened just now
            }
            let included = match &mut self.sockets {
                Some(sockets) => sockets.insert(cookie, socket.as_fd(), 0).is_ok(),
                None => {
                    let flags = if is_client { PARSE_UNKNOWN | WRITE } else { PARSE_UNKNOWN };
                    sys::set_option(socket.as_fd(), ADOPT_LEVEL, flags).is_ok()
                }
            };
            adopted.included += usize::from(included);
        }
    }
}

/// Attaches a program to all connections of the host, as they begin.
fn attach_to_connections(ebpf: &mut Ebpf, name: &'static str) -> Result<(), CaptureError> {
    let cgroup = cgroup()?;
    let program: &mut SockOps = program(ebpf, name)?;
    program
        .load()
        .and_then(|()| program.attach(&cgroup, ATTACH))
        .map(drop)
        .map_err(|source| CaptureError::Program { name, source })
}

/// One of the programs, by its name and of its kind.
fn program<'a, P: 'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, CaptureError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(ProgramError::NotLoaded)
        .and_then(|program| program.try_into())
        .map_err(|source| CaptureError::Program { name, source })
}

fn take(ebpf: &mut Ebpf, table: &str) -> Result<Map, MapError> {
    ebpf.take_map(table).ok_or(MapError::InvalidName { name: table.to_owned() })
}

/// Connections that are older than the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// What carries contexts.
    pub carrier: Propagation,
    /// How many were found.
    pub found: usize,
    /// How many of them are included.
    pub included: usize,
    /// By inode: processes may share them.
    seen: HashSet<u64>,
}

/// The cookie and the own port of a TCP connection; none of another socket.
fn connection(socket: &OwnedFd) -> Option<(u64, u16)> {
    if sockopt::socket_protocol(socket) != Ok(Some(ipproto::TCP)) || getpeername(socket).ok()?.is_none() {
        return None;
    }
    let own = std::net::SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    Some((sockopt::socket_cookie(socket).ok()?, own.port()))
}

/// The root of cgroup v2, to which every process belongs. A hybrid host has it elsewhere than at `/sys/fs/cgroup`.
fn cgroup() -> Result<File, CaptureError> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = mounts.lines().find_map(cgroup_mount).ok_or(CaptureError::NoCgroup)?;
    File::open(&folder).map_err(|error: io::Error| CaptureError::Cgroup(folder, error))
}

/// Where a line of mountinfo mounts the root of cgroup v2 (proc(5): id, parent, device, root, mount point, …, `-`, type).
fn cgroup_mount(line: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, folder) = (fields.next()?, fields.next()?);
    (kind.split(' ').next() == Some("cgroup2") && root == "/").then(|| folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_cgroup_v2_is_found_on_hybrid_hosts() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        let part = "41 31 0:38 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(cgroup_mount(v2), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup_mount(v1), None);
        assert_eq!(cgroup_mount(part), None);
    }
}
