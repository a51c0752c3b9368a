//! What is done for a request: two statements and a call.

use std::error::Error;

use sqlx::{PgPool, Row as _};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) struct Steps {
    pub(crate) pool: PgPool,
    pub(crate) client: reqwest::Client,
    /// Base URL of the service that this one calls, if it has one.
    pub(crate) downstream: Option<String>,
}

impl Steps {
    pub(crate) async fn in_order(&self, name: &str, id: u32) -> Result<String, Failure> {
        let first = self.query(name, id, 'a').await?;
        let item = self.item(id).await?;
        let second = self.query(name, id, 'b').await?;
        Ok(format!("{first}\n{item}{second}\n"))
    }

    pub(crate) async fn at_once(&self, name: &str, id: u32) -> Result<String, Failure> {
        let (first, item, second) = tokio::join!(self.query(name, id, 'a'), self.item(id), self.query(name, id, 'b'));
        Ok(format!("{}\n{}{}\n", first?, item?, second?))
    }

    /// A statement that takes 0 to 4 ms, depending on the id, so that requests overtake each other.
    async fn query(&self, name: &str, id: u32, step: char) -> Result<String, Failure> {
        let seconds = f64::from(id % 5 * 7919 % 5) / 1000.0;
        let statement = format!("SELECT '{name}-{id}-{step}', pg_sleep({seconds:.3})");
        Ok(sqlx::query(&statement).fetch_one(&self.pool).await?.try_get(0)?)
    }

    async fn item(&self, id: u32) -> Result<String, Failure> {
        let Some(base) = &self.downstream else { return Ok(String::new()) };
        let response = self.client.get(format!("{base}/item?id={id}")).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }
}
