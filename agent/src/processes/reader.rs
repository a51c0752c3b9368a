//! Reads who processes are on threads of its own.
//!
//! An executable, a package.json or the memory that holds the arguments may be on a file system that never answers (FUSE, a
//! network), by misfortune or on purpose. The thread that reads the kernel's events must not wait for that: it asks here, and goes on
//! with what the kernel alone knows if no answer comes within [`LIMIT`].

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Process,
    identity::{Identifier, Identity},
};
use crate::{event::Pid, privileges};

/// How long a process's own files may take. Reading one takes about a millisecond; a busy machine's disk a hundred.
pub const LIMIT: Duration = Duration::from_millis(500);
/// Threads that may wait for an answer at once. A thread more is started when all have waited too long.
const MAX_THREADS: usize = 4;
/// Processes that may wait to be read, more than any host starts in [`LIMIT`]; those beyond are known by the glance only.
const MAX_WAITING: usize = 4096;

/// Who a process is, now or soon.
#[derive(Debug, Clone)]
pub struct Answer(Arc<Contents>);

#[derive(Debug)]
struct Contents {
    /// What the kernel alone knew when it was asked.
    glance: Option<Identity>,
    /// What was read; nothing if the process had ended.
    read: OnceLock<Option<Identity>>,
    asked: Instant,
}

impl Answer {
    fn new(glance: Option<Identity>) -> Self {
        Self(Arc::new(Contents { glance, read: OnceLock::new(), asked: Instant::now() }))
    }

    /// Whether it is known; if so, who it is, unless it had ended before anything was learnt of it.
    #[must_use]
    pub fn known(&self) -> Option<Option<Arc<Process>>> {
        self.0.read.get().map(|read| read.as_ref().or(self.0.glance.as_ref()).map(|identity| identity.process.clone()))
    }

    /// The best that is known by now.
    #[must_use]
    pub fn best(&self) -> Option<&Identity> {
        self.0.read.get().and_then(Option::as_ref).or(self.0.glance.as_ref())
    }

    /// When it was asked for.
    #[must_use]
    pub fn asked(&self) -> Instant {
        self.0.asked
    }

    /// Whether both are the same question's.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug)]
enum Job {
    Read(Pid, Answer),
    /// The process is a copy of the one of the first answer.
    ReadCopy(Answer, Pid, Answer),
}

/// The threads and what they have to do.
#[derive(Debug)]
pub struct Reader {
    identifier: Identifier,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do, or never will be again.
    wanted: Condvar,
    /// Something was done.
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Since when each thread has been at its present job.
    since: Vec<Option<Instant>>,
    /// How many were done.
    done: u64,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No thread panics with the lock held; if one did, what it guards would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Reads with this identifier. Threads are started when they are needed.
    #[must_use]
    pub fn new(identifier: Identifier) -> Self {
        Self { identifier, shared: Arc::default() }
    }

    /// Asks who a process is.
    pub fn read(&mut self, pid: Pid) -> Answer {
        let answer = Answer::new(self.identifier.glance(pid));
        self.enqueue(Job::Read(pid, answer.clone()));
        answer
    }

    /// Asks who a process is that is a copy of another.
    pub fn read_copy(&mut self, parent: Answer, pid: Pid) -> Answer {
        let answer = Answer::new(self.identifier.glance(pid));
        self.enqueue(Job::ReadCopy(parent, pid, answer.clone()));
        answer
    }

    /// Whether all threads have waited so long that a new question had better not wait for them.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let state = self.shared.state();
        state.since.len() == MAX_THREADS && all_late(&state)
    }

    /// Sees to it that there is a thread that does not wait, if there may be one more.
    pub fn hurry(&mut self) {
        let mut state = self.shared.state();
        if state.jobs.is_empty() || state.since.len() >= MAX_THREADS || !all_late(&state) {
            return;
        }
        let (number, identifier, shared) = (state.since.len(), self.identifier.clone(), Arc::clone(&self.shared));
        let started =
            thread::Builder::new().name("identities".to_owned()).spawn(move || work(number, identifier, &shared));
        match started {
            Ok(_) => state.since.push(None),
            Err(error) => tracing::warn!(%error, "no thread to read processes with: they are known by less"),
        }
    }

    /// Waits until all of these are known, or nothing has become known for as long as `limit`.
    pub fn wait<'a>(&mut self, answers: impl IntoIterator<Item = &'a Answer>, limit: Duration) {
        let (mut until, mut done) = (Instant::now() + limit, 0);
        for answer in answers {
            while answer.0.read.get().is_none() {
                self.hurry();
                let state = self.shared.state();
                if state.done != done {
                    (until, done) = (Instant::now() + limit, state.done);
                }
                let Some(left) = until.checked_duration_since(Instant::now()) else { return };
                if answer.0.read.get().is_none() {
                    drop(self.shared.answered.wait_timeout(state, left.min(LIMIT)));
                }
            }
        }
    }

    fn enqueue(&mut self, job: Job) {
        let mut state = self.shared.state();
        if state.jobs.len() >= MAX_WAITING {
            tracing::warn!("too many processes wait to be read: one is known by less");
            return;
        }
        state.jobs.push_back(job);
        let first = state.since.is_empty();
        drop(state);
        if first {
            self.hurry();
        }
        self.shared.wanted.notify_one();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.state().over = true;
        // A thread that waits for a file system cannot be waited for.
        self.shared.wanted.notify_all();
    }
}

fn all_late(state: &State) -> bool {
    state.since.iter().all(|since| since.is_some_and(|since| since.elapsed() >= LIMIT))
}

