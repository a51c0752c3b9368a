//! Live events: the kernel's, with who the processes are told before anything they did.

mod selection;

use std::{
    collections::{HashMap, HashSet},
    io::Read as _,
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd},
};

use lru::LruCache;
use rustix::{
    thread::CapabilitySet,
    time::{ClockId, clock_gettime},
};

use super::{
    CaptureArgs, Failure,
    held::{Held, Introduction},
};
use crate::{
    event::{Context, Data, Event, Limits, Pid, RECORDING_VERSION, SocketId, Time},
    kernel::{
        capture::{Capture, Settings},
        propagation::Propagation,
        record::Record,
        support,
    },
    privileges,
    processes::{
        identity::{Identifier, Identity},
        proc::Proc,
        reader::{self, Answer, Reader},
        selector::{SelectedBy, Selectors, Survey},
        table::ProcessTable,
    },
    streams::Loss,
};

/// Where the file systems of the host are.
const PROC: &str = "/proc";

/// Processes that may be let go while the ring buffer still tells of them.
const MAX_DISMISSED: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Records that are read in one turn of the loop. Under more load than the agent can bear the ring is never empty, and
/// signals, finished spans and loss counters must have their turn nevertheless.
const TURN: usize = 4096;

/// Processes of which it is not yet known how closely they are to be observed.
const MAX_UNKNOWN: usize = 4096;

/// The kernel's programs and what is known of the processes they tell of.
pub(super) struct Observer {
    capture: Capture,
    limits: Limits,
    table: ProcessTable,
    proc: Proc,
    selectors: Selectors,
    /// Whether processes are chosen, and not simply everything is observed.
    one_by_one: bool,
    /// Why a chosen process is observed.
    chosen: HashMap<Pid, SelectedBy>,
    /// Processes that are observed no longer, of which something may still be in the ring buffer.
    dismissed: LruCache<Pid, ()>,
    /// Processes that the engine knows, or will before the events that are held.
    told: HashSet<Pid>,
    /// Processes of which it is not yet known what else the kernel can tell.
    unknown: Vec<(Pid, Answer)>,
    uring: HashSet<Pid>,
    /// It is told as well which of Python's tasks begin which.
    python_tasks: bool,
    held: Held,
}

impl Observer {
    /// Checks what is needed, loads the programs and selects the processes there are.
    pub(super) fn start(selectors: Selectors, args: &CaptureArgs) -> Result<Self, Failure> {
        let mut observer = Self::load(selectors, args, false)?;
        observer.select_existing()?;
        // Children that were made while the list was read.
        observer.select_existing()?;
        observer.adopt_connections()?;
        // Who they are is read before anything else is: one that ends right after its first request has a name then, and
        // so have the copies it makes of itself.
        let chosen: Vec<Pid> = observer.chosen.keys().copied().collect();
        let answers: Vec<Answer> = chosen.into_iter().map(|pid| observer.ask(pid)).collect();
        observer.table.reader().wait(&answers, reader::LIMIT);
        observer.look_closer();
        Ok(observer)
    }

    /// The same for nothing but the children that this process will start.
    pub(super) fn of_children(args: &CaptureArgs) -> Result<Self, Failure> {
        let mut observer = Self::load(Selectors::default(), args, true)?;
        observer.capture.select_children()?;
        Ok(observer)
    }

    fn load(selectors: Selectors, args: &CaptureArgs, children_only: bool) -> Result<Self, Failure> {
        let report = support::doctor(&support::Host::at("/"));
        report.require()?;
        report.restrictions().for_each(|sentence| eprintln!("syspan: {sentence}"));
        let proc = Proc::at(PROC);
        if !children_only {
            // A wrong --pid is said before anything is loaded.
            Survey::candidates(&proc, &selectors).and_then(|all| selectors.select(&all, std::process::id()))?;
        }
        let one_by_one = children_only || !selectors.everything();
        let [a, b, c, d, e, f, g, h, ..] = random()?;
        let capture = Capture::start(&Settings {
            all: !one_by_one,
            watch_exec: !selectors.exes.is_empty(),
            watch_listen: !selectors.ports.is_empty(),
            head_limit: args.head_limit,
            sql_limit: args.sql_limit,
            ring_size: args.ring_bytes(),
            propagation: args.propagation()?,
            address_key: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        })?;
        Ok(Self {
            capture,
            limits: args.limits(),
            table: ProcessTable::new(Reader::new(Identifier::new(proc.clone()))),
            proc,
            selectors,
            one_by_one,
            chosen: HashMap::new(),
            dismissed: LruCache::new(MAX_DISMISSED),
            told: HashSet::new(),
            unknown: Vec::new(),
            uring: HashSet::new(),
            python_tasks: args.python_tasks,
            held: Held::default(),
        })
    }

