//! An event loop whose tasks run in contexts of their own (asyncio), each with the address of one that is over: an edge is right or missing,
//! never wrong, whether it is seen or not in which tasks others begin.

use std::collections::VecDeque;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::{
    simulation::{Score, judge},
    *,
};
use crate::event::{Ancestor, Coroutine};

const LOOP: Thread = (1, 1);

/// What a task does next.
#[derive(Debug, Clone, Copy)]
enum Op {
    Call,
    /// Its connection goes back to the pool after another call, which a task of its own makes (asyncpg's `shield`).
    CallAndReset,
    /// Tasks that make a call each, all of which it waits for (`gather`).
    Gather(usize),
    /// A task that does this, and which nobody waits for.
    Start(&'static [Op]),
    /// A task that does this, and which it waits for (`wait_for`).
    Await(&'static [Op]),
    /// Something that the kernel does not see, for some turns.
    Sleep,
    Answer,
}

use Op::*;

/// What the task of a request does, and the sort of the calls that it makes itself.
type Script = (&'static str, &'static [Op]);

const SEQUENTIAL: Script = ("sequential", &[Call, CallAndReset, Call, Answer]);
const PARALLEL: Script = ("parallel", &[Sleep, Gather(3), CallAndReset, Answer]);
const NOTHING: Script = ("nothing", &[Answer]);
const STARTING: Script = ("starting", &[Call, Start(&[Sleep, Call, Call]), Sleep, Call, Answer, Call]);
/// The response is written by a task that is started for it, at once.
const AWAITING: Script = ("awaiting", &[Await(&[Sleep, CallAndReset, Call, Answer])]);

/// The same, but only after a call.
const LATE: Script = ("late", &[Call, Await(&[CallAndReset, Call, Answer])]);

#[derive(Debug)]
struct Task {
    address: u32,
    began: Time,
    ancestors: Vec<Ancestor>,
    /// Its beginning was told.
    told: bool,
    ops: VecDeque<Op>,
    /// The request, by its number; of others their own number, from [`BACKGROUND`].
    number: usize,
    /// Who waits for it.
    parent: Option<usize>,
    /// How many it waits for.
    waits_for: usize,
    /// A connection on which it makes its only call.
    given: Option<usize>,
    /// What sort of calls it makes.
    sort: &'static str,
}

/// How many programs are tried.
const SEEDS: u64 = 28;

/// The context in which everything was set up.
const BASE: u32 = 1_000_000;

/// Numbers of what is no request's.
const BACKGROUND: usize = 1_000_000;

struct Connection {
    socket: SocketId,
    reader: u32,
    /// The task whose call it carries, and whether the connection is reset afterwards.
    call: Option<(usize, bool)>,
}

struct Loop {
    world: World,
    random: ChaCha8Rng,
    /// Addresses of contexts that are over.
    free: Vec<u32>,
    addresses: u32,
    tasks: Vec<Task>,
    /// Those that run in the next turn.
    ready: VecDeque<usize>,
    sleeping: Vec<usize>,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    queue: VecDeque<(usize, bool)>,
    /// Clients' connections: the socket, its context, and whether a request is open.
    clients: Vec<(SocketId, u32, bool)>,
    /// The client of each request.
    requests: Vec<usize>,
    calls: usize,
    /// Tasks run before what has come is read in the same turn (asyncio), or after it (uvloop).
    before: bool,
    /// It is seen in which tasks others begin.
    shown: bool,
}

/// Who begins a task.
#[derive(Debug, Clone, Copy)]
enum Beginner {
    /// What this context belongs to; its own beginning was not seen.
    Older(u32),
    Task(usize),
}

impl Loop {
    fn new(seed: u64, pool: usize, clients: usize, shown: bool) -> Self {
        let mut world = World::new();
        world.process(1, "app", Runtime::Threads);
        world.wait(LOOP);
        let mut addresses = 0;
        let mut address = || {
            addresses += 1;
            addresses
        };
        let clients = (0..clients).map(|_| (world.accept(LOOP), address(), false)).collect();
        let connections = (0..pool)
            .map(|n| Connection {
                socket: world.tcp(LOOP, Origin::Unknown, 20_000 + n as u16, 5000),
                reader: address(),
                call: None,
            })
            .collect();
        Self {
            world,
            random: ChaCha8Rng::seed_from_u64(seed),
            free: Vec::new(),
            addresses,
            tasks: Vec::new(),
            ready: VecDeque::new(),
            sleeping: Vec::new(),
            connections,
            idle: (0..pool).collect(),
            queue: VecDeque::new(),
            clients,
            requests: Vec::new(),
            calls: 0,
            before: seed.is_multiple_of(2),
            shown,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.next_u32() as usize % n
    }

    /// Makes so many requests, and some tasks that are no request's.
    fn run(mut self, scripts: &[Script], requests: usize) -> Run {
        let mut background = BACKGROUND;
        while self.requests.len() < requests || self.is_busy() {
            self.world.wait(LOOP);
            let running = std::mem::take(&mut self.ready);
            if self.before {
                running.iter().for_each(|&task| self.step(task));
            }
            for _ in 0..self.clients.len() {
                let client = self.below(self.clients.len());
                if self.requests.len() < requests && !self.clients[client].2 && self.below(3) == 0 {
                    let script = scripts[self.below(scripts.len())];
                    self.receive(client, script);
                }
            }
            for connection in 0..self.connections.len() {
                if self.connections[connection].call.is_some() && self.below(3) == 0 {
                    self.returned(connection);
                }
            }
            if self.requests.len() < requests && self.below(8) == 0 {
                background += 1;
                self.start(&[Call, Sleep, Call], background, None, Beginner::Older(BASE), "poll");
            }
            if !self.before {
                running.iter().for_each(|&task| self.step(task));
            }
            for task in std::mem::take(&mut self.sleeping) {
                if self.below(3) == 0 { self.ready.push_back(task) } else { self.sleeping.push(task) }
            }
        }
        self.world.run()
    }

    fn is_busy(&self) -> bool {
        let calling = self.connections.iter().any(|connection| connection.call.is_some());
        calling || !self.ready.is_empty() || !self.sleeping.is_empty()
    }

    fn receive(&mut self, client: usize, (sort, script): Script) {
        let (socket, reader, open) = &mut self.clients[client];
        *open = true;
        let number = self.requests.len();
        let reader = *reader;
        self.world.runs(LOOP, Coroutine::Context(reader));
        self.world.request(LOOP, *socket, &format!("/r{number}"));
        self.requests.push(client);
        self.start(script, number, None, Beginner::Older(reader), sort);
    }

    fn start(
        &mut self,
        ops: &[Op],
        number: usize,
        parent: Option<usize>,
        beginner: Beginner,
        sort: &'static str,
    ) -> usize {
        let mut ancestors = match beginner {
            Beginner::Older(context) => vec![Ancestor { context, began: None }],
            Beginner::Task(task) => {
                let Task { address, began, ancestors, .. } = &self.tasks[task];
                [&[Ancestor { context: *address, began: Some(*began) }], ancestors.as_slice()].concat()
            }
        };
        ancestors.truncate(4);
        let began = self.world.tick();
        // The one that was freed last, mostly.
        let address = match self.free.len() {
            0 => None,
            n => Some(if self.below(4) > 0 { n - 1 } else { self.below(n) }),
        };
        let address = address.map(|at| self.free.remove(at)).unwrap_or_else(|| {
            self.addresses += 1;
            self.addresses
        });
        let ops = ops.iter().copied().collect();
        let told = !self.shown;
        self.tasks.push(Task { address, began, ancestors, told, ops, number, parent, waits_for: 0, given: None, sort });
        self.ready.push_back(self.tasks.len() - 1);
        self.tasks.len() - 1
    }

    fn step(&mut self, task: usize) {
        if let Some(connection) = self.tasks[task].given.take() {
            return self.send(connection, task, false);
        }
        let (number, address) = (self.tasks[task].number, self.tasks[task].address);
        match self.tasks[task].ops.pop_front() {
            None => {
                self.free.push(address);
                if let Some(parent) = self.tasks[task].parent {
                    self.waited(parent);
                }
            }
            Some(Call) => self.demand(task, false),
            Some(CallAndReset) => self.demand(task, true),
            Some(Gather(tasks)) => {
                self.tasks[task].waits_for = tasks;
                for _ in 0..tasks {
                    self.start(&[Call], number, Some(task), Beginner::Task(task), "gather");
                }
            }
            Some(Start(ops)) => {
                self.start(ops, number, None, Beginner::Task(task), "later");
                self.step(task);
            }
            Some(Await(ops)) => {
                self.tasks[task].waits_for = 1;
                self.start(ops, number, Some(task), Beginner::Task(task), "await");
            }
            Some(Sleep) => self.sleeping.push(task),
            Some(Answer) => {
                let client = self.requests[number];
                self.runs(task);
                self.world.answer(LOOP, self.clients[client].0);
                self.clients[client].2 = false;
                self.step(task);
            }
        }
    }

    /// The task is about to do something.
    fn runs(&mut self, task: usize) {
        let task = &mut self.tasks[task];
        self.world.runs(LOOP, Coroutine::Context(task.address));
        if !std::mem::replace(&mut task.told, true) {
            self.world.began(LOOP, task.began, task.ancestors.clone());
        }
    }

    fn waited(&mut self, task: usize) {
        self.tasks[task].waits_for -= 1;
        if self.tasks[task].waits_for == 0 {
            self.ready.push_back(task);
        }
    }

    fn demand(&mut self, task: usize, resets: bool) {
        match self.idle.pop() {
            Some(connection) => self.send(connection, task, resets),
            None => self.queue.push_back((task, resets)),
        }
    }

    fn send(&mut self, connection: usize, task: usize, resets: bool) {
        let number = self.tasks[task].number;
        self.runs(task);
        self.calls += 1;
        let path = format!("/{}/r{number}/c{}", self.tasks[task].sort, self.calls);
        self.world.call(LOOP, self.connections[connection].socket, &path);
        self.connections[connection].call = Some((task, resets));
    }

    fn returned(&mut self, connection: usize) {
        let Connection { socket, reader, call } = &mut self.connections[connection];
        let (task, resets) = call.take().unwrap();
        self.world.runs(LOOP, Coroutine::Context(*reader));
        self.world.result(LOOP, *socket);
        if resets {
            let number = self.tasks[task].number;
            self.tasks[task].waits_for = 1;
            let reset = self.start(&[], number, Some(task), Beginner::Task(task), "reset");
            self.tasks[reset].given = Some(connection);
            return;
        }
        self.ready.push_back(task);
        match self.queue.pop_front() {
            Some((waiting, resets)) => self.send(connection, waiting, resets),
            None => self.idle.push(connection),
        }
    }
}

fn score(seed: u64, scripts: &[Script], requests: usize, shown: bool) -> Score {
    score_of(seed, scripts, requests, shown, |_| true)
}

/// The same of some spans alone.
fn score_of(seed: u64, scripts: &[Script], requests: usize, shown: bool, counts: impl Fn(&Span) -> bool) -> Score {
    let pool = [2, 4, 20][seed as usize % 3];
    let clients = [1, 4, 16, 32][seed as usize / 3 % 4];
    judge(&Loop::new(seed, pool, clients, shown).run(scripts, requests), 0, counts)
}

#[test]
fn one_call_after_the_other_is_right() {
    for seed in 0..6 {
        let score = score(seed, &[("three", &[Call, Call, Call, Answer]), NOTHING], 100, false);
        assert_eq!(score.wrong, 0, "{seed}: {score:?}");
        assert!(score.right > 90, "{seed}: {score:?}");
    }
}

/// Without any habit being learnt, and whatever others do meanwhile.
#[test]
fn what_tasks_begin_is_theirs_where_that_is_seen() {
    const DEEP: Script =
        ("deep", &[Call, Await(&[Gather(2), Await(&[CallAndReset, Gather(2)])]), Start(&[Call]), Sleep, Call, Answer]);
    let is_waited_for = |span: &Span| {
        let url = span.string("url.full").unwrap();
        !url.contains("/poll/") && !url.contains("/later/")
    };
    for seed in 0..12 {
        let score = score_of(seed, &[PARALLEL, DEEP, NOTHING], 40, true, is_waited_for);
        assert_eq!((score.wrong, score.missing), (0, 0), "{seed}: {score:?}");
        assert!(score.right > 60, "{seed}: {score:?}");
    }
}

/// With tasks that have nothing to do with any request, and such as end with a call and answer nothing; where a response is written by a task
/// that began long after its request was read, at an address that others had meanwhile.
#[test]
fn no_edge_is_ever_wrong() {
    const SCRIPTS: [&[Script]; 7] = [
        &[SEQUENTIAL],
        &[PARALLEL, NOTHING],
        &[STARTING, SEQUENTIAL],
        &[LATE],
        &[LATE, PARALLEL],
        &[LATE, STARTING, SEQUENTIAL],
        &[AWAITING, PARALLEL, STARTING, NOTHING, SEQUENTIAL],
    ];
    for (shown, least) in [(false, 40), (true, 120)] {
        let mut all = Score::default();
        for seed in 0..SEEDS {
            let score = score(seed, SCRIPTS[seed as usize % SCRIPTS.len()], 60, shown);
            assert_eq!(score.wrong, 0, "{seed}: {score:?}");
            (all.right, all.missing) = (all.right + score.right, all.missing + score.missing);
        }
        assert!(all.right > least * SEEDS as usize, "{all:?}");
    }
}