fn work(number: usize, mut identifier: Identifier, shared: &Shared) {
    if let Err(error) = privileges::give_up_all_but(privileges::LOOKING) {
        tracing::warn!(%error, "a thread that reads processes keeps its privileges");
    }
    loop {
        let mut state = shared.state();
        let job = loop {
            if state.over {
                return;
            }
            match state.jobs.pop_front() {
                Some(job) => break job,
                None => state = shared.wanted.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        at(&mut state, number, Some(Instant::now()));
        drop(state);
        let (answer, identity) = match job {
            Job::Read(pid, answer) => (answer, identifier.identify(pid)),
            Job::ReadCopy(parent, pid, answer) => {
                let parent = parent.0.read.get().and_then(Option::as_ref);
                let identity = match parent {
                    Some(parent) => Some(identifier.inherit(parent, pid)),
                    None => identifier.identify(pid),
                };
                (answer, identity)
            }
        };
        // One that ended while it was read is better known by what was seen of it before.
        let glanced = answer.0.glance.as_ref().is_some_and(|glance| glance.exe.is_some());
        let identity = identity.filter(|identity| identity.exe.is_some() || !glanced);
        let _ = answer.0.read.set(identity); // each is set by one thread, once
        let mut state = shared.state();
        at(&mut state, number, None);
        state.done += 1;
        drop(state);
        shared.answered.notify_all();
    }
}

fn at(state: &mut State, thread: usize, since: Option<Instant>) {
    if let Some(entry) = state.since.get_mut(thread) {
        *entry = since;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use std::fs;

    use super::*;
    use crate::processes::{fake::Fake, name::NameSource};

    /// Whoever waits for this long waits for ever.
    const LONG: Duration = Duration::from_secs(60);

    fn service(answer: &Answer) -> &str {
        answer.best().unwrap().process.service_name()
    }

    #[test]
    fn a_process_that_cannot_be_read_holds_up_nobody() {
        let fake = Fake::new();
        for pid in 40..50 {
            fake.process(pid, "/opt/server", &["server"]);
            fake.environment(pid, &[("OTEL_SERVICE_NAME", &format!("named-{pid}"))]);
        }
        fake.hang("42/environ");
        let mut reader = Reader::new(Identifier::new(fake.proc()));
        let answers: Vec<Answer> = (40..50).map(|pid| reader.read(pid)).collect();
        let (hanging, others): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.is(&answers[2]));
        reader.wait(others.iter().copied(), LONG);
        assert!(others.iter().all(|answer| service(answer).starts_with("named-4")));
        assert!(hanging[0].known().is_none());
        assert_eq!(service(hanging[0]), "server", "what the kernel knows");
        fs::write(fake.path("42/environ"), "OTEL_SERVICE_NAME=late\0").unwrap();
        reader.wait(hanging.iter().copied(), LONG);
        assert_eq!(service(hanging[0]), "late");
        assert!(!reader.is_stuck());
    }

    #[test]
    fn threads_are_bounded() {
        let fake = Fake::new();
        let mut reader = Reader::new(Identifier::new(fake.proc()));
        let pids = 40..40 + 2 * MAX_THREADS as Pid;
        let ask = |pid| {
            fake.process(pid, "/opt/server", &["server"]);
            fake.hang(&format!("{pid}/environ"));
            reader.read(pid)
        };
        let answers: Vec<Answer> = pids.clone().map(ask).collect();
        let deadline = Instant::now() + LONG;
        while !reader.is_stuck() && Instant::now() < deadline {
            reader.wait(&answers, LIMIT);
        }
        assert!(reader.is_stuck());
        reader.hurry();
        assert_eq!(reader.shared.state().since.len(), MAX_THREADS);
        for (pid, answer) in pids.zip(&answers) {
            assert_eq!((answer.known(), service(answer)), (None, "server"));
            fs::write(fake.path(&format!("{pid}/environ")), "").unwrap();
        }
        reader.wait(&answers, LONG);
        assert!(answers.iter().all(|answer| answer.known().is_some()));
    }

    #[test]
    fn a_process_that_has_ended_is_known_by_its_glance() {
        let fake = Fake::new();
        fake.process(40, "/opt/server", &["server"]);
        fake.process(41, "/opt/server", &["server"]);
        // The only thread is kept busy until the other process is gone.
        fake.hang("40/environ");
        let mut reader = Reader::new(Identifier::new(fake.proc()));
        let (first, second, never) = (reader.read(40), reader.read(41), reader.read(999));
        fake.remove(41);
        fs::write(fake.path("40/environ"), "").unwrap();
        reader.wait([&first, &second, &never], LONG);
        assert_eq!(second.known().unwrap().unwrap().service_name(), "server");
        assert_eq!(second.best().unwrap().source, NameSource::Executable);
        assert_eq!(never.known(), Some(None));
    }

    #[test]
    fn a_process_that_ends_while_it_is_read_is_known_by_its_glance() {
        let fake = Fake::new();
        fake.process(40, "/opt/a-server-of-a-long-name", &["server"]);
        let mut reader = Reader::new(Identifier::new(fake.proc()));
        fake.hang("40/environ");
        let answer = reader.read(40);
        // Nobody waits for it yet: it has its id, but no program any more.
        fs::remove_file(fake.path("40/exe")).unwrap();
        fs::write(fake.path("40/environ"), "").unwrap();
        reader.wait([&answer], LONG);
        assert_eq!(answer.known().unwrap().unwrap().service_name(), "a-server-of-a-long-name");
    }
}