    /// Connections that are open already are included in `--propagate`, as far as this kernel lets them be.
    fn adopt_connections(&mut self) -> Result<(), Failure> {
        let pids = if self.selectors.everything() { self.proc.pids()? } else { self.chosen.keys().copied().collect() };
        let adopted = self.capture.adopt(&self.proc, &pids)?;
        let left_out = adopted.found - adopted.included;
        if left_out > 0 {
            let remedy = match adopted.carrier {
                Propagation::Tcp => "Linux 6.12 or newer is needed for them, or new connections",
                _ => "the kernel refused them, or there are too many",
            };
            eprintln!(
                "syspan: {left_out} connections are older than syspan and carry no contexts to other hosts: {remedy}"
            );
        }
        Ok(())
    }

    /// How many processes were chosen one by one; `None` if everything is observed.
    pub(super) fn chosen(&self) -> Option<usize> {
        (!self.selectors.everything()).then_some(self.chosen.len())
    }

    /// The first event of a run.
    pub(super) fn beginning(&self) -> Result<Event, Failure> {
        let seed = random()?;
        let seed = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        // The two clocks are read one after the other: half a microsecond apart, the same for every span of the run.
        let wall = clock_gettime(ClockId::Realtime);
        let wall_offset = wall.tv_sec * 1_000_000_000 + wall.tv_nsec - i64::try_from(now()).unwrap_or(i64::MAX);
        Ok(Event::Start { version: RECORDING_VERSION, wall_offset, seed, limits: self.limits })
    }

    /// Everything is attached and started: the calling thread gives up the privileges that only that took.
    pub(super) fn settle(&self, also_kept: CapabilitySet) -> Result<(), Failure> {
        let kernel = support::Host::at("/").kernel().unwrap_or_default();
        privileges::give_up_all_but(privileges::capturing(kernel) | also_kept)
            .and_then(|()| privileges::close_memory())
            .map_err(|error| format!("the kernel does not let syspan give up its privileges: {error}").into())
    }

