//! The client's direction: the answer to the greeting, then commands.

use std::sync::Arc;

use super::{
    MySql,
    command::Command,
    detect::{Likeness, looks_like_command},
    handshake::{ANSWER_LIMIT, Answer, changed_user_database},
    packet::{HEADER, Header, LARGEST, Reader, name},
    script::{Script, after_attributes, looks_like_attributes},
    session::Effect,
};
use crate::{
    event::Time,
    protocols::{
        Input, Missing, Signal, Signals, Taken,
        sql::{Dialect, Statement},
    },
    streams::Loss,
};

/// COM_SET_OPTION's argument that allows several statements in one query.
const MULTI_STATEMENTS_ON: u16 = 0;

/// A TLS record begins so: handshake, version 3.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// The client's direction of a connection.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    /// The rest of a packet is being passed over.
    passing: bool,
}

/// What the next bytes are.
#[derive(Debug)]
enum Place {
    /// The answer to the greeting.
    Answer,
    /// A packet's header.
    Packet,
    /// The arguments of a command.
    Arguments(Request),
    /// The rest of a command, which continues in the next packet if `more`.
    Rest { request: Request, more: bool },
    /// Unknown.
    Lost,
}

/// A command that is being sent.
#[derive(Debug)]
struct Request {
    command: Command,
    /// Its number among those that wait for a response, if it has one.
    number: Option<u64>,
    /// Sequence number of its latest packet.
    sequence: u8,
    /// Bytes of its first packet that have not been taken.
    left: usize,
    /// The first packet is of the largest length: others continue it.
    more: bool,
    /// The text so far.
    text: Vec<u8>,
}

impl Client {
    pub(super) fn new(from_start: bool) -> Self {
        Self { place: if from_start { Place::Answer } else { Place::Lost }, passing: false }
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        match &self.place {
            Place::Arguments(request) | Place::Rest { request, .. } => request.text.len(),
            Place::Answer | Place::Packet | Place::Lost => 0,
        }
    }
}

impl MySql {
    pub(super) fn read_client(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        match std::mem::replace(&mut self.client.place, Place::Packet) {
            Place::Lost => self.seek_command(input, signals),
            Place::Answer => self.read_answer(input, signals),
            Place::Packet => self.read_packet(input, signals),
            Place::Arguments(request) => self.read_arguments(request, input, signals),
            Place::Rest { mut request, .. } => {
                let Some((header, _)) = Header::parse(input.bytes) else {
                    self.client.place = Place::Rest { request, more: true };
                    return Taken::More;
                };
                request.sequence = header.sequence;
                request.more = header.length == LARGEST;
                self.pass_rest(request, HEADER, header.length, signals)
            }
        }
    }

    fn read_answer(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        self.client.place = Place::Answer;
        let Some((header, payload)) = Header::parse(input.bytes) else { return Taken::More };
        if payload.len() < header.length.min(ANSWER_LIMIT) {
            return Taken::More;
        }
        let payload = payload.get(..header.length).unwrap_or(payload);
        match Answer::parse(payload, header.length, self.session.server_capabilities) {
            None => return self.abandon(Loss::UnknownProtocol, signals),
            Some(Answer::Tls) => return self.abandon(Loss::Tls, signals),
            Some(Answer::Compressed) => return self.abandon(Loss::Compressed, signals),
            Some(Answer::Plain { capabilities, database }) => {
                self.session.capabilities = Some(capabilities);
                if let Some(startup) = self.session.pending.front_mut() {
                    startup.changes(Effect::User(database), &self.session.tally);
                }
            }
        }
        self.client.place = Place::Packet;
        Taken::past(HEADER, header.length)
    }

