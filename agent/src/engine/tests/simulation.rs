//! A simulated application with an event loop and a connection pool, whose true edges are known: requests `/r7` make
//! calls `/r7/c0`, and so on.

use std::collections::VecDeque;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::*;

const LOOP: Thread = (1, 1);

/// Enough that a timer fires at least once while nothing else happens.
const WARM_UPS: usize = 16;

/// What one strand of a request's code does; strands of a stage run side by side.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Call,
    Timer,
}

/// Stages one after the other; in each, strands side by side (`Promise.all`).
pub(super) type Script = &'static [&'static [&'static [Op]]];

pub(super) const SEQUENTIAL: Script = &[&[&[Op::Call, Op::Call]]];
pub(super) const THREE: Script = &[&[&[Op::Call, Op::Call, Op::Call]]];
pub(super) const AT_ONCE: Script = &[&[&[Op::Call], &[Op::Call], &[Op::Call]]];
pub(super) const NOTHING: Script = &[];
pub(super) const TIMED: Script = &[&[&[Op::Timer, Op::Call, Op::Timer, Op::Call]]];
pub(super) const PARALLEL: Script = &[&[&[Op::Call], &[Op::Call], &[Op::Call]], &[&[Op::Call]]];
pub(super) const MIXED: Script = &[&[&[Op::Call]], &[&[Op::Call, Op::Call], &[Op::Timer, Op::Call]]];

/// When a handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As soon as its bytes are read (libuv).
    AtOnce,
    /// In the next turn, before that turn's reads (asyncio) or after them.
    NextTurn,
}

/// When a connection goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// Before the request goes on.
    First,
    /// After it.
    Last,
    /// At the end of the turn (`setImmediate`).
    Later,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) style: Style,
    pub(super) release: Release,
    /// Most connections of the pool.
    pub(super) pool: usize,
    /// They are older than the agent.
    pub(super) opened_before: bool,
    pub(super) concurrency: usize,
    pub(super) requests: usize,
    pub(super) scripts: &'static [Script],
    /// Each script ran alone before, [`WARM_UPS`] times.
    pub(super) warm: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ready {
    Request(SocketId),
    Response(usize),
    Timer(usize, usize),
}

struct Request {
    socket: SocketId,
    script: Script,
    stage: usize,
    /// Where each strand of the stage is.
    strands: Vec<usize>,
    calls: usize,
}

struct Simulation {
    world: World,
    plan: Plan,
    random: ChaCha8Rng,
    requests: Vec<Request>,
    /// The pool: the socket, and the request and strand whose call it carries.
    connections: Vec<(SocketId, Option<(usize, usize)>)>,
    idle: Vec<usize>,
    queue: VecDeque<(usize, usize)>,
    timers: Vec<(usize, usize)>,
    /// Clients' connections without an open request.
    free: Vec<SocketId>,
    /// Handlers that run in the next turn.
    deferred: Vec<Ready>,
    released: Vec<usize>,
    /// Scripts still to be run.
    scripts: VecDeque<Script>,
}

/// Right, missing and wrong edges.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) right: usize,
    pub(super) missing: usize,
    pub(super) wrong: usize,
}

impl Plan {
    pub(super) fn score(self) -> Score {
        let (run, warm_ups) = self.run(Evidence::Handoff);
        judge(&run, warm_ups, |_| true)
    }

    /// The same of inferred parents alone: of those at least as likely as this, and of the others.
    pub(super) fn inferred(self, likely: f64) -> (Score, Score) {
        let (run, warm_ups) = self.run(Evidence::Inferred);
        let confidence = |span: &Span| match span.attribute("syspan.parent.confidence") {
            Some(Value::Double(value)) => Some(*value),
            _ => None,
        };
        let with = judge(&run, warm_ups, |span| confidence(span).is_some_and(|value| value >= likely));
        (with, judge(&run, warm_ups, |span| confidence(span).is_some_and(|value| value < likely)))
    }

    /// How many have a right, a wrong or no parent when everything counts.
    pub(super) fn score_of_all(self) -> Score {
        let (run, warm_ups) = self.run(Evidence::Inferred);
        judge(&run, warm_ups, |_| true)
    }

