//! What the applications use, shared by all rows.

use std::cell::OnceCell;

use anyhow::Result;

use crate::{downstream::Downstream, mariadb::MariaDb, postgres::Postgres};

/// Databases and the service that is called. None of it is traced.
#[derive(Debug)]
pub struct Backends {
    postgres: Postgres,
    mariadb: OnceCell<MariaDb>,
    downstream: Downstream,
}

impl Backends {
    /// Starts PostgreSQL and the service.
    pub fn start() -> Result<Self> {
        Ok(Self { postgres: Postgres::start()?, mariadb: OnceCell::new(), downstream: Downstream::start()? })
    }

    /// The environment of an application that uses PostgreSQL and the service, and further variables.
    #[must_use]
    pub fn environment(&self, further: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut environment = self.postgres.environment();
        environment.push(("DOWNSTREAM".to_owned(), self.downstream.url()));
        environment.extend(further.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        environment
    }

    /// The same with MariaDB, which is started when it is first asked for.
    pub fn environment_with_mariadb(&self, further: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
        let mariadb = match self.mariadb.get() {
            Some(mariadb) => mariadb,
            None => {
                let mariadb = MariaDb::start()?;
                self.mariadb.get_or_init(|| mariadb)
            }
        };
        Ok([self.environment(further), mariadb.environment()].concat())
    }
}
