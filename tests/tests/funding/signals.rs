//! Goal: however often somebody says that a payment is in, the venue is asked at a pace of its own.

use std::time::Instant;

use backstop_tests::World;
use serde_json::json;

use crate::{assert_sound, id, tag};

#[tokio::test]
async fn a_flood_of_signals_costs_a_look_now_and_then_and_the_last_signal_still_counts() {
    // Nobody watches: only signals have the deposits read.
    let world = World::new().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.books_say("SELECT state FROM fundings WHERE order_id = $1", tag(&order), "awaiting").await;
    let began = Instant::now();
    for _ in 0..60 {
        world.signal(&id(&order), "payment_received", json!({})).await;
        // Answered once the workflow has taken the signal.
        world.status_of(&id(&order)).await;
    }
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    world.signal(&id(&order), "payment_received", json!({})).await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    // Two seconds between any two; the first and the last are not at their beginning and end.
    let looks_max = usize::try_from(began.elapsed().as_secs() / 2 + 2).unwrap();
    let looks = world.passed().iter().filter(|point| *point == "venue_deposits.before").count();
    assert!((1..=looks_max).contains(&looks), "{looks} looks, at most {looks_max}");
    assert_sound(&world).await;
}