    fn run(self, weakest: Evidence) -> (Run, usize) {
        let mut simulation = Simulation::new(self);
        if self.warm {
            for &script in self.scripts.iter().cycle().take(self.scripts.len() * WARM_UPS) {
                simulation.scripts.push_back(script);
                simulation.drain();
            }
        }
        let warm_ups = simulation.requests.len();
        for _ in 0..self.requests {
            let script = self.scripts[simulation.below(self.scripts.len())];
            simulation.scripts.push_back(script);
        }
        simulation.drain();
        let run = simulation.world.run_with(weakest);
        assert_eq!(run.spans.len(), simulation.requests.iter().map(|request| 1 + request.calls).sum::<usize>());
        run.assert_no_losses();
        (run, warm_ups)
    }
}

pub(super) fn judge(run: &Run, skip: usize, counts: impl Fn(&Span) -> bool) -> Score {
    let mut score = Score::default();
    let by_id: HashMap<_, _> = run.spans.iter().map(|span| (span.span_id, span)).collect();
    for span in run.spans.iter().filter(|span| span.kind == Kind::Client && counts(span)) {
        let url = span.string("url.full").unwrap();
        let request = url.rsplit('/').nth(1).unwrap();
        if request[1..].parse::<usize>().unwrap() < skip {
            continue;
        }
        match span.parent.map(|parent| by_id[&parent.span_id]) {
            None => score.missing += 1,
            Some(parent) => {
                assert!(parent.start <= span.start);
                if parent.string("url.path").unwrap() == format!("/{request}") {
                    score.right += 1;
                } else {
                    score.wrong += 1;
                }
            }
        }
    }
    score
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let mut world = World::new();
        world.process(1, "app", Runtime::Threads);
        let free = (0..plan.concurrency).map(|_| world.accept(LOOP)).collect();
        let mut simulation = Self {
            world,
            plan,
            random: ChaCha8Rng::seed_from_u64(plan.seed),
            requests: Vec::new(),
            connections: Vec::new(),
            idle: Vec::new(),
            queue: VecDeque::new(),
            timers: Vec::new(),
            free,
            deferred: Vec::new(),
            released: Vec::new(),
            scripts: VecDeque::new(),
        };
        if plan.opened_before {
            for index in 0..plan.pool {
                let socket = simulation.world.tcp(LOOP, Origin::Unknown, 20_000 + index as u16, 5000);
                simulation.connections.push((socket, None));
                simulation.idle.push(index);
            }
        }
        simulation
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.next_u32() as usize % n
    }

    /// Runs until every script is done.
    fn drain(&mut self) {
        loop {
            let busy = self.connections.iter().any(|(_, call)| call.is_some());
            let open = self.free.len() < self.plan.concurrency;
            if self.scripts.is_empty() && !busy && !open && self.deferred.is_empty() {
                return;
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.world.wait(LOOP);
        let ready = self.ready();
        let deferred = std::mem::take(&mut self.deferred);
        let before = self.below(2) == 0;
        if before {
            deferred.iter().for_each(|&ready| self.handle(ready));
        }
        for ready in ready {
            self.receive(ready);
            match self.plan.style {
                Style::AtOnce => self.handle(ready),
                Style::NextTurn => self.deferred.push(ready),
            }
        }
        if !before {
            deferred.iter().for_each(|&ready| self.handle(ready));
        }
        for (request, strand) in std::mem::take(&mut self.timers) {
            if self.below(2) == 0 {
                self.timers.push((request, strand));
            } else {
                self.handle(Ready::Timer(request, strand));
            }
        }
        for connection in std::mem::take(&mut self.released) {
            self.release(connection);
        }
    }

    /// What the loop finds readable, in any order.
    fn ready(&mut self) -> Vec<Ready> {
        let mut ready = Vec::new();
        let waiting: Vec<usize> = self
            .deferred
            .iter()
            .filter_map(|ready| match ready {
                Ready::Response(connection) => Some(*connection),
                _ => None,
            })
            .collect();
        for index in 0..self.connections.len() {
            let in_flight = self.connections[index].1.is_some() && !self.released.contains(&index);
            if in_flight && !waiting.contains(&index) && self.below(3) == 0 {
                ready.push(Ready::Response(index));
            }
        }
        while !self.free.is_empty() && !self.scripts.is_empty() && self.below(3) > 0 {
            let index = self.below(self.free.len());
            ready.push(Ready::Request(self.free.swap_remove(index)));
            let socket = match ready.last() {
                Some(Ready::Request(socket)) => *socket,
                _ => unreachable!(),
            };
            let script = self.scripts.pop_front().unwrap();
            self.requests.push(Request { socket, script, stage: 0, strands: Vec::new(), calls: 0 });
        }
        for index in (1..ready.len()).rev() {
            let other = self.below(index + 1);
            ready.swap(index, other);
        }
        ready
    }

    fn open_on(&self, socket: SocketId) -> usize {
        self.requests.iter().rposition(|request| request.socket == socket).unwrap()
    }

    fn receive(&mut self, ready: Ready) {
        match ready {
            Ready::Request(socket) => {
                let path = format!("/r{}", self.open_on(socket));
                self.world.request(LOOP, socket, &path);
            }
            Ready::Response(connection) => self.world.result(LOOP, self.connections[connection].0),
            Ready::Timer(..) => {}
        }
    }

    fn handle(&mut self, ready: Ready) {
        match ready {
            Ready::Request(socket) => self.begin_stage(self.open_on(socket)),
            Ready::Timer(request, strand) => self.step_done(request, strand),
            Ready::Response(connection) => {
                let (request, strand) = self.connections[connection].1.take().unwrap();
                match self.plan.release {
                    Release::First => {
                        self.release(connection);
                        self.step_done(request, strand);
                    }
                    Release::Last => {
                        self.step_done(request, strand);
                        self.release(connection);
                    }
                    Release::Later => {
                        self.step_done(request, strand);
                        self.released.push(connection);
                    }
                }
            }
        }
    }

    /// First come, first served.
    fn release(&mut self, connection: usize) {
        match self.queue.pop_front() {
            Some((request, strand)) => self.send(connection, request, strand),
            None => self.idle.push(connection),
        }
    }

    fn begin_stage(&mut self, index: usize) {
        let request = &mut self.requests[index];
        match request.script.get(request.stage) {
            Some(strands) => {
                request.strands = vec![0; strands.len()];
                for strand in 0..strands.len() {
                    self.step(index, strand);
                }
            }
            None => {
                let socket = request.socket;
                self.world.answer(LOOP, socket);
                self.free.push(socket);
            }
        }
    }

    fn step(&mut self, index: usize, strand: usize) {
        let request = &self.requests[index];
        let strands = request.script[request.stage];
        match strands[strand].get(request.strands[strand]) {
            Some(Op::Call) => self.demand(index, strand),
            Some(Op::Timer) => self.timers.push((index, strand)),
            None => {
                let done = strands.iter().zip(&request.strands).all(|(strand, &at)| at >= strand.len());
                if done {
                    self.requests[index].stage += 1;
                    self.begin_stage(index);
                }
            }
        }
    }

    fn step_done(&mut self, index: usize, strand: usize) {
        self.requests[index].strands[strand] += 1;
        self.step(index, strand);
    }

    /// A call needs a connection.
    fn demand(&mut self, request: usize, strand: usize) {
        if let Some(connection) = self.idle.pop() {
            self.send(connection, request, strand);
        } else if self.connections.len() < self.plan.pool {
            let socket = self.world.connect(LOOP, 5000);
            self.connections.push((socket, None));
            self.send(self.connections.len() - 1, request, strand);
        } else {
            self.queue.push_back((request, strand));
        }
    }

    fn send(&mut self, connection: usize, request: usize, strand: usize) {
        let path = format!("/r{request}/c{}", self.requests[request].calls);
        self.requests[request].calls += 1;
        self.connections[connection].1 = Some((request, strand));
        self.world.call(LOOP, self.connections[connection].0, &path);
    }
}
