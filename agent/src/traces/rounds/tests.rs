//! A simulated proxy like HAProxy, whose true edges are known: its threads read all that there is, and act on it then. No call is ever claimed for
//! the wrong request, in whatever order things are done.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{HashMap, VecDeque};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::*;

/// A client's or a server's connection.
type Line = usize;

/// In which order a thread acts on what it has read in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    AsRead,
    Backwards,
    AtRandom,
    /// As it was read, but every third request has precedence.
    Preferred,
}

const ORDERS: [Order; 4] = [Order::AsRead, Order::Backwards, Order::AtRandom, Order::Preferred];

/// Shares are in percent.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    threads: usize,
    concurrency: usize,
    requests: usize,
    /// In which order calls are made, and in which requests are answered.
    calls: Order,
    answers: Order,
    /// Calls are made before anything is answered.
    calls_first: bool,
    /// How many calls the server gets at once. The others wait in a queue that the threads share.
    most_calls: usize,
    /// Connections are there at the beginning; others are opened, and written to in a later turn.
    connections: usize,
    /// A thread does no more in a turn. The rest follows in the next.
    depth: usize,
    /// How many of what could be read are there in a turn.
    ready: usize,
    /// All responses come at once.
    in_step: bool,
    /// How many requests the proxy answers itself, put off, or gets in two reads; how many calls are tried again.
    own: usize,
    late: usize,
    halves: usize,
    again: usize,
    /// How often a thread makes a call for itself.
    checks: usize,
}

/// HAProxy as one sets it up first.
const PLAN: Plan = Plan {
    seed: 0,
    threads: 2,
    concurrency: 64,
    requests: 400,
    calls: Order::AsRead,
    answers: Order::AsRead,
    calls_first: true,
    most_calls: usize::MAX,
    connections: 64,
    depth: usize::MAX,
    ready: 25,
    in_step: false,
    own: 0,
    late: 0,
    halves: 0,
    again: 0,
    checks: 0,
};

/// What a thread is to do.
#[derive(Debug, Clone, Copy)]
enum Act {
    Begin(usize),
    /// It may have its turn at the server.
    Admitted(usize),
    Connected(Line, usize),
    Returned(Line, Option<usize>),
}

#[derive(Default)]
struct Worker {
    /// Clients' connections without an open request, and servers'.
    free: Vec<Line>,
    idle: Vec<Line>,
    /// Calls under way; none for the thread's own.
    calls: Vec<(Line, Option<usize>)>,
    connecting: Vec<(Line, usize)>,
    /// Requests of which a part was read.
    halves: Vec<usize>,
    acts: VecDeque<Act>,
}

struct Request {
    line: Line,
    worker: usize,
    node: NodeId,
}

#[derive(Debug, Default, Clone, Copy)]
struct Score {
    right: usize,
    missing: usize,
    wrong: usize,
}

struct Proxy {
    rounds: Rounds,
    plan: Plan,
    random: ChaCha8Rng,
    workers: Vec<Worker>,
    turns: Vec<u32>,
    requests: Vec<Request>,
    queue: VecDeque<usize>,
    calls: usize,
    time: Time,
    nodes: NodeId,
    lines: usize,
    /// The call on a connection, and whose each call is.
    on: HashMap<Line, NodeId>,
    owners: HashMap<NodeId, Option<NodeId>>,
    found: Vec<(Pid, Decision)>,
}

impl Plan {
    fn score(self) -> Score {
        let mut proxy = Proxy::new(self);
        for turns in 0.. {
            if proxy.is_done() {
                break;
            }
            assert!(turns < 100_000, "{self:?}");
            let worker = proxy.below(self.threads);
            proxy.turn(worker);
        }
        let calls: Vec<NodeId> = proxy.owners.keys().copied().collect();
        for call in calls {
            let found = proxy.rounds.conclude(call);
            proxy.found.extend(found.decisions);
        }
        let mut score = Score::default();
        for (_, (call, request, evidence)) in &proxy.found {
            assert_eq!(*evidence, Evidence::Task);
            let is_right = proxy.owners[call] == Some(*request);
            if is_right { score.right += 1 } else { score.wrong += 1 }
        }
        score.missing = proxy.owners.values().flatten().count().saturating_sub(proxy.found.len());
        score
    }
}

