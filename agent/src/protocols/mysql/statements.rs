//! The prepared statements of one connection.

use std::sync::Arc;

use lru::LruCache;

use crate::protocols::sql::Statement;

/// Most prepared statements that are remembered; MySQL's own limit for all connections together is 16 382 by default.
const STATEMENTS: usize = 4096;

/// Most bytes of text that are remembered of them.
const TEXT_BYTES: usize = 1024 * 1024;

/// About what an entry of the table takes beside its statement, bytes.
const ENTRY: usize = 64;

/// In the place of an id: the statement prepared last (MariaDB, for clients that do not wait for the id).
const LAST_PREPARED: u32 = u32::MAX;

/// Prepared statements by the id that the server gave them; the one unused for longest goes first.
#[derive(Debug)]
pub(super) struct Statements {
    known: LruCache<u32, Arc<Statement>>,
    bytes: usize,
    last: Option<Arc<Statement>>,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self { known: LruCache::unbounded(), bytes: 0, last: None }
    }

    /// The client asked to prepare this statement.
    pub(super) fn requested(&mut self, statement: &Arc<Statement>) {
        self.last = Some(Arc::clone(statement));
    }

    /// The server named it. Gives how many others had to be forgotten.
    pub(super) fn insert(&mut self, id: u32, statement: Arc<Statement>) -> usize {
        self.bytes = self.bytes.saturating_add(size(&statement));
        if let Some(old) = self.known.put(id, statement) {
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
        let mut forgotten = 0;
        while self.known.len() > STATEMENTS || (self.bytes > TEXT_BYTES && self.known.len() > 1) {
            let Some((_, old)) = self.known.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(size(&old));
            forgotten += 1;
        }
        forgotten
    }

    /// The statement of an id.
    pub(super) fn get(&mut self, id: u32) -> Option<Arc<Statement>> {
        if id == LAST_PREPARED { self.last.clone() } else { self.known.get(&id).cloned() }
    }

    /// The client closed a statement.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(old) = self.known.pop(&id) {
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
    }

    /// Bytes of the table itself.
    pub(super) fn overhead(&self) -> usize {
        self.known.len() * ENTRY
    }

    /// The session was reset.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

fn size(statement: &Statement) -> usize {
    statement.text.as_ref().map_or(0, String::len) + statement.summary.as_ref().map_or(0, String::len)
}
