//! Rewards, end to end: a real Temporal, a real Postgres, and worker processes.
#![allow(clippy::unwrap_used)]

mod cancel;
mod input;
mod kills;
mod once;
mod pool;

use backstop_tests::{World, books_checker};

async fn assert_sound(world: &World) {
    let unsound = books_checker::check(&mut world.database.owner().await).await;
    assert!(unsound.is_empty(), "{unsound:#?}");
}

/// What a pool has left.
async fn left(world: &World, pool: &str) -> String {
    world.holds(&format!("~rewards:{pool}"), "BTC").await
}

/// What nobody has got.
const NOTHING: [&str; 3] = ["0 + 0"; 3];
/// What the users of a reward of 0.1 BTC have got.
const THIRDS: [&str; 3] = ["0.033 + 0"; 3];
