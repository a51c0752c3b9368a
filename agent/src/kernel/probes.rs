//! Programs that are attached only while some observed process gives a reason: the others, and a host without such processes, pay
//! nothing for them.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    os::fd::AsRawFd as _,
    path::Path,
};

use aya::{
    Ebpf,
    programs::{
        Program, ProgramError, RawTracePoint, UProbe,
        raw_trace_point::RawTracePointLinkId,
        uprobe::{UProbeAttachLocation, UProbeLinkId, UProbeScope},
    },
};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, makedev, open, statx};

use super::programs::refusal;
use crate::{
    event::Pid,
    processes::{
        python::Copies,
        runtime::{FileId, NetHttp},
    },
};

/// The raw tracepoint of wake-ups, and its program.
const WAKES: &str = "sched_waking";
/// The programs at net/http's functions.
const ROUND_TRIP: &str = "go_round_trip";
const CONNECTION_WRITE: &str = "go_connection_write";
/// The program where Python's contexts are copied.
const COPIED: &str = "python_copied";

/// Processes that may have probes in their functions at a time; of those beyond, what the probes show is not told.
const MAX_PROBED: usize = 1024;

/// What is attached for whom.
#[derive(Default)]
pub(super) struct Probes {
    /// Processes whose wake-ups are told.
    watched: HashSet<Pid>,
    /// The link of the program, while there are any.
    wakes: Option<RawTracePointLinkId>,
    /// Programs in functions of processes.
    functions: HashMap<Pid, Vec<(&'static str, UProbeLinkId)>>,
}

impl Probes {
    /// Loads the programs, which takes privileges that attaching does not. Without them less is told, so a refusal is no error.
    pub(super) fn load(ebpf: &mut Ebpf) -> Self {
        for name in [WAKES, ROUND_TRIP, CONNECTION_WRITE, COPIED] {
            let loaded = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded).and_then(|program| match program {
                Program::RawTracePoint(program) => program.load(),
                Program::UProbe(program) => program.load(),
                _ => Err(ProgramError::UnexpectedProgramType),
            });
            if let Err(error) = loaded {
                tracing::warn!(
                    program = name,
                    error = refusal(&error),
                    "the kernel refused a program that is not required"
                );
            }
        }
        Self::default()
    }

    /// Wake-ups are told, because this process's are wanted.
    pub(super) fn watch_wakes(&mut self, ebpf: &mut Ebpf, pid: Pid) {
        self.watched.insert(pid);
        if self.wakes.is_some() {
            return;
        }
        match tracepoint(ebpf).and_then(|program| program.attach(WAKES)) {
            Ok(link) => self.wakes = Some(link),
            Err(error) => tracing::warn!(error = refusal(&error), "wake-ups of threads are not seen"),
        }
    }

    /// Puts the programs into this process's functions of net/http, unless they are there. `exe` is its executable (`/proc/PID/exe`),
    /// which must still be the file that the functions were looked up in. Says whether they are there now.
    pub(super) fn watch_net_http(&mut self, ebpf: &mut Ebpf, pid: Pid, exe: &Path, http: &NetHttp) -> bool {
        let places = [(ROUND_TRIP, http.round_trip), (CONNECTION_WRITE, http.write)];
        self.put(ebpf, pid, exe, http.file, &places, "whose requests its http.Client sends")
    }

    /// Puts the program where this process copies Python's contexts, unless it is there. Says whether it is there now.
    pub(super) fn watch_copies(&mut self, ebpf: &mut Ebpf, pid: Pid, copies: &Copies) -> bool {
        let places: Vec<_> = copies.results.places.iter().map(|&place| (COPIED, place)).collect();
        let file = format!("/proc/self/fd/{}", copies.file.as_raw_fd());
        let is_there = self.put(ebpf, pid, Path::new(&file), copies.id, &places, "which of its tasks begin which");
        if !is_there {
            tracing::warn!(pid, "--python-tasks: no probes in this process, see `syspan doctor`");
        }
        is_there
    }

    /// Puts programs at places of a file, for one process, or none of them. `what` they show.
    fn put(
        &mut self,
        ebpf: &mut Ebpf,
        pid: Pid,
        path: &Path,
        file: FileId,
        places: &[(&'static str, u64)],
        what: &'static str,
    ) -> bool {
        if self.functions.contains_key(&pid) {
            return true;
        }
        if self.functions.len() >= MAX_PROBED {
            tracing::warn!(pid, "too many processes have probes: {what} is not seen");
            return false;
        }
        let links = self.functions.entry(pid).or_default();
        for &(name, offset) in places {
            match attach(ebpf, name, pid, path, file, offset) {
                Ok(link) => links.push((name, link)),
                Err(error) => {
                    tracing::info!(pid, error, "{what} is not seen");
                    self.take_out(ebpf, pid);
                    return false;
                }
            }
        }
        true
    }

    /// Takes the programs out of a process's functions.
    fn take_out(&mut self, ebpf: &mut Ebpf, pid: Pid) {
        for (name, link) in self.functions.remove(&pid).unwrap_or_default() {
            if let Err(error) = function(ebpf, name).and_then(|program| program.detach(link)) {
                tracing::warn!(pid, error = refusal(&error), "a probe stays");
            }
        }
    }

    /// Takes away what was attached for a process.
    pub(super) fn forget(&mut self, ebpf: &mut Ebpf, pid: Pid) {
        self.take_out(ebpf, pid);
        if self.watched.remove(&pid)
            && self.watched.is_empty()
            && let Some(link) = self.wakes.take()
            && let Err(error) = tracepoint(ebpf).and_then(|program| program.detach(link))
        {
            tracing::warn!(error = refusal(&error), "wake-ups of threads are still looked at");
        }
    }
}

fn tracepoint(ebpf: &mut Ebpf) -> Result<&mut RawTracePoint, ProgramError> {
    ebpf.program_mut(WAKES).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn function<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// Attaches a program at an offset of this very file, for one process.
fn attach(
    ebpf: &mut Ebpf,
    name: &str,
    pid: Pid,
    exe: &Path,
    file: FileId,
    offset: u64,
) -> Result<UProbeLinkId, String> {
    // The process may have become another program since, whose code must not be touched: the file is opened, compared, and then named by
    // the descriptor. Neither asks a file system that may not answer.
    let opened = open(exe, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| error.to_string())?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let now = statx(&opened, "", flags, StatxFlags::BASIC_STATS).map_err(|error| error.to_string())?;
    let device = makedev(now.stx_dev_major, now.stx_dev_minor);
    if (FileId { device, inode: now.stx_ino, changed: now.stx_ctime.tv_sec }) != file {
        return Err("it is another program now".to_owned());
    }
    let scope = NonZeroU32::new(pid).map(UProbeScope::OneProcess).ok_or("no process")?;
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    function(ebpf, name)
        .and_then(|program| program.attach(UProbeAttachLocation::AbsoluteOffset(offset), path, scope))
        .map_err(|error| refusal(&error))
}
