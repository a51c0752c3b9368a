//! What both directions share: the answers the server still owes, in order, and the exchanges among them.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use super::{
    detect::DEFAULT_PORT,
    message::Failure,
    statements::{Known, Statements},
};
use crate::{
    event::Time,
    protocols::{
        Connection, ExchangeId, IncomingContext, Options, Signal, Signals,
        held::Tally,
        sql::{Execution, Statement},
    },
    streams::Loss,
};

/// Most answers that are waited for. A batch of a thousand statements is about four thousand messages.
const STEPS: usize = 8192;

/// Where a request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) time: Time,
    pub(super) position: u32,
}

/// An open exchange.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) exchange: ExchangeId,
    start: Time,
    statement: Known,
}

/// An answer that the server owes.
#[derive(Debug)]
pub(super) enum Step {
    /// Authentication, up to the first ReadyForQuery.
    Startup,
    /// ParseComplete.
    Parse { name: Box<[u8]>, statement: Arc<Statement>, replaced: Known, begun: Beginning },
    /// BindComplete.
    Bind { statement: Known, begun: Beginning },
    /// RowDescription or NoData; ParameterDescription before it, for a statement.
    Describe { statement: Known, begun: Beginning },
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Run),
    /// CloseComplete.
    Close,
    /// ReadyForQuery.
    Sync,
    /// The results of a text's statements, one after the other, then ReadyForQuery.
    Query { run: Option<Run>, parts: VecDeque<Arc<Statement>>, failed: bool, begun: Beginning },
    /// FunctionCallResponse, then ReadyForQuery.
    Function,
    /// Bytes of the client were missed: whatever the server says here cannot be told apart.
    Unknown,
}

impl Step {
    /// Whether a ReadyForQuery completes it.
    fn ends_group(&self) -> bool {
        matches!(self, Step::Startup | Step::Sync | Step::Query { .. } | Step::Function | Step::Unknown)
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) rows: Option<u64>,
    pub(super) status_code: Option<String>,
    pub(super) error: Option<Cow<'static, str>>,
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        let error = failure.is_error().then(|| failure.code.clone().map_or(Cow::Borrowed("_OTHER"), Cow::Owned));
        Self { rows: None, status_code: failure.code.clone(), error }
    }
}

/// The state of a connection that is neither direction's own.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) options: Options,
    pub(super) database: Option<String>,
    /// First schema of the search path, if the server or the client said it.
    pub(super) schema: Option<String>,
    pub(super) statements: Statements,
    pub(super) steps: VecDeque<Step>,
    /// After an error in the extended protocol the server reads on to the next Sync and executes nothing.
    pub(super) skipping: bool,
    /// The server waits for CopyData: up to CopyDone or CopyFail it ignores Sync.
    pub(super) copying_in: bool,
    /// The client has begun to send in a turn of its own while answers were still owed, or missed.
    pub(super) ahead: bool,
    /// Such answers came: the client does not wait for them.
    pub(super) overlapping: bool,
    /// Statements and names, wherever they are.
    pub(super) tally: Tally,
    exchanges: ExchangeId,
}

impl Session {
    pub(super) fn new(connection: Connection, options: &Options) -> Self {
        Self {
            connection,
            options: options.clone(),
            database: None,
            schema: None,
            statements: Statements::new(),
            steps: VecDeque::new(),
            skipping: false,
            copying_in: false,
            ahead: false,
            overlapping: false,
            tally: Tally::default(),
            exchanges: 0,
        }
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        let names = [&self.database, &self.schema].into_iter().flatten().map(String::len).sum::<usize>();
        self.tally.bytes() + names + self.steps.len() * size_of::<Step>() + self.statements.overhead()
    }

    /// `{database}|{schema}`. The schema is the first of the search path other than `"$user"`, and known only if it was told:
    /// by the client at start-up, or by a server that reports it (PostgreSQL 18).
    fn namespace(&self) -> Option<String> {
        match (&self.database, &self.schema) {
            (Some(database), Some(schema)) => Some(format!("{database}|{schema}")),
            (database, schema) => database.clone().or_else(|| schema.clone()),
        }
    }

    /// The search path is this.
    pub(super) fn set_search_path(&mut self, path: &[u8]) {
        let path = String::from_utf8_lossy(path);
        let mut schemas = path.split(',').map(|schema| schema.trim().trim_matches('"'));
        self.schema = schemas.find(|schema| !schema.is_empty() && *schema != "$user").map(str::to_owned);
    }

