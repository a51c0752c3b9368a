//! The commands a client can send (MySQL protocol, "Command Phase"; MariaDB adds COM_STMT_BULK_EXECUTE).

use super::handshake::ANSWER_LIMIT;

/// Longest database name that is looked at: 64 characters of at most 4 bytes.
const NAME_LIMIT: usize = 256;

/// Room for the attributes that come before a query's text (`CLIENT_QUERY_ATTRIBUTES`).
const ATTRIBUTES_LIMIT: usize = 4096;

/// A command, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    InitDb,
    Query,
    FieldList,
    Statistics,
    ProcessInfo,
    ChangeUser,
    Prepare,
    Execute,
    BulkExecute,
    SendLongData,
    Close,
    Fetch,
    SetOption,
    ResetConnection,
    /// The connection becomes a stream of events (replication) or of data (clone).
    Stream,
    /// Ping, kill, refresh and others that are answered by one packet.
    Other,
}

/// What the server answers to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// One packet: OK, EOF or ERR.
    Status,
    /// One packet of text.
    Text,
    /// OK, ERR, a request for a local file, or result sets, one or more of them.
    Results,
    /// Rows (or column definitions) up to EOF, without a column count.
    Rows,
    /// A statement's id with the definitions of its parameters and columns.
    Prepared,
    /// An authentication exchange of any length up to OK or ERR.
    Authentication,
}

impl Command {
    /// The command of a number; `None` for numbers without a command.
    pub(super) fn new(code: u8) -> Option<Self> {
        Some(match code {
            0x01 => Self::Quit,
            0x02 => Self::InitDb,
            0x03 => Self::Query,
            0x04 => Self::FieldList,
            0x09 => Self::Statistics,
            0x0A => Self::ProcessInfo,
            0x11 => Self::ChangeUser,
            0x16 => Self::Prepare,
            0x17 => Self::Execute,
            0x18 => Self::SendLongData,
            0x19 => Self::Close,
            0x1B => Self::SetOption,
            0x1C => Self::Fetch,
            0x1F => Self::ResetConnection,
            // COM_BINLOG_DUMP, COM_TABLE_DUMP, COM_BINLOG_DUMP_GTID, COM_CLONE, COM_SUBSCRIBE_GROUP_REPLICATION_STREAM.
            0x12 | 0x13 | 0x1E | 0x20 | 0x21 => Self::Stream,
            // Create and drop a database, refresh, shutdown, kill, debug, ping, time, register a replica, reset a statement.
            0x05..=0x08 | 0x0C | 0x0D | 0x0E | 0x0F | 0x15 | 0x1A => Self::Other,
            0xFA => Self::BulkExecute,
            _ => return None,
        })
    }

    /// Whether it executes a statement: these are the spans.
    pub(super) fn executes(self) -> bool {
        matches!(self, Self::Query | Self::Execute | Self::BulkExecute)
    }

    /// What the server answers; `None` if it does not.
    pub(super) fn reply(self) -> Option<Reply> {
        match self {
            Self::Quit | Self::SendLongData | Self::Close | Self::Stream => None,
            Self::Query | Self::Execute | Self::BulkExecute | Self::ProcessInfo => Some(Reply::Results),
            Self::FieldList | Self::Fetch => Some(Reply::Rows),
            Self::Statistics => Some(Reply::Text),
            Self::ChangeUser => Some(Reply::Authentication),
            Self::Prepare => Some(Reply::Prepared),
            Self::InitDb | Self::SetOption | Self::ResetConnection | Self::Other => Some(Reply::Status),
        }
    }

    /// How many bytes after the command's number are looked at; `first` is the first of them. A query's text may come after
    /// attributes: two bytes, unless there are some.
    pub(super) fn needs(self, sql_limit: usize, first: Option<u8>) -> usize {
        match self {
            Self::Query if matches!(first, Some(1..=8)) => sql_limit.saturating_add(ATTRIBUTES_LIMIT),
            Self::Query => sql_limit.saturating_add(2),
            Self::Prepare => sql_limit,
            Self::InitDb => NAME_LIMIT,
            Self::ChangeUser => ANSWER_LIMIT,
            Self::Execute | Self::BulkExecute | Self::Close => 4,
            Self::SetOption => 2,
            _ => 0,
        }
    }
}
