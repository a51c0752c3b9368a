//! The traced processes of a row, one behind the other.

use std::{collections::BTreeSet, fmt};

use anyhow::Result;

use crate::{apps::App, nginx::Nginx, process};

/// A traced server, with all its processes.
pub struct Hop {
    pid: u32,
    port: u16,
    _running: Box<dyn Send>,
}

impl Hop {
    /// A server by its first process and the port that it listens on. It ends when `running` is dropped.
    #[must_use]
    pub fn new(pid: u32, port: u16, running: impl Send + 'static) -> Self {
        Self { pid, port, _running: Box::new(running) }
    }
}

impl From<App> for Hop {
    fn from(app: App) -> Self {
        Self::new(app.pid(), app.port(), app)
    }
}

impl From<Nginx> for Hop {
    fn from(nginx: Nginx) -> Self {
        Self::new(nginx.pid(), nginx.port(), nginx)
    }
}

/// Servers that pass a request on, the one that clients talk to first. The last runs the statements.
pub struct Stack {
    first: Hop,
    further: Vec<Hop>,
    options: &'static [&'static str],
}

impl Stack {
    /// An application by itself.
    #[must_use]
    pub fn of(application: impl Into<Hop>) -> Self {
        Self { first: application.into(), further: Vec::new(), options: &[] }
    }

    /// The same behind a proxy that is traced as well.
    #[must_use]
    pub fn behind(self, proxy: impl Into<Hop>) -> Self {
        let Self { first, mut further, options } = self;
        further.insert(0, first);
        Self { first: proxy.into(), further, options }
    }

    /// The same, traced with further options.
    #[must_use]
    pub fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    /// Options of syspan's with which it is traced.
    #[must_use]
    pub fn options(&self) -> &'static [&'static str] {
        self.options
    }

    /// The port that requests are sent to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.first.port
    }

    /// The first process of each hop.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.hops().map(|hop| hop.pid).collect()
    }

    /// All processes of each hop that there are now.
    pub fn processes(&self) -> Result<Vec<BTreeSet<u32>>> {
        self.hops().map(|hop| process::family(hop.pid)).collect()
    }

    fn hops(&self) -> impl Iterator<Item = &Hop> {
        std::iter::once(&self.first).chain(&self.further)
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("port", &self.port()).field("pids", &self.pids()).finish()
    }
}
