//! Goal: an order that loses its worker or its workflow goes on to the same end.

use backstop_tests::{End, World};
use serde_json::json;

use crate::{assert_sound, id, refunds, tag};

#[tokio::test]
async fn an_order_whose_workflow_was_terminated_is_taken_up_again() {
    let world = World::watched().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.shows_failure(&id(&order), "0.5 of 0.5 BTC").await;
    let terminated = world.temporal(&["workflow", "terminate", "-w", &id(&order), "--reason", "a test"]).await;
    assert!(terminated.status.success());
    assert_eq!(world.end_of(&id(&order)).await, End::Terminated);
    // By the watch, which finds it without a workflow.
    world.runs(&id(&order)).await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_order_started_twice_at_once_under_two_ids_is_one_order() {
    let world = World::watched().await;
    let order = world.funding().await;
    let one = id(&order);
    let other = format!("{one}/other");
    futures::join!(world.start_any("FundOrder", &one, &order), world.start_any("FundOrder", &other, &order));
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    let ends = futures::join!(world.end_of(&one), world.end_of(&other));
    let kinds = [ends.0.kind(), ends.1.kind()];
    assert!(kinds.contains(&"funded") && kinds.iter().all(|kind| ["funded", "Held"].contains(kind)), "{kinds:?}");
    assert_eq!(refunds(&world, &order).await, Vec::<String>::new());
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_order_killed_around_its_steps_is_refunded_once() {
    let points = [
        "funding_open.after",
        "venue_deposits.after",
        "funding_expire.before",
        "funding_expire.after",
        "payout_open.after",
    ];
    futures::future::join_all(points.map(async |point| {
        let mut world = World::watched().await;
        let mut order = world.funding().await;
        order["payment_timeout_seconds"] = json!(2);
        world.exchange.deposit(tag(&order), "BTC", "0.2").await;
        world.arm(point, "kill");
        world.start_any("FundOrder", &id(&order), &order).await;
        world.worker_dies().await;
        world.start_worker().await;
        assert_eq!(world.end_of(&id(&order)).await.kind(), "expired", "{point}");
        assert_eq!(refunds(&world, &order).await, ["BTC 0.2 settled"], "{point}");
        assert_sound(&world).await;
    }))
    .await;
}