    fn read_packet(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        let Some((header, payload)) = Header::parse(input.bytes) else { return Taken::More };
        if self.session.infile {
            if header.length == 0 {
                self.session.infile = false;
                self.server.infile_sent(header.sequence);
            }
            return Taken::past(HEADER, header.length);
        }
        if header.sequence != 0 && self.session.authenticating() {
            return Taken::past(HEADER, header.length);
        }
        let code = match payload.first() {
            Some(&code) => code,
            None if header.length > 0 => return Taken::More,
            None => return self.malformed_command(input, signals),
        };
        let Some(command) = Command::new(code).filter(|_| header.sequence == 0 && header.length > 0) else {
            return self.malformed_command(input, signals);
        };
        self.begin_turn(&input, signals);
        if command == Command::Stream {
            return self.switch(input.last, signals);
        }
        if command == Command::BulkExecute {
            self.session.system = "mariadb";
        }
        let number = command.reply().map(|reply| {
            let binary = matches!(command, Command::Execute | Command::BulkExecute | Command::Fetch);
            self.session.wait(reply, binary, input.first, input.position)
        });
        if let Some(number) = number.filter(|_| command.executes()) {
            self.session.open(number, signals);
        }
        let request = Request {
            command,
            number,
            sequence: header.sequence,
            left: header.length - 1,
            more: header.length == LARGEST,
            text: Vec::new(),
        };
        if request.left == 0 || command.needs(self.session.options.sql_limit, None) == 0 {
            let left = request.left;
            self.arguments(&request, &[], signals);
            return self.pass_rest(request, HEADER + 1, left, signals);
        }
        self.client.place = Place::Arguments(request);
        Taken::Bytes(HEADER + 1)
    }

    /// A command's first byte has come: what that says about what was sent before.
    fn begin_turn(&mut self, input: &Input<'_>, signals: &mut Signals) {
        self.session.ready(signals);
        if input.turned {
            self.session.turn += 1;
            self.server.client_turned();
            if self.server.is_lost() {
                self.session.give_up(usize::MAX, self.server.last(), signals);
            }
        }
        if self.session.overfull() {
            signals.push(Signal::Lost(Loss::Evicted));
            self.session.give_up(usize::MAX, input.first, signals);
            self.lost_server(Missing::Calls, input.first, signals);
        }
    }

    fn read_arguments(&mut self, mut request: Request, input: Input<'_>, signals: &mut Signals) -> Taken {
        let first = request.text.first().or(input.bytes.first()).copied();
        let wanted = request.command.needs(self.session.options.sql_limit, first).saturating_sub(request.text.len());
        let wanted = wanted.min(request.left);
        let is_text = matches!(request.command, Command::Query | Command::Prepare);
        let Some(available) = input.bytes.get(..wanted) else {
            if !is_text {
                self.client.place = Place::Arguments(request);
                return Taken::More;
            }
            request.text.extend_from_slice(input.bytes);
            request.left -= input.bytes.len();
            self.client.place = Place::Arguments(request);
            return Taken::Bytes(input.bytes.len());
        };
        request.left -= wanted;
        if is_text {
            request.text.extend_from_slice(available);
            let text = std::mem::take(&mut request.text);
            self.arguments(&request, &text, signals);
        } else {
            self.arguments(&request, available, signals);
        }
        let left = request.left;
        self.pass_rest(request, wanted, left, signals)
    }

    /// Passes over what is left of a packet; the command is complete when that was its last.
    fn pass_rest(&mut self, request: Request, bytes: usize, left: usize, signals: &mut Signals) -> Taken {
        let more = request.more;
        self.client.place = Place::Rest { request, more };
        if left == 0 {
            self.rest_passed(signals);
        } else {
            self.client.passing = true;
        }
        Taken::past(bytes, left)
    }

    fn rest_passed(&mut self, signals: &mut Signals) {
        self.client.passing = false;
        match std::mem::replace(&mut self.client.place, Place::Packet) {
            Place::Rest { request, more: false } => {
                if let Some(number) = request.number {
                    self.session.requested(number, Some(request.sequence), signals);
                }
            }
            place => self.client.place = place,
        }
    }