    /// Hands over what waits in the ring buffer, as far as it is known whose it is; at most [`TURN`] records. Says whether that was
    /// all.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Event)) -> bool {
        self.look_closer();
        self.held.release(&mut self.table, &mut take);
        let mut all = false;
        for _ in 0..TURN {
            let Some(record) = self.capture.next_record() else {
                all = true;
                break;
            };
            self.handle(record, &mut take);
        }
        self.held.release(&mut self.table, &mut take);
        all
    }

    /// The same at the end of a run: everything that happened until now, and not what goes on happening.
    pub(super) fn drain_last(&mut self, mut take: impl FnMut(Event)) {
        let end = now();
        while let Some(record) = self.capture.next_record() {
            let later = record.time().is_some_and(|time| time > end);
            self.handle(record, &mut take);
            if later {
                break;
            }
        }
        self.held.release(&mut self.table, &mut take);
    }

    /// What the kernel could not tell since the last call, and, if `all` that had happened before was drained, the time: what
    /// still waits is older and would come too late to be put in order.
    pub(super) fn tick(&mut self, all: bool, mut take: impl FnMut(Event)) {
        let time = now();
        for event in self.capture.losses(time) {
            self.held.pass(event, &mut take);
        }
        if all {
            self.held.pass(Event::Tick { time }, &mut take);
        }
    }

    /// The last call of a run: hands over what is held.
    pub(super) fn finish(&mut self, mut take: impl FnMut(Event)) {
        self.held.finish(self.table.reader(), &mut take);
    }

    /// Follows a socket no longer.
    pub(super) fn ignore(&mut self, socket: SocketId) {
        self.capture.ignore(socket);
    }

    /// Forgets a socket, which is announced again when it is used again.
    pub(super) fn forget(&mut self, socket: SocketId) {
        self.capture.forget(socket);
    }

    /// Follows a socket with the SQL budget.
    pub(super) fn follow_sql(&mut self, socket: SocketId) {
        self.capture.follow_sql(socket);
    }

    fn handle(&mut self, record: Record, take: &mut impl FnMut(Event)) {
        match record {
            Record::Event(event) => {
                match &event {
                    // What begins a coroutine is told right before the first bytes that it moves.
                    Event::Data(Data { task, .. })
                    | Event::Context(Context { task, .. })
                    | Event::Coroutine { task, .. } => {
                        if self.dismissed.contains(&task.pid) {
                            return;
                        }
                        self.introduce(task.pid, None, take);
                    }
                    // A process that has moved no bytes has nothing to do with any request.
                    Event::Wake { task, .. } | Event::Thread { task, .. } | Event::Goroutine { task, .. }
                        if !self.told.contains(&task.pid) =>
                    {
                        return;
                    }
                    _ => {}
                }
                self.held.pass(event, take);
            }
            Record::Socket(socket, command) => {
                if self.dismissed.contains(&socket.task.pid) {
                    return;
                }
                self.introduce(socket.task.pid, Some(&command), take);
                self.held.pass(Event::Socket(socket), take);
            }
            Record::Inserted(insertion) => self.handle(Record::Event(Event::Context(insertion.context)), take),
            Record::Exec(pid) => self.executed(pid),
            Record::Fork { parent, child } => {
                self.table.on_fork(parent, child);
                self.told.remove(&child);
                self.dismissed.pop(&child);
                if !self.one_by_one {
                    return;
                }
                let by = match self.chosen.get(&parent) {
                    Some(by) if !by.includes_children() => by.clone(),
                    _ => SelectedBy::Parent(parent),
                };
                self.chosen.insert(child, by);
            }
            Record::Exit { time, pid } => {
                self.table.on_exit(pid);
                self.chosen.remove(&pid);
                self.uring.remove(&pid);
                self.capture.ended(pid);
                if self.told.remove(&pid) {
                    self.held.pass(Event::Exit { time, pid }, take);
                }
            }
            Record::Listen(pid) => {
                if let Some(candidate) = Survey::one(&self.proc, &self.selectors, pid) {
                    self.decide(&candidate);
                }
            }
            Record::IoUring(pid) => {
                if self.uring.insert(pid) {
                    let event = Event::Lost { time: now(), cause: Loss::IoUring.name().to_owned(), count: 1 };
                    self.held.pass(event, take);
                }
            }
        }
    }

    /// Who a process is; once that is known, what else the kernel can tell of it is asked for.
    fn ask(&mut self, pid: Pid) -> Answer {
        let answer = self.table.ask(pid);
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.push((pid, answer.clone()));
        }
        answer
    }

    /// Asks the kernel for what else it can tell of the processes that have become known.
    fn look_closer(&mut self) {
        let Self { table, capture, proc, python_tasks, .. } = self;
        self.unknown.retain(|(pid, answer)| {
            if answer.known().is_none() {
                return table.is_current(*pid, answer);
            }
            let current = answer.best().filter(|_| table.is_current(*pid, answer));
            if let Some(layout) = current.and_then(|identity| identity.goroutines) {
                capture.follow_goroutines(*pid, layout);
            }
            if let Some(place) = current.and_then(|identity| identity.tokio_task) {
                capture.follow_tasks(*pid, place);
            }
            if let Some(http) = current.and_then(|identity| identity.net_http) {
                capture.watch_net_http(*pid, &proc.exe_file(*pid), &http);
            }
            if let Some(python) = current.and_then(|identity| identity.python.as_ref()) {
                capture.follow_contexts(*pid, python);
                if let Some(copies) = python.copies.as_ref().filter(|_| *python_tasks) {
                    capture.watch_copies(*pid, copies);
                }
            }
            if let Some(layout) = current.and_then(|identity| identity.java) {
                capture.follow_virtual_threads(*pid, layout);
            }
            if current.is_some_and(hands_work_over) {
                capture.watch_wakes(*pid);
            }
            false
        });
    }

    /// Tells the engine who a process is, once.
    fn introduce(&mut self, pid: Pid, command: Option<&str>, take: &mut impl FnMut(Event)) {
        if !self.told.insert(pid) {
            return;
        }
        self.table.ask_again(pid);
        let introduction = Introduction { pid, answer: self.ask(pid), command: command.map(str::to_owned) };
        self.held.introduce(introduction, take);
    }
}

impl AsFd for Observer {
    /// Readable when much is waiting in the ring buffer.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// Whether it is a program whose threads are known to work for each other: then it matters which of them wakes which.
fn hands_work_over(identity: &Identity) -> bool {
    let name = identity.exe.as_deref().and_then(|exe| exe.file_name()?.to_str()).unwrap_or_default();
    name == "java" || name.starts_with("python")
}

/// The kernel's monotonic clock, ns: the clock of all events.
pub(super) fn now() -> Time {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// 32 bytes that nobody can guess.
fn random() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
