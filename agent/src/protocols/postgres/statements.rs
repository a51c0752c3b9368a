//! Prepared statements and portals of one connection, by name, in bounded tables.

use std::sync::Arc;

use lru::LruCache;

use crate::protocols::{
    held::{Held, Tally},
    sql::Statement,
};

/// Most prepared statements that are remembered; drivers' own caches hold some hundreds.
const STATEMENTS: usize = 4096;

/// Most bytes of their texts and names.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// Most portals that are remembered. They live as long as a transaction, and most programs use the unnamed one alone.
const PORTALS: usize = 256;

/// About what an entry of a table takes beside its name and statement, bytes.
const ENTRY: usize = 96;

/// What a prepared statement or portal will execute; `None` if it was prepared before the connection was seen.
pub(super) type Known = Option<Arc<Statement>>;

/// The names of one connection. The unnamed ones have the empty name.
#[derive(Debug)]
pub(super) struct Statements {
    statements: LruCache<Box<[u8]>, Arc<Statement>>,
    bytes: usize,
    portals: LruCache<Box<[u8]>, (Known, Held)>,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self { statements: LruCache::unbounded(), bytes: 0, portals: LruCache::unbounded() }
    }

    /// Remembers a statement. Gives what had the name before, and how many others had to be forgotten.
    pub(super) fn prepare(&mut self, name: &[u8], statement: Arc<Statement>) -> (Known, usize) {
        let replaced = self.forget(name);
        self.bytes += size(name, &statement);
        self.statements.put(name.into(), statement);
        let mut evicted = 0;
        while self.statements.len() > STATEMENTS || (self.bytes > STATEMENT_BYTES && self.statements.len() > 1) {
            let Some((name, statement)) = self.statements.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(size(&name, &statement));
            evicted += 1;
        }
        (replaced, evicted)
    }

    /// Forgets a statement.
    pub(super) fn forget(&mut self, name: &[u8]) -> Known {
        let statement = self.statements.pop(name)?;
        self.bytes = self.bytes.saturating_sub(size(name, &statement));
        Some(statement)
    }

    /// A statement was not prepared after all: what had its name before has it again.
    pub(super) fn restore(&mut self, name: &[u8], failed: &Arc<Statement>, replaced: Known) {
        if self.statements.peek(name).is_some_and(|statement| Arc::ptr_eq(statement, failed)) {
            self.forget(name);
            if let Some(statement) = replaced {
                self.prepare(name, statement);
            }
        }
    }

    /// The statement of a name.
    pub(super) fn get(&mut self, name: &[u8]) -> Known {
        self.statements.get(name).cloned()
    }

    /// A portal executes this statement. Gives whether another portal had to be forgotten.
    pub(super) fn bind(&mut self, portal: &[u8], statement: Known, tally: &Tally) -> bool {
        self.portals.put(portal.into(), (statement, tally.hold(portal.len())));
        self.portals.len() > PORTALS && self.portals.pop_lru().is_some()
    }

    /// What a portal executes.
    pub(super) fn portal(&mut self, portal: &[u8]) -> Known {
        self.portals.get(portal).and_then(|(statement, _)| statement.clone())
    }

    /// Bytes of the tables themselves.
    pub(super) fn overhead(&self) -> usize {
        (self.statements.len() + self.portals.len()) * ENTRY
    }

    /// Forgets a portal.
    pub(super) fn close_portal(&mut self, portal: &[u8]) {
        self.portals.pop(portal);
    }
}

fn size(name: &[u8], statement: &Statement) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    name.len() + length(&statement.text) + length(&statement.summary) + size_of::<Statement>()
}
