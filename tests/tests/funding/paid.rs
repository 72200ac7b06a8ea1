//! Goal: an order is funded by what the venue's record says has come in, once, and by nothing else.

use backstop_tests::World;
use serde_json::{Value, json};

use crate::{assert_sound, id, refunds, tag};

const STATE: &str = "SELECT state FROM fundings WHERE 'funding/' || order_id = $1";

#[tokio::test]
async fn an_order_whose_payments_come_in_is_funded_and_they_are_reserved() {
    let world = World::watched().await;
    let order = world.funding().await;
    let user = order["user_id"].as_str().unwrap();
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.2").await;
    world.exchange.deposit(tag(&order), "BTC", "0.3").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_eq!(world.holds(user, "BTC").await, "1 + 0.5");
    assert_eq!(world.holds(user, "USDT").await, "0 + 1000");
    assert_eq!(refunds(&world, &order).await, Vec::<String>::new());
    assert_sound(&world).await;
}

#[tokio::test]
async fn payments_that_came_before_the_order_wait_for_it() {
    let world = World::watched().await;
    let order = world.funding().await;
    let early = world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.books_say("SELECT state FROM deposits WHERE deposit_id = $1", &early, "suspended").await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "BTC").await, "1 + 0.5");
    assert_eq!(world.holds("~suspense", "BTC").await, "0 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_signal_only_has_the_record_read_whatever_it_says() {
    // Nobody watches here: without the signal nothing would be read before the time is up.
    let world = World::new().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.books_say(STATE, &id(&order), "awaiting").await;
    for lie in [json!({"asset_id": "BTC", "amount": "1000"}), json!([1, "two"]), Value::Null] {
        world.signal(&id(&order), "payment_received", lie).await;
    }
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "USDT").await, "0 + 0");
    for _ in 0..2 {
        world.signal(&id(&order), "payment_received", json!({})).await;
    }
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "USDT").await, "0 + 1000");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_signal_that_starts_the_order_counts_as_one() {
    let world = World::new().await;
    let order = world.funding().await;
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    let input = order.to_string();
    let started = world
        .temporal(&[
            "workflow",
            "signal-with-start",
            "--signal-name",
            "payment_received",
            "--signal-input",
            "{}",
            "--type",
            "FundOrder",
            "--task-queue",
            world.queue(),
            "-w",
            &id(&order),
            "--input",
            &input,
        ])
        .await;
    assert!(started.status.success(), "{started:?}");
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_deposit_counts_once_it_is_final_and_once_only() {
    let world = World::watched().await;
    let order = world.funding().await;
    let user = order["user_id"].as_str().unwrap();
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit_as("d-pending", tag(&order), "BTC", "0.5", 0).await;
    let usdt = world.exchange.deposit(tag(&order), "USDT", "1000").await;
    world.books_say("SELECT state FROM deposits WHERE deposit_id = $1", &usdt, "credited").await;
    assert_eq!(world.holds(user, "BTC").await, "1 + 0");
    world.exchange.deposit_as("d-pending", tag(&order), "BTC", "0.5", 6).await;
    world.exchange.deposit_as("d-pending", tag(&order), "BTC", "0.5", 1).await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_eq!(world.holds(user, "BTC").await, "1 + 0.5");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_fee_in_an_asset_of_the_order_adds_to_it() {
    let world = World::watched().await;
    let mut order = world.funding().await;
    order["fee_asset_id"] = json!("USDT");
    order["fee_amount"] = json!("5");
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    world.books_say("SELECT holder FROM reservations WHERE content ->> 'asset_id' = $1", "USDT", &id(&order)).await;
    world.books_say(STATE, &id(&order), "awaiting").await;
    world.exchange.deposit(tag(&order), "USDT", "5").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_sound(&world).await;
}

#[tokio::test]
async fn what_a_person_looks_at_says_what_is_missing() {
    let world = World::watched().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.2").await;
    world.shows_failure(&id(&order), "0.2 of 0.5 BTC, 0 of 1000 USDT").await;
    let status = world.status_of(&id(&order)).await;
    assert_eq!(status.state, "awaiting");
    assert!(status.steps[0].note.contains(tag(&order)), "{status:?}");
}