    pub(super) fn skipped_client(&mut self, signals: &mut Signals) {
        if self.client.passing {
            self.rest_passed(signals);
        }
    }

    /// Understands a command's arguments, which may be cut short.
    fn arguments(&mut self, request: &Request, bytes: &[u8], signals: &mut Signals) {
        let session = &mut self.session;
        let mut reader = Reader(bytes);
        let effect = match request.command {
            Command::Query => {
                let (attributes, several) = session.capabilities.map_or_else(
                    || (looks_like_attributes(bytes), true),
                    |agreed| (agreed.query_attributes, agreed.multi_statements),
                );
                let text = if attributes { after_attributes(bytes) } else { Some(bytes) };
                if let (Some(text), Some(number)) = (text, request.number) {
                    let text = text.get(..session.options.sql_limit).unwrap_or(text);
                    let script = Script::new(text, several, &session.options, &session.tally);
                    session.executes(number, script);
                }
                return;
            }
            Command::Execute | Command::BulkExecute => {
                match (reader.int4().and_then(|id| session.statements.get(id)), request.number) {
                    (Some(statement), Some(number)) => session.executes(number, Script::prepared(statement)),
                    _ => signals.push(Signal::Lost(Loss::UnknownStatement)),
                }
                return;
            }
            Command::Close => {
                if let Some(id) = reader.int4() {
                    session.statements.remove(id);
                }
                return;
            }
            Command::Prepare => {
                let statement =
                    Arc::new(Statement::new(bytes, Dialect::MySql, &session.options).kept_by(&session.tally, 0));
                session.statements.requested(&statement);
                Effect::Prepared(statement)
            }
            Command::InitDb => Effect::Database(name(bytes)),
            Command::ChangeUser => Effect::User(changed_user_database(bytes)),
            Command::ResetConnection => Effect::Reset,
            Command::SetOption => Effect::MultiStatements(reader.int2() == Some(MULTI_STATEMENTS_ON)),
            _ => return,
        };
        let tally = session.tally.clone();
        if let Some(pending) = request.number.and_then(|number| session.find(number)) {
            pending.changes(effect, &tally);
        }
    }

    fn malformed_command(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        signals.push(Signal::Lost(Loss::Malformed));
        self.client.place = Place::Lost;
        Taken::Bytes(input.bytes.len())
    }

    /// Packet boundaries are lost. A statement whose text was being read is still answered next, unless turns overlap:
    /// then, or if nothing of the text was seen, it is given up.
    pub(super) fn lost_client(&mut self, time: Time, signals: &mut Signals) {
        self.session.infile = false;
        let place = std::mem::replace(&mut self.client.place, Place::Lost);
        self.client.passing = false;
        let (request, read) = match place {
            Place::Arguments(request) => (request, false),
            Place::Rest { request, .. } => (request, true),
            Place::Answer | Place::Packet | Place::Lost => return,
        };
        let Some(number) = request.number else { return };
        if self.session.overlapping || (!read && request.text.is_empty()) {
            self.session.give_up_number(number, time, signals);
            return;
        }
        if !read {
            self.arguments(&request, &request.text, signals);
        }
        self.session.requested(number, None, signals);
    }

    /// Looks for a command where the client takes its turn.
    fn seek_command(&mut self, input: Input<'_>, signals: &mut Signals) -> Taken {
        self.client.place = Place::Lost;
        if input.turned {
            if input.bytes.starts_with(&TLS_HANDSHAKE) {
                return self.abandon(Loss::Tls, signals);
            }
            match looks_like_command(input.bytes, true) {
                Likeness::Yes => {
                    self.client.place = Place::Packet;
                    return self.read_packet(input, signals);
                }
                Likeness::TooShort => return Taken::More,
                Likeness::No => {}
            }
        }
        Taken::Bytes(input.bytes.len())
    }
}