    /// Waits for one more answer, unless the server will not even read the request.
    pub(super) fn wait(&mut self, step: Step, time: Time, signals: &mut Signals) {
        match step {
            Step::Sync if self.copying_in => return,
            Step::Sync => self.skipping = false,
            _ if self.skipping => return self.discard(step, signals),
            _ => {}
        }
        if self.steps.len() >= STEPS {
            signals.push(Signal::Lost(Loss::Evicted));
            self.give_up(time, signals);
            self.steps.push_back(Step::Unknown);
        }
        self.steps.push_back(step);
    }

    /// A statement has been sent for execution.
    pub(super) fn open(&mut self, statement: Known, begun: Beginning, signals: &mut Signals) -> Run {
        let run = self.announce(statement, begun, signals);
        signals.push(Signal::Requested(run.exchange));
        run
    }

    /// A statement is being sent for execution.
    pub(super) fn announce(&mut self, statement: Known, begun: Beginning, signals: &mut Signals) -> Run {
        let exchange = self.exchanges;
        self.exchanges += 1;
        let Beginning { time: start, position } = begun;
        let likeness = statement.as_ref().map(|statement| statement.likeness).unwrap_or_default();
        let context = IncomingContext::default();
        signals.push(Signal::Opened { exchange, start, position, context, likeness });
        Run { exchange, start, statement }
    }

    pub(super) fn close(&self, run: Run, end: Time, outcome: Outcome, signals: &mut Signals) {
        let nothing = Statement::default();
        let execution = Execution {
            system: "postgresql",
            default_port: DEFAULT_PORT,
            namespace: self.namespace(),
            statement: run.statement.as_deref().unwrap_or(&nothing),
            start: run.start,
            end,
            status_code: outcome.status_code,
            error: outcome.error,
            rows: outcome.rows,
            batch: None,
        };
        let exchange = execution.exchange(&self.connection, &self.options);
        signals.push(Signal::Closed(run.exchange, Box::new(exchange)));
    }

    /// A statement's result is complete. Gives whether one was expected.
    pub(super) fn completed(&mut self, time: Time, outcome: Outcome, signals: &mut Signals) -> bool {
        match self.steps.pop_front() {
            Some(Step::Execute(run)) => {
                self.close(run, time, outcome, signals);
                true
            }
            Some(Step::Query { run, mut parts, failed: false, begun }) => {
                // More results than the text seemed to have statements, or the text was cut short: one without text.
                let at = |time| Beginning { time, ..begun };
                let run = run.unwrap_or_else(|| self.open(None, at(time), signals));
                self.close(run, time, outcome, signals);
                // The next statement is executed from now on.
                let run = parts.pop_front().map(|statement| self.open(Some(statement), at(time), signals));
                self.steps.push_front(Step::Query { run, parts, failed: false, begun });
                true
            }
            other => {
                self.put_back(other);
                false
            }
        }
    }

    /// An ErrorResponse: what it concerns ends, and what was to follow up to the next Sync is not executed.
    pub(super) fn failed(&mut self, failure: &Failure, time: Time, signals: &mut Signals) {
        let outcome = Outcome::from(failure);
        self.copying_in = false;
        match self.steps.pop_front() {
            Some(Step::Query { run, begun, .. }) => {
                if let Some(run) = run {
                    self.close(run, time, outcome, signals);
                }
                self.steps.push_front(Step::Query { run: None, parts: VecDeque::new(), failed: true, begun });
            }
            Some(Step::Execute(run)) => {
                self.close(run, time, outcome, signals);
                self.skip_to_sync(signals);
            }
            Some(Step::Parse { name, statement, replaced, begun }) => {
                self.statements.restore(&name, &statement, replaced);
                self.failed_before_execution(Some(statement), begun, time, outcome, signals);
            }
            Some(Step::Bind { statement, begun } | Step::Describe { statement, begun }) => {
                self.failed_before_execution(statement, begun, time, outcome, signals);
            }
            Some(Step::Close) => self.skip_to_sync(signals),
            // Start-up refused; or what a Sync commits failed: its statements were reported complete before.
            other => self.put_back(other),
        }
        if failure.fatal {
            let rest = std::mem::take(&mut self.steps);
            rest.into_iter().for_each(|step| self.discard(step, signals));
        }
    }

    /// A statement failed while it was prepared: the error is its execution's, if that was already sent, or an exchange of its own.
    fn failed_before_execution(
        &mut self,
        statement: Known,
        begun: Beginning,
        time: Time,
        outcome: Outcome,
        signals: &mut Signals,
    ) {
        let group = self.steps.iter().take_while(|step| !step.ends_group());
        let same = |run: &Run| match (&run.statement, &statement) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let at = group.enumerate().find(|(_, step)| matches!(step, Step::Execute(run) if same(run))).map(|(at, _)| at);
        let run = match at.and_then(|at| self.steps.remove(at)) {
            Some(Step::Execute(run)) => run,
            _ => self.open(statement, begun, signals),
        };
        self.close(run, time, outcome, signals);
        self.skip_to_sync(signals);
    }

