//! What both directions of a connection share: commands that wait for their response, and the exchanges they are.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use super::{command::Reply, handshake::Capabilities, packet::Ending, script::Script, statements::Statements};
use crate::{
    event::Time,
    protocols::{
        Connection, ExchangeId, IncomingContext, Options, Signal, Signals,
        held::{Held, Tally},
        sql::{Execution, Statement},
    },
    streams::Loss,
};

/// Most commands that wait for a response. Clients that pipeline send some tens before they read.
const PENDING: usize = 1024;

/// The port that is not reported.
const DEFAULT_PORT: u16 = 3306;

/// The state of one connection that is neither direction's own.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) options: Options,
    /// `db.system.name`; a server whose greeting was not seen counts as MySQL until it shows otherwise.
    pub(super) system: &'static str,
    /// The server's capability flags; all of them while unknown.
    pub(super) server_capabilities: u32,
    /// What was agreed, if it was seen.
    pub(super) capabilities: Option<Capabilities>,
    /// The default database, as far as known.
    pub(super) namespace: Option<String>,
    pub(super) statements: Statements,
    /// Commands without a complete response, in the order in which they were sent.
    pub(super) pending: VecDeque<Pending>,
    /// A command was seen to be sent in a turn of its own while an earlier response was still on its way.
    pub(super) overlapping: bool,
    /// The server asked for a local file: the client sends its contents, up to an empty packet.
    pub(super) infile: bool,
    /// Which of the client's turns this is.
    pub(super) turn: u64,
    ready: bool,
    /// Statements and names, wherever they are.
    pub(super) tally: Tally,
    exchanges: ExchangeId,
    commands: u64,
}

/// A command that waits for its response.
#[derive(Debug)]
pub(super) struct Pending {
    /// Counts the commands of the connection.
    pub(super) number: u64,
    pub(super) reply: Reply,
    /// The turn of the client that it was sent in.
    pub(super) turn: u64,
    /// Sequence number of its last packet, once known: the response continues from there.
    pub(super) sequence: Option<u8>,
    /// What success changes.
    pub(super) effect: Effect,
    /// Rows are in the binary protocol.
    pub(super) binary: bool,
    start: Time,
    position: u32,
    /// What the effect keeps.
    held: Held,
    /// The exchange, for a command that executes a statement.
    run: Option<Run>,
}

impl Pending {
    /// Success changes this.
    pub(super) fn changes(&mut self, effect: Effect, tally: &Tally) {
        if let Effect::Database(Some(name)) | Effect::User(Some(name)) = &effect {
            self.held = tally.hold(name.len());
        }
        self.effect = effect;
    }
}

/// The exchange of a statement that is being executed.
#[derive(Debug)]
struct Run {
    exchange: ExchangeId,
    start: Time,
    script: Script,
    /// Which of the script's statements.
    part: usize,
    rows: Option<u64>,
}

/// What a successful response changes in the session.
#[derive(Debug, Default)]
pub(super) enum Effect {
    #[default]
    Nothing,
    /// The default database.
    Database(Option<String>),
    /// Whether several statements may come in one query.
    MultiStatements(bool),
    /// Prepared statements are gone.
    Reset,
    /// Another user: prepared statements are gone, and the database is this.
    User(Option<String>),
    /// The statement has an id.
    Prepared(Arc<Statement>),
}

impl Session {
    pub(super) fn new(connection: Connection, options: &Options) -> Self {
        let ready = !connection.from_start;
        let mut session = Self {
            connection,
            options: options.clone(),
            system: "mysql",
            server_capabilities: u32::MAX,
            capabilities: None,
            namespace: None,
            statements: Statements::new(),
            pending: VecDeque::new(),
            overlapping: false,
            infile: false,
            turn: 0,
            ready,
            tally: Tally::default(),
            exchanges: 0,
            commands: 0,
        };
        if !ready {
            session.wait(Reply::Authentication, false, 0, 0);
        }
        session
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        let namespace = self.namespace.as_ref().map_or(0, String::len);
        self.tally.bytes() + namespace + self.pending.len() * size_of::<Pending>() + self.statements.overhead()
    }

    /// The start-up is over.
    pub(super) fn ready(&mut self, signals: &mut Signals) {
        if !self.ready {
            self.ready = true;
            signals.push(Signal::Ready);
        }
    }

    /// An authentication is going on: both sides send packets of their own.
    pub(super) fn authenticating(&self) -> bool {
        self.pending.iter().any(|pending| pending.reply == Reply::Authentication)
    }

