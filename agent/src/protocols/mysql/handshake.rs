//! How a connection begins: the server's greeting and the client's answer (MySQL protocol, "Connection Phase").

use super::packet::{Reader, name};

/// Most of a client's answer that is looked at: user, authentication data and database stand at its beginning.
pub(super) const ANSWER_LIMIT: usize = 1024;

/// Most of a greeting that is looked at; servers send less than 150 bytes.
pub(super) const GREETING_LIMIT: usize = 512;

/// The only version that servers have spoken since MySQL 3.21.
pub(super) const PROTOCOL_VERSION: u8 = 10;

const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_STATEMENTS: u32 = 1 << 16;
const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
const ZSTD: u32 = 1 << 26;
const QUERY_ATTRIBUTES: u32 = 1 << 27;

/// Length of the part of an answer that comes before the user name; an SSLRequest is this part alone.
const FIXED_PART: usize = 32;

/// What a greeting tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeting {
    /// `db.system.name`.
    pub(super) system: &'static str,
    /// The server's capability flags.
    pub(super) capabilities: u32,
}

impl Greeting {
    /// Parses a greeting's payload; `None` if it is none of protocol version 10.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        if reader.byte()? != PROTOCOL_VERSION {
            return None;
        }
        let version = reader.nul_bytes()?;
        let system = if memchr::memmem::find(version, b"MariaDB").is_some() { "mariadb" } else { "mysql" };
        let _thread_and_scramble = reader.take(4 + 8 + 1)?;
        let lower = reader.int2()?;
        let upper = reader.take(1 + 2).and_then(|_charset_and_status| reader.int2()).unwrap_or(0);
        Some(Self { system, capabilities: u32::from(lower) | u32::from(upper) << 16 })
    }
}

/// What follows from the flags that both sides named.
///
/// Only those that cannot be told from the packets themselves: whether EOF packets are deprecated, and whether column
/// definitions are left out (MySQL's optional and MariaDB's cached metadata), shows in each response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// One COM_QUERY may hold several statements.
    pub(super) multi_statements: bool,
    /// COM_QUERY's text comes after attributes.
    pub(super) query_attributes: bool,
}

/// The client's answer to the greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The rest of the connection is TLS.
    Tls,
    /// The rest of the connection is compressed.
    Compressed,
    /// A plain session.
    Plain {
        /// What was agreed.
        capabilities: Capabilities,
        /// The database that is to be used.
        database: Option<String>,
    },
}

impl Answer {
    /// Parses the head of a payload that is `length` bytes long; `None` for clients before MySQL 4.1 and malformed ones.
    pub(super) fn parse(payload: &[u8], length: usize, server: u32) -> Option<Self> {
        let mut reader = Reader(payload);
        let client = reader.int4()?;
        if client & SSL != 0 && length <= FIXED_PART {
            return Some(Self::Tls);
        }
        if client & PROTOCOL_41 == 0 {
            return None;
        }
        let agreed = client & server;
        if agreed & (COMPRESS | ZSTD) != 0 {
            return Some(Self::Compressed);
        }
        reader.take(FIXED_PART - 4)?;
        let _user = reader.nul_bytes()?;
        if client & PLUGIN_AUTH_LENENC != 0 {
            reader.lenenc_bytes()?;
        } else if client & SECURE_CONNECTION != 0 {
            let secret = reader.byte()?;
            reader.take(usize::from(secret))?;
        } else {
            reader.nul_bytes()?;
        }
        // Some clients leave out the zero byte at the end of the packet.
        let database = (client & CONNECT_WITH_DB != 0).then(|| reader.nul_bytes().unwrap_or(reader.0)).and_then(name);
        let capabilities = Capabilities {
            multi_statements: agreed & MULTI_STATEMENTS != 0,
            query_attributes: agreed & QUERY_ATTRIBUTES != 0,
        };
        Some(Self::Plain { capabilities, database })
    }
}

/// The database in COM_CHANGE_USER: user, authentication data, database.
pub(super) fn changed_user_database(payload: &[u8]) -> Option<String> {
    let mut reader = Reader(payload);
    let _user = reader.nul_bytes()?;
    let secret = reader.byte()?;
    reader.take(usize::from(secret))?;
    reader.nul_bytes().and_then(name)
}
