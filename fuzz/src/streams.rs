//! One connection under a parser that knows what every byte should be.

use bytes::Bytes;
use syspan::{
    event::{Address, Data, Direction, End, Origin, Socket, Time},
    protocols::{
        Connection as Context, Guess, Input, Missing, Options, Protocol, Registration, Role, Signal, Signals, Taken,
    },
    streams::{BUFFER_LIMIT, Connection, Loss},
};

use crate::conversation;

/// The parser's choices are a sequence that begins with this number, which reaches it as an address.
const MODEL: Registration = Registration {
    name: "model",
    detect: |_, _| Guess::No,
    start: |context, _: &Options| Box::new(Model::new(&context)),
};

/// Calls at positions that may jump, go back (sent again) and wrap, captured in part. The parser is offered each byte at its
/// place, once, in order; it is told of every gap that it needed and of none that it did not.
pub fn streams(bytes: &[u8]) {
    let (seed, steps) = bytes.split_at_checked(2).unwrap_or((bytes, &[]));
    let seed = seed.iter().fold(1, |seed, &byte| seed << 8 | u64::from(byte));
    let mut socket = conversation::socket(1, Origin::Connected);
    socket.peer = Address::Unix(seed, None);
    play(socket, steps);
}

fn play(socket: Socket, steps: &[u8]) {
    let task = socket.task;
    let options = Options::default();
    let mut connection = Connection::speaking(socket, &MODEL, Role::Client, &options);
    // One of them wraps soon.
    let mut positions = [1_u32, u32::MAX - 300];
    for (time, step) in (1..).zip(steps.chunks_exact(6)) {
        let &[kind, delta, low, high, head, tail] = step else { break };
        let write = kind & 1 > 0;
        let from = if write { Role::Client } else { Role::Server };
        let next = &mut positions[usize::from(write)];
        let delta = if kind & 2 > 0 { i32::from(delta as i8) * 4 } else { 0 };
        let position = next.wrapping_add_signed(delta);
        let length = u64::from(u16::from_le_bytes([low, high])) + 1;
        // Up to all of it, in fractions: most calls are short and captured whole.
        let head = if kind & 4 > 0 { length * u64::from(head) / 255 } else { length };
        let tail = u64::from(tail).min(length - head);
        let captured = |start: u64, length: u64| -> Bytes {
            (start..start + length).map(|at| byte_at(from, position.wrapping_add(at as u32))).collect()
        };
        let data = Data {
            socket: 1,
            task,
            direction: if write { Direction::Write } else { Direction::Read },
            time,
            position,
            length,
            head: captured(0, head),
            tail: captured(length - tail, tail),
        };
        let end = position.wrapping_add(length as u32);
        if (end.wrapping_sub(*next) as i32) > 0 {
            *next = end;
        }
        let mut signals = Signals::new();
        connection.data(&data, &options, &mut signals);
        assert!(connection.held() <= 2 * BUFFER_LIMIT);
        if connection.is_over() {
            assert!(signals.contains(&Signal::Abandon(Loss::Malformed)), "given up without a word: {signals:?}");
            return;
        }
    }
}

/// What stands at a position of a direction.
fn byte_at(from: Role, position: u32) -> u8 {
    let mixed = (position ^ if from == Role::Client { 0 } else { 0x5bd1_e995 }).wrapping_mul(0x9e37_79b1);
    (mixed >> 24) as u8
}

struct Model {
    choices: u64,
    client: Side,
    server: Side,
    time: Time,
}

/// What a direction must bring next.
#[derive(Default, Clone, Copy)]
struct Side {
    /// Position of the next byte; unknown at first and after a loss.
    next: Option<u32>,
    /// How many bytes are to pass before it.
    skipping: bool,
    /// How many were offered last and not taken.
    waiting: usize,
}

impl Model {
    fn new(context: &Context) -> Self {
        let Address::Unix(choices, _) = context.peer else { panic!("the seed") };
        Self { choices, client: Side::default(), server: Side::default(), time: 0 }
    }

    fn side(&mut self, role: Role) -> &mut Side {
        if role == Role::Client { &mut self.client } else { &mut self.server }
    }

    /// The next choice, below `limit` (Knuth's multiplicative congruential generator).
    fn choose(&mut self, limit: u64) -> u64 {
        self.choices = self.choices.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.choices >> 33) % limit
    }

    fn now(&mut self, time: Time) {
        assert!(time >= self.time, "time goes on");
        self.time = time;
    }
}

impl Protocol for Model {
    fn read(&mut self, from: Role, input: Input<'_>, _signals: &mut Signals) -> Taken {
        self.now(input.last);
        assert!(!input.bytes.is_empty(), "nothing is offered");
        assert!(input.first <= input.last);
        let side = *self.side(from);
        assert!(!side.skipping, "offered what is to be passed over");
        assert!(side.next.is_none_or(|next| next == input.position), "{:?}, not {}", side.next, input.position);
        assert!(input.bytes.len() > side.waiting, "offered again without anything new");
        for (at, byte) in (input.position..=u32::MAX).chain(0..).zip(input.bytes) {
            assert_eq!(*byte, byte_at(from, at), "another byte than stands at {at}");
        }
        let past = |bytes: usize| Some(input.position.wrapping_add(bytes as u32));
        let (taken, side) = match self.choose(8) {
            0..3 => (Taken::More, Side { next: past(0), waiting: input.bytes.len(), skipping: false }),
            3..6 => {
                let bytes = 1 + self.choose(input.bytes.len() as u64) as usize;
                (Taken::Bytes(bytes), Side { next: past(bytes), waiting: 0, skipping: false })
            }
            _ => {
                let bytes = self.choose(input.bytes.len() as u64 + 1) as usize;
                let skip = 1 + self.choose(3000);
                let next = past(bytes + skip as usize);
                (Taken::Skip { bytes, skip }, Side { next, waiting: 0, skipping: true })
            }
        };
        *self.side(from) = side;
        taken
    }

    fn skipped(&mut self, from: Role, time: Time, _signals: &mut Signals) {
        self.now(time);
        let side = self.side(from);
        assert!(std::mem::take(&mut side.skipping), "nothing was to be passed over");
    }

    fn lost(&mut self, from: Role, _missing: Missing, time: Time, _signals: &mut Signals) {
        self.now(time);
        let side = self.side(from);
        assert!(!side.skipping, "what is to be passed over is not needed");
        *side = Side::default();
    }

    fn end(&mut self, _from: Role, _end: End, time: Time, _signals: &mut Signals) {
        self.now(time);
    }

    fn held(&self) -> usize {
        0
    }
}