impl Proxy {
    fn new(plan: Plan) -> Self {
        let mut workers: Vec<Worker> = (0..plan.threads).map(|_| Worker::default()).collect();
        let lines = plan.concurrency + plan.connections;
        for line in 0..plan.concurrency {
            workers[line % plan.threads].free.push(line);
        }
        for line in plan.concurrency..lines {
            workers[line % plan.threads].idle.push(line);
        }
        Self {
            rounds: Rounds::default(),
            plan,
            random: ChaCha8Rng::seed_from_u64(plan.seed),
            workers,
            turns: vec![0; plan.threads],
            requests: Vec::new(),
            queue: VecDeque::new(),
            calls: 0,
            time: 1,
            nodes: 0,
            lines,
            on: HashMap::new(),
            owners: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// The turn in which a worker does something, and the next number of an exchange.
    fn at(&mut self, index: usize) -> (Turn, NodeId) {
        self.time += 1000;
        let found = self.rounds.advance(self.time);
        self.found.extend(found.decisions);
        self.nodes += 1;
        let strand = Strand::Thread(1, index as u32 + 1);
        (Turn { strand, number: self.turns[index] }, self.nodes)
    }

    /// A call, or the opening of its connection.
    fn call(&mut self, index: usize, line: Line, request: Option<usize>) {
        let (turn, call) = self.at(index);
        self.rounds.call_made(turn, call, None);
        self.owners.insert(call, request.map(|request| self.requests[request].node));
        self.on.insert(line, call);
    }

    fn line(&mut self) -> Line {
        self.lines += 1;
        self.lines
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.next_u32() as usize % n
    }

    fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn is_done(&self) -> bool {
        let open: usize = self.workers.iter().map(|worker| worker.free.len()).sum();
        self.requests.len() == self.plan.requests && open == self.plan.concurrency
    }

    fn turn(&mut self, index: usize) {
        self.turns[index] += 1;
        let (mut begun, mut returned) = (Vec::new(), Vec::new());
        for act in self.ready(index) {
            match act {
                Act::Begin(request) => {
                    let half = self.workers[index].halves.iter().position(|half| *half == request);
                    if let Some(half) = half {
                        self.workers[index].halves.swap_remove(half);
                    } else if self.happens(self.plan.halves) {
                        self.workers[index].halves.push(request);
                        continue;
                    }
                    let (turn, node) = self.at(index);
                    self.requests[request].node = node;
                    self.rounds.request_read(turn, node);
                    begun.push(act);
                }
                Act::Returned(line, _) => {
                    let (turn, _) = self.at(index);
                    self.rounds.call_read(turn, self.on[&line]);
                    returned.push(act);
                }
                Act::Connected(..) | Act::Admitted(..) => begun.push(act),
            }
        }
        self.arrange(&mut begun, self.plan.calls);
        self.arrange(&mut returned, self.plan.answers);
        let mut begun = begun.into_iter().peekable();
        let mut returned = returned.into_iter().peekable();
        let mut acts = std::mem::take(&mut self.workers[index].acts);
        while begun.peek().is_some() || returned.peek().is_some() {
            let is_next = returned.peek().is_none() || self.plan.calls_first || self.happens(50);
            let next = if is_next { begun.next() } else { None };
            acts.extend(next.or_else(|| returned.next()));
        }
        for done in 0.. {
            let Some(act) = acts.pop_front() else { break };
            if done >= self.plan.depth {
                acts.push_front(act);
                break;
            }
            self.act(index, act);
        }
        // What was put off meanwhile comes before what is left.
        self.workers[index].acts.extend(acts);
        if self.happens(self.plan.checks) {
            let line = self.line();
            self.call(index, line, None);
            self.workers[index].calls.push((line, None));
        }
    }

    /// What a thread finds readable or writable, in any order.
    fn ready(&mut self, index: usize) -> Vec<Act> {
        let mut ready = Vec::new();
        let all = self.plan.in_step.then(|| self.happens(self.plan.ready));
        for (line, request) in std::mem::take(&mut self.workers[index].calls) {
            if all.unwrap_or_else(|| self.happens(self.plan.ready)) {
                ready.push(Act::Returned(line, request));
            } else {
                self.workers[index].calls.push((line, request));
            }
        }
        for (line, request) in std::mem::take(&mut self.workers[index].connecting) {
            if self.happens(50) {
                ready.push(Act::Connected(line, request));
            } else {
                self.workers[index].connecting.push((line, request));
            }
        }
        ready.extend(self.workers[index].halves.iter().map(|&request| Act::Begin(request)));
        for line in std::mem::take(&mut self.workers[index].free) {
            if self.requests.len() < self.plan.requests && self.happens(self.plan.ready) {
                ready.push(Act::Begin(self.requests.len()));
                self.requests.push(Request { line, worker: index, node: 0 });
            } else {
                self.workers[index].free.push(line);
            }
        }
        self.shuffle(&mut ready);
        ready
    }

    fn shuffle(&mut self, acts: &mut [Act]) {
        for index in (1..acts.len()).rev() {
            let other = self.below(index + 1);
            acts.swap(index, other);
        }
    }

    fn arrange(&mut self, acts: &mut [Act], order: Order) {
        match order {
            Order::AsRead => {}
            Order::Backwards => acts.reverse(),
            Order::AtRandom => self.shuffle(acts),
            Order::Preferred => acts.sort_by_key(|act| match act {
                Act::Begin(request) | Act::Returned(_, Some(request)) => request % 3 > 0,
                _ => false,
            }),
        }
    }

    fn act(&mut self, index: usize, act: Act) {
        match act {
            Act::Begin(request) if self.happens(self.plan.own) => self.answer(index, request),
            Act::Begin(_) if self.happens(self.plan.late) => self.workers[index].acts.push_back(act),
            Act::Begin(request) => self.demand(index, request),
            Act::Admitted(request) => self.send(index, request),
            Act::Connected(line, request) => self.workers[index].calls.push((line, Some(request))),
            Act::Returned(_, None) => {}
            Act::Returned(line, Some(request)) => {
                self.workers[index].idle.push(line);
                self.calls -= 1;
                let again = self.happens(self.plan.again);
                let goes_on_first = self.happens(50);
                if goes_on_first {
                    self.admit();
                }
                if again {
                    self.demand(index, request);
                } else {
                    self.answer(index, request);
                }
                self.admit();
            }
        }
    }

    fn answer(&mut self, index: usize, request: usize) {
        let Request { line, node, .. } = self.requests[request];
        let (turn, _) = self.at(index);
        self.rounds.answered(turn, node);
        self.rounds.request_done(node);
        self.workers[index].free.push(line);
    }

    /// A request wants to be sent to the server.
    fn demand(&mut self, index: usize, request: usize) {
        if self.calls < self.plan.most_calls && self.queue.is_empty() {
            self.calls += 1;
            self.send(index, request);
        } else {
            self.queue.push_back(request);
        }
    }

    /// Who waits longest is next, on the thread that has read it, which is perhaps this one, in this turn or the next.
    fn admit(&mut self) {
        while self.calls < self.plan.most_calls
            && let Some(request) = self.queue.pop_front()
        {
            self.calls += 1;
            let worker = self.requests[request].worker;
            self.workers[worker].acts.push_back(Act::Admitted(request));
        }
    }

    fn send(&mut self, index: usize, request: usize) {
        if let Some(line) = self.workers[index].idle.pop() {
            self.call(index, line, Some(request));
            self.workers[index].calls.push((line, Some(request)));
        } else {
            let line = self.line();
            self.call(index, line, Some(request));
            self.workers[index].connecting.push((line, request));
        }
    }
}

#[test]
fn who_acts_in_the_order_of_its_reads_is_understood() {
    let mut all = Score::default();
    for seed in 0..100 {
        let pick = |n: usize| seed as usize / n % 2;
        let plan = Plan {
            seed,
            concurrency: [16, 64][pick(1)],
            calls_first: pick(2) == 0,
            connections: [64, 0][pick(4)],
            own: [0, 20][pick(8)],
            ..PLAN
        };
        let score = plan.score();
        assert_eq!(score.wrong, 0, "{plan:?}: {score:?}");
        all.right += score.right;
        all.missing += score.missing;
    }
    assert!(all.right > 99 * all.missing, "{all:?}");
}

#[test]
fn no_call_is_ever_claimed_for_the_wrong_request() {
    let (mut queued, mut ordered) = (Score::default(), Score::default());
    for seed in 0..600u64 {
        let pick = |salt: u64, n: u64| (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(salt as u32) >> 32) % n;
        let at_times = |salt, share: usize| if pick(salt, 3) == 0 { share } else { 0 };
        let plan = Plan {
            seed,
            threads: 1 + pick(1, 2) as usize,
            concurrency: [2, 4, 9, 16, 64][pick(5, 5) as usize],
            requests: 300,
            calls: ORDERS[pick(9, 4) as usize],
            answers: ORDERS[pick(13, 4) as usize],
            calls_first: pick(17, 2) == 0,
            most_calls: [1, 2, 3, 8, usize::MAX, usize::MAX][pick(21, 6) as usize],
            connections: [0, 4, 64, 64][pick(25, 4) as usize],
            depth: [1, 3, usize::MAX, usize::MAX][pick(29, 4) as usize],
            ready: [10, 30, 60][pick(33, 3) as usize],
            in_step: pick(37, 4) == 0,
            own: at_times(41, 20),
            late: at_times(45, 10),
            halves: at_times(49, 10),
            again: at_times(53, 10),
            checks: at_times(57, 10),
        };
        let score = plan.score();
        assert_eq!(score.wrong, 0, "{plan:?}: {score:?}");
        let all = if plan.most_calls == usize::MAX { &mut ordered } else { &mut queued };
        all.right += score.right;
        all.missing += score.missing;
    }
    // Where requests wait for their turn, little is said.
    assert!(queued.right > 0 && ordered.right > queued.right, "{queued:?}, {ordered:?}");
}