    fn skip_to_sync(&mut self, signals: &mut Signals) {
        while let Some(step) = self.steps.pop_front() {
            if matches!(step, Step::Sync | Step::Unknown) {
                self.steps.push_front(step);
                return;
            }
            self.discard(step, signals);
        }
        self.skipping = true;
    }

    /// The server has not executed this.
    fn discard(&mut self, step: Step, signals: &mut Signals) {
        match step {
            Step::Execute(run) | Step::Query { run: Some(run), .. } => signals.push(Signal::Dropped(run.exchange)),
            Step::Parse { name, statement, replaced, .. } => self.statements.restore(&name, &statement, replaced),
            _ => {}
        }
    }

    /// A ReadyForQuery. Gives whether one was expected.
    pub(super) fn ready(&mut self, signals: &mut Signals) -> bool {
        match self.steps.pop_front() {
            Some(Step::Startup) => signals.push(Signal::Ready),
            Some(Step::Query { run, .. }) => {
                // A statement that the text seemed to have is none.
                signals.extend(run.map(|run| Signal::Dropped(run.exchange)));
            }
            Some(Step::Sync | Step::Function) => {}
            other => {
                self.put_back(other);
                return false;
            }
        }
        true
    }

    fn put_back(&mut self, step: Option<Step>) {
        if let Some(step) = step {
            self.steps.push_front(step);
        }
    }

    /// CopyInResponse or CopyBothResponse: Syncs that were sent along with the statement are ignored by the server.
    pub(super) fn copies_in(&mut self) {
        if matches!(self.steps.front(), Some(Step::Execute(_))) {
            self.copying_in = true;
            while matches!(self.steps.get(1), Some(Step::Sync)) {
                self.steps.remove(1);
            }
        }
    }

    /// Some of what is to be answered was not seen.
    pub(super) fn is_uncertain(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Unknown))
    }

    /// Parts of the server's answers were missed, up to a ReadyForQuery that ends them. `last` is how the last statement before it
    /// ended, if that was seen. Gives whether it can be told which request was answered: only if a single one was.
    pub(super) fn resume(&mut self, last: Option<Outcome>, time: Time, signals: &mut Signals) -> bool {
        let groups = self.steps.iter().filter(|step| step.ends_group()).count();
        if groups != 1 || !self.steps.back().is_some_and(|step| step.ends_group() && !matches!(step, Step::Unknown)) {
            self.give_up(time, signals);
            return false;
        }
        let mut runs: VecDeque<Run> = VecDeque::new();
        let mut several = false;
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Execute(run) => runs.push_back(run),
                Step::Query { run, parts, .. } => {
                    several = !parts.is_empty();
                    runs.extend(run);
                }
                Step::Startup => signals.push(Signal::Ready),
                _ => {}
            }
        }
        // A success is the last statement's; an error is any one's.
        let known = last.filter(|last| !several && (last.error.is_none() || runs.len() == 1));
        let last_run = if known.is_some() { runs.pop_back() } else { None };
        for run in runs {
            self.incomplete(run, time, signals);
        }
        if let (Some(run), Some(outcome)) = (last_run, known) {
            self.close(run, time, outcome, signals);
        }
        self.copying_in = false;
        self.skipping = false;
        true
    }

    /// Whether an exchange has not ended yet.
    pub(super) fn is_open(&self, exchange: ExchangeId) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Execute(run) | Step::Query { run: Some(run), .. } => run.exchange == exchange,
            _ => false,
        })
    }

    /// Which answer belongs to which request cannot be told any more.
    pub(super) fn give_up(&mut self, time: Time, signals: &mut Signals) {
        self.ahead = false;
        for step in std::mem::take(&mut self.steps) {
            if let Step::Execute(run) | Step::Query { run: Some(run), .. } = step {
                self.incomplete(run, time, signals);
            }
        }
        self.copying_in = false;
        self.skipping = false;
    }

    fn incomplete(&self, run: Run, time: Time, signals: &mut Signals) {
        signals.push(Signal::Incomplete(run.exchange));
        self.close(run, time, Outcome::default(), signals);
    }

    /// The connection is over: nothing will be answered any more.
    pub(super) fn fail_all(&mut self, error: &'static str, time: Time, signals: &mut Signals) {
        for step in std::mem::take(&mut self.steps) {
            if let Step::Execute(run) | Step::Query { run: Some(run), .. } = step {
                let outcome = Outcome { error: Some(Cow::Borrowed(error)), ..Outcome::default() };
                self.close(run, time, outcome, signals);
            }
        }
    }
}
