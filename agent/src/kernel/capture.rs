//! Loads and attaches the eBPF programs, and reads their events. Everything the kernel holds for it goes away with the process,
//! however that ends: nothing is pinned.

mod processes;

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{Program, ProgramError, RawTracePoint},
    util::{KernelVersion, nr_cpus},
};
use aya_log::EbpfLogger;
use syspan_abi::{self as abi, Config, Counter, JavaLayout, Observed, PythonLayout, SocketState, selection, verdict};
use tracing::{Level, level_filters::LevelFilter};

use crate::{
    event::{Event, Pid, SocketId},
    kernel::{
        btf::{self, Btf, BtfError},
        insertion::Insertions,
        offsets,
        probes::Probes,
        programs::{self, LoadedProgram, Misses},
        propagation::{self, Adopted, Carrier, Propagation, TABLES},
        record::{self, Record},
        sockhash, syscalls,
    },
    processes::proc::Proc,
    streams::Loss,
};

/// The programs, built by build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SYSPAN_EBPF_OBJECT"));

/// The raw tracepoints and their programs. Exits come first: none is missed of a call whose entry was seen.
const HOOKS: [(&str, &str); 5] = [
    ("sched_process_fork", "sched_process_fork"),
    ("sched_process_exec", "sched_process_exec"),
    ("sched_process_exit", "sched_process_exit"),
    ("sys_exit", "exit_syscall"),
    ("sys_enter", "enter_syscall"),
];

/// Part of the ring buffer that may fill before the agent is woken early.
const WAKE_PART: u32 = 4;

/// Settings of a capture.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Observe every process but this one.
    pub all: bool,
    /// Tell of every program execution.
    pub watch_exec: bool,
    /// Tell of every process that begins to listen.
    pub watch_listen: bool,
    /// Captured bytes of an HTTP or unknown message.
    pub head_limit: u32,
    /// Captured bytes of a SQL message.
    pub sql_limit: u32,
    /// Size of the ring buffer, bytes: a power of two, a multiple of the page size.
    pub ring_size: u32,
    /// How contexts are carried to other hosts.
    pub propagation: Propagation,
    /// Random, so that kernel addresses cannot be told from socket numbers.
    pub address_key: u64,
}

/// Why the programs do not run.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Structure offsets could not be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// `/sys/kernel/btf/vmlinux` could not be read.
    #[error(
        "this kernel's type information (/sys/kernel/btf/vmlinux) cannot be read: {0}; use a kernel with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf(std::io::Error),
    /// The object could not be loaded.
    #[error(
        "the kernel refused the eBPF maps: {0}; run as root or with CAP_BPF and CAP_PERFMON (`syspan doctor` says more)"
    )]
    Load(#[from] EbpfError),
    /// A program could not be loaded or attached.
    #[error("the kernel refused the eBPF program {name}: {}; `syspan doctor` says more", programs::refusal(.source))]
    Program {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// `--propagate` may not attach to sockets.
    #[error(
        "no permission to attach to the sockets of a cgroup: run as root, grant CAP_NET_ADMIN, or leave --propagate out"
    )]
    NoNetAdmin,
    /// `--propagate` has nowhere to attach to.
    #[error(
        "the root of cgroup v2 is not mounted here, which --propagate attaches to: `mount -t cgroup2 none DIRECTORY`"
    )]
    NoCgroup,
    /// The same.
    #[error("{} cannot be opened, which --propagate attaches to: {}", .0.display(), .1)]
    Cgroup(PathBuf, std::io::Error),
    /// The table of sockets is not where it should be.
    #[error("the programs were not built with a table of sockets, which --propagate headers takes: build syspan again")]
    NoSockHash,
    /// A map could not be used.
    #[error("an eBPF map cannot be used: {0}")]
    Map(#[from] MapError),
}

/// Running programs.
pub struct Capture {
    ring: RingBuf<MapData>,
    processes: HashMap<MapData, u32, Observed>,
    /// Where those that run CPython have their contexts.
    pythons: HashMap<MapData, u32, PythonLayout>,
    /// Where those that run Java have their virtual threads.
    javas: HashMap<MapData, u32, JavaLayout>,
    /// Every process is observed.
    all: bool,
    sockets: HashMap<MapData, u64, SocketState>,
    counts: PerCpuArray<MapData, u64>,
    told: [u64; COUNTERS.len()],
    /// System calls that the kernel did not show to the programs, and how many of them were told.
    misses: (Misses, u64),
    /// The programs' own messages, where there are any.
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// What is attached only where it is needed.
    probes: Probes,
    /// What carries contexts to other hosts, if anything does.
    carrier: Option<Carrier>,
    /// What the programs inserted into bytes that were not read from the ring yet.
    insertions: Insertions,
    /// Owns programs and links.
    ebpf: Ebpf,
}

