//! Order funding, end to end: a real Temporal, a real Postgres, the exchange over HTTP, and a worker process.
#![allow(clippy::unwrap_used)]

mod input;
mod paid;
mod refunded;
mod released;
mod restart;
mod unreadable;

use backstop_tests::{World, books_checker};
use serde_json::Value;

/// The workflow's id.
fn id(order: &Value) -> String {
    format!("funding/{}", order["order_id"].as_str().unwrap())
}

fn tag(order: &Value) -> &str {
    order["order_id"].as_str().unwrap()
}

async fn assert_sound(world: &World) {
    let unsound = books_checker::check(&mut world.database.owner().await).await;
    assert!(unsound.is_empty(), "{unsound:#?}");
}

/// How the refunds of an order ended: `asset amount state`, in order.
async fn refunds(world: &World, order: &Value) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', p.asset, trim_scale(p.amount), p.state)
           FROM payouts AS p WHERE owner = $1 AND kind = 'refund' ORDER BY 1",
    )
    .bind(order["user_id"].as_str().unwrap())
    .fetch_all(&mut world.database.owner().await)
    .await
    .unwrap()
}
