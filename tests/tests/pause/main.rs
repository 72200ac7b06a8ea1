//! Pause-and-withdraw, end to end: a real Temporal, a real Postgres, the exchange over HTTP, and a worker process.
#![allow(clippy::unwrap_used)]

mod cancel;
mod drain;
mod input;
mod once;
mod restart;

use backstop_tests::{World, books_checker};
use serde_json::Value;

/// The workflow's id.
fn id(pause: &Value) -> String {
    format!("pause/{}", pause["operation_id"].as_str().unwrap())
}

/// The payout's id, and its workflow's.
fn withdrawal_id(pause: &Value) -> String {
    format!("withdrawal/{}", pause["operation_id"].as_str().unwrap())
}

async fn assert_sound(world: &World) {
    let unsound = books_checker::check(&mut world.database.owner().await).await;
    assert!(unsound.is_empty(), "{unsound:#?}");
}

/// How often the exchange has paid for the operation.
async fn paid(world: &World, pause: &Value) -> usize {
    let made = world.exchange.withdrawals(&withdrawal_id(pause)).await;
    made.iter().filter(|withdrawal| withdrawal.pays()).count()
}

/// The operation's events, in order.
async fn events(world: &World, pause: &Value) -> Vec<String> {
    sqlx::query_scalar("SELECT kind FROM outbox WHERE aggregate = $1 ORDER BY id")
        .bind(id(pause))
        .fetch_all(&mut world.database.owner().await)
        .await
        .unwrap()
}
