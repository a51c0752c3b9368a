//! A web service on multi-threaded Tokio. Every statement and call carries the id of its request.

mod steps;

use std::{env, error::Error, sync::Arc};

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use steps::{Failure, Steps};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let connections = env::var("POOL_SIZE").map_or(Ok(20), |size| size.parse())?;
    // PGHOST, PGPORT, PGUSER and PGDATABASE are its defaults.
    let pool = PgPoolOptions::new().max_connections(connections).connect_with(PgConnectOptions::new()).await?;
    let steps = Steps { pool, client: reqwest::Client::new(), downstream: env::var("DOWNSTREAM").ok() };
    let app = Router::new()
        .route("/hello", get(|| async { "hello\n" }))
        .route("/checkout", get(checkout))
        .route("/fanout", get(fanout))
        .with_state(Arc::new(steps));
    let listener = TcpListener::bind(("127.0.0.1", env::var("PORT")?.parse()?)).await?;
    Ok(axum::serve(listener, app).await?)
}

type Answer = Result<String, (StatusCode, String)>;

fn refuse(failure: Failure) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string())
}

async fn checkout(State(steps): State<Arc<Steps>>, Query(Id { id }): Query<Id>) -> Answer {
    steps.in_order("checkout", id).await.map_err(refuse)
}

async fn fanout(State(steps): State<Arc<Steps>>, Query(Id { id }): Query<Id>) -> Answer {
    steps.at_once("fanout", id).await.map_err(refuse)
}
