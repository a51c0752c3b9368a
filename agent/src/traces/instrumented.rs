//! Programs that trace themselves. Their own spans say more than system calls can show: what those cover is left to them, once the
//! process is seen to export them. A process that receives such exports passes others' spans on, and is none of these.

use foldhash::{HashMap, HashSet};

use crate::{
    event::Pid,
    protocols::{Role, otlp::Covered},
};

/// Processes remembered; beyond it, more are traced like all others.
const LIMIT: usize = 65_536;

/// Processes that export spans.
#[derive(Debug, Default)]
pub struct Instrumented {
    covered: HashMap<Pid, Covered>,
    collectors: HashSet<Pid>,
    /// Found since it was asked last.
    found: Vec<(Pid, Covered)>,
}

impl Instrumented {
    /// A process received an export.
    pub fn receives(&mut self, pid: Pid) {
        if self.collectors.len() < LIMIT {
            self.collectors.insert(pid);
            self.covered.remove(&pid);
        }
    }

    /// A process exports spans of this sort.
    pub fn exports(&mut self, pid: Pid, covered: Covered) {
        if self.collectors.contains(&pid) || (self.covered.len() >= LIMIT && !self.covered.contains_key(&pid)) {
            return;
        }
        let known = self.covered.entry(pid).or_default();
        let all = known.and(covered);
        if all.words() != known.words() {
            self.found.push((pid, all));
        }
        *known = all;
    }

    /// Whether the process makes a span of such a request itself. `named`: the request carries a `traceparent`, as calls do that an SDK
    /// has a span for.
    #[must_use]
    pub fn covers(&self, pid: Pid, protocol: &str, role: Role, named: bool) -> bool {
        self.covered.get(&pid).is_some_and(|covered| match (protocol, role) {
            ("http" | "fastcgi", Role::Server) => covered.server,
            ("http" | "fastcgi", Role::Client) => covered.client && named,
            (_, Role::Client) => covered.sql,
            (_, Role::Server) => false,
        })
    }

    /// Whether it is known to export spans of its own.
    #[must_use]
    pub fn contains(&self, pid: Pid) -> bool {
        self.covered.contains_key(&pid)
    }

    /// Processes of which more became known since this was asked.
    pub fn found(&mut self) -> Vec<(Pid, Covered)> {
        std::mem::take(&mut self.found)
    }

    /// A process ended.
    pub fn exited(&mut self, pid: Pid) {
        self.covered.remove(&pid);
        self.collectors.remove(&pid);
    }
}