/// A loss counter and the cause it stands for.
const COUNTERS: [(Counter, Loss); abi::COUNTERS as usize] = [
    (Counter::RingFull, Loss::RingFull),
    (Counter::MapFull, Loss::MapFull),
    (Counter::UserFault, Loss::UserFault),
    (Counter::Budget, Loss::Budget),
    (Counter::NoticeLost, Loss::NoticeLost),
    (Counter::DescriptorGone, Loss::DescriptorGone),
    (Counter::Preempted, Loss::Preempted),
];

impl Capture {
    /// Loads everything and attaches it. From here on events come.
    ///
    /// # Errors
    /// What the kernel refused, with the remedy.
    pub fn start(settings: &Settings) -> Result<Self, CaptureError> {
        let blob = std::fs::read(Path::new("/").join(btf::VMLINUX)).map_err(CaptureError::NoBtf)?;
        let globals = Config {
            syscalls: syscalls::table(),
            typed_task: kernel_is(TYPED_TASK).into(),
            preemptible: kernel_is(PREEMPTIBLE).into(),
            offsets: offsets::read(&Btf::parse(&blob)?)?,
            all: settings.all.into(),
            watch_exec: settings.watch_exec.into(),
            watch_listen: settings.watch_listen.into(),
            head_limit: settings.head_limit,
            sql_limit: settings.sql_limit,
            wake_at: settings.ring_size / WAKE_PART,
            futex: u32::try_from(syscalls::FUTEX).unwrap_or(u32::MAX),
            propagate: settings.propagation.carrier(),
            address_key: settings.address_key,
        };
        drop(blob);
        let cpus = nr_cpus().map_or(1, |n| u32::try_from(n).unwrap_or(1));
        // What is not shown is not sent either: the verifier removes it.
        let log_level = LevelFilter::current().into_level().map_or(0u8, |level| match level {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            _ => 5,
        });
        let mut loader = EbpfLoader::new();
        loader
            .override_global("CONFIG", &globals, true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .map_max_entries("RING", settings.ring_size)
            .map_max_entries("SCRATCHES", cpus * abi::SCRATCHES_OF_A_CPU);
        for table in TABLES {
            loader.map_max_entries(table, settings.propagation.entries());
        }
        loader.map_max_entries(sockhash::TABLE, settings.propagation.sockets());
        let mut ebpf = match settings.propagation {
            Propagation::Off | Propagation::Tcp => loader.load(OBJECT)?,
            Propagation::Headers => {
                propagation::may_attach()?;
                loader.load(&sockhash::with_sockhash(OBJECT).ok_or(CaptureError::NoSockHash)?)?
            }
        };

        let mut take = |name: &str| ebpf.take_map(name).ok_or(MapError::InvalidName { name: name.to_owned() });
        let ring = RingBuf::try_from(take("RING")?)?;
        let mut processes = HashMap::try_from(take("PROCESSES")?)?;
        let pythons = HashMap::try_from(take("PYTHONS")?)?;
        let javas = HashMap::try_from(take("JAVAS")?)?;
        let sockets = HashMap::try_from(take("SOCKETS")?)?;
        let counts = PerCpuArray::try_from(take("COUNTS")?)?;
        processes.insert(std::process::id(), processes::only(selection::EXCLUDED), 0)?;

        for (hook, name) in HOOKS {
            let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded);
            program
                .and_then(|program| attach(hook, program))
                .map_err(|source| CaptureError::Program { name, source })?;
        }
        let probes = Probes::load(&mut ebpf);
        let carrier = match settings.propagation {
            Propagation::Off => None,
            Propagation::Tcp => Some(Carrier::option(&mut ebpf)?),
            Propagation::Headers => Some(Carrier::headers(&mut ebpf)?),
        };
        let logger = match EbpfLogger::init(&mut ebpf) {
            Ok(logger) => Some(logger),
            Err(error) => {
                tracing::debug!(%error, "the programs' messages are not shown");
                None
            }
        };
        let misses = Misses::of(ebpf.programs().map(|(_, program)| program));
        // The kernel's type information, read here and by aya, is megabytes that nobody needs any more.
        super::sys::return_freed_memory();
        Ok(Self {
            ring,
            processes,
            pythons,
            javas,
            all: settings.all,
            sockets,
            counts,
            told: [0; COUNTERS.len()],
            misses: (misses, 0),
            logger,
            probes,
            carrier,
            insertions: Insertions::default(),
            ebpf,
        })
    }