    /// Puts a command at the end of those that wait; gives its number.
    pub(super) fn wait(&mut self, reply: Reply, binary: bool, start: Time, position: u32) -> u64 {
        self.commands += 1;
        self.pending.push_back(Pending {
            number: self.commands,
            reply,
            turn: self.turn,
            sequence: None,
            effect: Effect::Nothing,
            binary,
            start,
            position,
            held: Held::default(),
            run: None,
        });
        self.commands
    }

    /// More commands wait than are remembered.
    pub(super) fn overfull(&self) -> bool {
        self.pending.len() >= PENDING
    }

    /// The command of a number, if it still waits.
    pub(super) fn find(&mut self, number: u64) -> Option<&mut Pending> {
        self.pending.iter_mut().rev().find(|pending| pending.number == number)
    }

    /// The command just put at the end executes a statement.
    pub(super) fn open(&mut self, number: u64, signals: &mut Signals) {
        let exchange = self.exchanges;
        if let Some(pending) = self.find(number) {
            let (start, position) = (pending.start, pending.position);
            pending.run = Some(Run { exchange, start, script: Script::default(), part: 0, rows: None });
            self.exchanges += 1;
            let (context, likeness) = Default::default(); // its text may not be complete yet
            signals.push(Signal::Opened { exchange, start, position, context, likeness });
        }
    }

    /// What the command executes is known.
    pub(super) fn executes(&mut self, number: u64, script: Script) {
        if let Some(run) = self.find(number).and_then(|pending| pending.run.as_mut()) {
            run.script = script;
        }
    }

    /// The command has been sent completely, with this sequence number in its last packet.
    pub(super) fn requested(&mut self, number: u64, sequence: Option<u8>, signals: &mut Signals) {
        if let Some(pending) = self.find(number) {
            pending.sequence = sequence;
            if let Some(run) = &pending.run {
                signals.push(Signal::Requested(run.exchange));
            }
        }
    }

    /// Counts a row of the current result; a result set without rows has 0 of them.
    pub(super) fn count_rows(&mut self, rows: u64) {
        if let Some(run) = self.pending.front_mut().and_then(|pending| pending.run.as_mut()) {
            run.rows = Some(run.rows.unwrap_or(0).saturating_add(rows));
        }
    }

    /// Rows of the current result were not seen.
    pub(super) fn forget_rows(&mut self) {
        if let Some(run) = self.pending.front_mut().and_then(|pending| pending.run.as_mut()) {
            run.rows = None;
        }
    }

    /// A result of the oldest command is complete. Gives whether another follows.
    pub(super) fn ended(&mut self, ending: Ending, time: Time, signals: &mut Signals) -> bool {
        let more = ending.more_results();
        match ending {
            Ending::Failure(code) => {
                let Some(mut pending) = self.answered() else { return false };
                if pending.reply == Reply::Prepared && pending.run.is_none() {
                    self.open_failed_prepare(&mut pending, signals);
                }
                if let Some(run) = pending.run.take() {
                    let statement = Arc::clone(&run.script.part(run.part).statement);
                    let code = code.to_string();
                    self.close(&run, &statement, time, Some(code.clone()), Some(Cow::Owned(code)), signals);
                }
            }
            Ending::Success { schema, okay, .. } if more => {
                self.next_part(okay, time, signals);
                self.namespace = schema.or_else(|| self.namespace.take());
            }
            Ending::Success { schema, .. } => {
                let Some(pending) = self.answered() else { return false };
                let mut used = None;
                if let Some(run) = &pending.run {
                    // One result of a text that looked like several statements: it was one, such as a procedure's definition.
                    let part = if run.part == 0 { &run.script.whole } else { run.script.part(run.part) };
                    used.clone_from(&part.database);
                    self.close(run, &Arc::clone(&part.statement), time, None, None, signals);
                }
                self.succeed(pending, signals);
                self.namespace = schema.or(used).or_else(|| self.namespace.take());
            }
        }
        more
    }

    /// Another result follows: it belongs to the next statement of the text, unless the current one gives several.
    fn next_part(&mut self, okay: bool, time: Time, signals: &mut Signals) {
        let Some(pending) = self.pending.front_mut() else { return };
        let position = pending.position;
        let Some(mut run) = pending.run.take() else { return };
        let part = run.script.part(run.part).clone();
        if run.part + 1 < run.script.parts.len() && (okay || !part.call) {
            self.close(&run, &part.statement, time, None, None, signals);
            if part.database.is_some() {
                self.namespace = part.database;
            }
            let exchange = self.exchanges;
            self.exchanges += 1;
            run = Run { exchange, start: time, part: run.part + 1, rows: None, ..run };
            let context = IncomingContext::default();
            let likeness = run.script.part(run.part).statement.likeness;
            signals.push(Signal::Opened { exchange, start: time, position, context, likeness });
            signals.push(Signal::Requested(exchange));
        }
        if let Some(pending) = self.pending.front_mut() {
            pending.run = Some(run);
        }
    }

    /// What the response to a command that is not an execution changed.
    fn succeed(&mut self, pending: Pending, signals: &mut Signals) {
        if pending.reply == Reply::Authentication {
            self.ready(signals);
        }
        match pending.effect {
            Effect::Nothing | Effect::Prepared(_) => {}
            Effect::Database(name) => self.namespace = name,
            Effect::MultiStatements(on) => {
                if let Some(capabilities) = &mut self.capabilities {
                    capabilities.multi_statements = on;
                }
            }
            Effect::Reset => self.statements.clear(),
            Effect::User(database) => {
                self.statements.clear();
                self.namespace = database;
            }
        }
    }

    /// The oldest command has been answered with a statement's id.
    pub(super) fn prepared(&mut self, id: u32, signals: &mut Signals) {
        if let Some(Pending { effect: Effect::Prepared(statement), .. }) = self.pending.front_mut() {
            let statement = Arc::clone(statement);
            let forgotten = self.statements.insert(id, statement);
            signals.extend((0..forgotten).map(|_| Signal::Lost(Loss::Evicted)));
        }
    }

    /// Takes the oldest command off: its response is complete.
    pub(super) fn answered(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.overlapping |= self.pending.front().is_some_and(|next| next.turn > pending.turn);
        self.infile = false;
        Some(pending)
    }

    /// Preparing is no execution, but that it failed is worth seeing.
    fn open_failed_prepare(&mut self, pending: &mut Pending, signals: &mut Signals) {
        let Effect::Prepared(statement) = std::mem::take(&mut pending.effect) else { return };
        let (exchange, start, position) = (self.exchanges, pending.start, pending.position);
        self.exchanges += 1;
        let (context, likeness) = (IncomingContext::default(), statement.likeness);
        signals.push(Signal::Opened { exchange, start, position, context, likeness });
        signals.push(Signal::Requested(exchange));
        pending.run = Some(Run { exchange, start, script: Script::prepared(statement), part: 0, rows: None });
    }

    /// Gives up the oldest `count` commands: their responses cannot be told apart.
    pub(super) fn give_up(&mut self, count: usize, time: Time, signals: &mut Signals) {
        for _ in 0..count.min(self.pending.len()) {
            if let Some(pending) = self.pending.pop_front() {
                self.give_up_one(&pending, time, signals);
            }
        }
        self.infile = false;
    }

    /// Gives up the command of a number.
    pub(super) fn give_up_number(&mut self, number: u64, time: Time, signals: &mut Signals) {
        if let Some(at) = self.pending.iter().position(|pending| pending.number == number)
            && let Some(pending) = self.pending.remove(at)
        {
            self.give_up_one(&pending, time, signals);
        }
    }

    fn give_up_one(&self, pending: &Pending, time: Time, signals: &mut Signals) {
        if let Some(run) = &pending.run {
            signals.push(Signal::Incomplete(run.exchange));
            let statement = Arc::clone(&run.script.part(run.part).statement);
            self.close(&Run { rows: None, script: Script::default(), ..*run }, &statement, time, None, None, signals);
        }
    }

    /// The connection ended: nothing will be answered any more.
    pub(super) fn fail_all(&mut self, error: &'static str, time: Time, signals: &mut Signals) {
        for pending in std::mem::take(&mut self.pending) {
            if let Some(run) = &pending.run {
                let statement = Arc::clone(&run.script.part(run.part).statement);
                self.close(run, &statement, time, None, Some(Cow::Borrowed(error)), signals);
            }
        }
    }

    fn close(
        &self,
        run: &Run,
        statement: &Statement,
        time: Time,
        status_code: Option<String>,
        error: Option<Cow<'static, str>>,
        signals: &mut Signals,
    ) {
        let execution = Execution {
            system: self.system,
            default_port: DEFAULT_PORT,
            namespace: self.namespace.clone(),
            statement,
            start: run.start,
            end: time.max(run.start),
            status_code,
            error,
            rows: run.rows,
            batch: None,
        };
        let exchange = execution.exchange(&self.connection, &self.options);
        signals.push(Signal::Closed(run.exchange, Box::new(exchange)));
    }
}