    /// The programs as the kernel took them, but for those that were not asked for.
    #[must_use]
    pub fn programs(&self) -> Vec<LoadedProgram> {
        let mut programs = programs::examine(self.ebpf.programs());
        programs.retain(|program| program.loaded);
        programs
    }

    /// Carries the contexts of connections that these processes have open already; nothing where contexts are not carried.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn adopt(&mut self, proc: &Proc, pids: &[Pid]) -> Result<Adopted, CaptureError> {
        match &mut self.carrier {
            Some(carrier) => carrier.adopt(&mut self.ebpf, proc, pids),
            None => Ok(Adopted::default()),
        }
    }

    /// Stops following a socket. A socket that is gone is no error.
    pub fn ignore(&mut self, socket: SocketId) {
        self.give_verdict(socket, verdict::IGNORE);
    }

    /// Forgets a socket: it is announced again when it is used again.
    pub fn forget(&mut self, socket: SocketId) {
        let _ = self.sockets.remove(&socket); // it may have been closed, which removes it as well
    }

    /// Follows a socket with the SQL budget.
    pub fn follow_sql(&mut self, socket: SocketId) {
        self.give_verdict(socket, verdict::SQL);
    }

    fn give_verdict(&mut self, socket: SocketId, verdict: u32) {
        // Counts that the kernel changed between the two calls are lost; for a TCP socket none matter, for a Unix socket the streams expect it.
        const BPF_EXIST: u64 = 2;
        if let Ok(mut state) = self.sockets.get(&socket, 0) {
            state.verdict = verdict;
            let _ = self.sockets.insert(socket, state, BPF_EXIST);
        }
    }

    /// The next event that waits in the ring buffer.
    pub fn next_record(&mut self) -> Option<Record> {
        while let Some(item) = self.ring.next() {
            match record::parse(&item) {
                Some(Record::Event(Event::Data(mut data))) => {
                    self.insertions.complete(&mut data);
                    return Some(Record::Event(Event::Data(data)));
                }
                Some(Record::Inserted(insertion)) => {
                    self.insertions.inserted(insertion);
                    return Some(Record::Inserted(insertion));
                }
                Some(record) => return Some(record),
                None => tracing::warn!(bytes = item.len(), "an event of unknown shape was left out"),
            }
        }
        None
    }

    /// What was lost in the kernel since the last call; shows the programs' messages as well.
    pub fn losses(&mut self, time: u64) -> Vec<Event> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let mut events = Vec::new();
        let (misses, told) = &mut self.misses;
        let total = misses.count();
        let count = total.saturating_sub(*told);
        if count > 0 {
            *told = total;
            events.push(Event::Lost { time, cause: Loss::Preempted.name().to_owned(), count });
        }
        for ((counter, loss), told) in COUNTERS.iter().zip(&mut self.told) {
            let Ok(values) = self.counts.get(&(*counter as u32), 0) else { continue };
            let total: u64 = values.iter().sum();
            let count = total.saturating_sub(*told);
            if count > 0 {
                *told = total;
                events.push(Event::Lost { time, cause: loss.name().to_owned(), count });
            }
        }
        events
    }
}

impl AsFd for Capture {
    /// Readable when much is waiting (see [`WAKE_PART`]).
    fn as_fd(&self) -> BorrowedFd<'_> {
        super::sys::descriptor(&self.ring)
    }
}

/// Since when the verifier knows the type of the current task (`bpf_get_current_task_btf`).
const TYPED_TASK: KernelVersion = KernelVersion::new(5, 11, 0);
/// Since when programs at system calls may be interrupted.
const PREEMPTIBLE: KernelVersion = KernelVersion::new(7, 0, 0);

/// Whether this kernel is this one or a younger one.
fn kernel_is(least: KernelVersion) -> bool {
    KernelVersion::current().is_ok_and(|version| version >= least)
}

/// Loads one program and attaches it to a raw tracepoint.
fn attach(tracepoint: &str, program: &mut Program) -> Result<(), ProgramError> {
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    program.attach(tracepoint).map(drop)
}
