//! Goal: what an order does not take goes back to where its owner said, each deposit once.

use backstop::stack::wait_until;
use backstop_tests::{End, World, world::DEADLINE};
use serde_json::json;

use crate::{assert_sound, id, refunds, tag};

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_expires_and_what_came_goes_back() {
    let world = World::watched().await;
    let mut order = world.funding().await;
    order["payment_timeout_seconds"] = json!(2);
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.2").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    let End::Result(status) = world.end_of(&id(&order)).await else { panic!("no result") };
    assert_eq!((&status["state"], &status["reason"]), (&json!("expired"), &json!("not paid in time")));
    assert_eq!(refunds(&world, &order).await, ["BTC 0.2 settled", "USDT 1000 settled"]);
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "BTC").await, "1 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn more_than_the_order_needs_and_what_it_does_not_need_goes_back() {
    let world = World::watched().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.75").await;
    world.exchange.deposit(tag(&order), "ETH", "3").await;
    // Sent back at once, while the order still waits.
    let back = wait_until(DEADLINE, async || refunds(&world, &order).await.len() == 2).await;
    assert!(back, "{:?}", refunds(&world, &order).await);
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    assert_eq!(refunds(&world, &order).await, ["BTC 0.25 settled", "ETH 3 settled"]);
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "BTC").await, "1 + 0.5");
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "ETH").await, "0 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_payment_after_the_order_was_funded_goes_back_though_its_workflow_is_closed() {
    let world = World::watched().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    assert_eq!(world.end_of(&id(&order)).await.kind(), "funded");
    world.exchange.deposit(tag(&order), "USDT", "1000").await;
    let back = wait_until(DEADLINE, async || refunds(&world, &order).await == ["USDT 1000 settled"]).await;
    assert!(back, "{:?}", refunds(&world, &order).await);
    assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "USDT").await, "0 + 1000");
    assert_sound(&world).await;
}

#[tokio::test]
async fn an_order_that_is_called_off_sends_everything_back() {
    let world = World::watched().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.books_say("SELECT state FROM fundings WHERE order_id = $1", tag(&order), "awaiting").await;
    let paid = world.exchange.deposit(tag(&order), "BTC", "0.5").await;
    world.books_say("SELECT state FROM deposits WHERE deposit_id = $1", &paid, "credited").await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &id(&order)]).await.status.success());
    assert_eq!(world.end_of(&id(&order)).await, End::Cancelled);
    assert_eq!(refunds(&world, &order).await, ["BTC 0.5 settled"]);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_deposit_without_an_owner_or_below_the_minimum_waits_in_suspense_with_a_finding() {
    let world = World::watched().await;
    let order = world.funding().await;
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit_as("d-nobody", "nobody's", "BTC", "0.3", 1).await;
    world.exchange.deposit_as("d-dust", tag(&order), "BTC", "0.00001", 1).await;
    let kind = "SELECT kind FROM findings WHERE subject = $1 AND state = 'open'";
    world.books_say(kind, "deposit/binance/d-nobody", "deposit_without_owner").await;
    world.books_say(kind, "deposit/binance/d-dust", "deposit_below_minimum").await;
    assert_eq!(world.holds("~suspense", "BTC").await, "0.30001 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn nobody_else_takes_what_a_deposit_has_set_aside_for_its_refund() {
    let world = World::new().await;
    let order = world.funding().await;
    let user = order["user_id"].as_str().unwrap().to_owned();
    // The refund's workflow stops before it opens: the money is set aside, and only it may take it.
    world.arm("payout_open.before", "hang");
    world.start_any("FundOrder", &id(&order), &order).await;
    world.exchange.deposit(tag(&order), "ETH", "3").await;
    world.signal(&id(&order), "payment_received", json!({})).await;
    world.books_say("SELECT state FROM funding_parts WHERE asset = $1", "ETH", "refunding").await;
    assert_eq!(world.holds(&user, "ETH").await, "0 + 3");
    let take = sqlx::query("SELECT reservation_open('mine', 'w', $1, 'ETH', 1)").bind(&user);
    assert!(take.execute(&mut world.database.worker().await).await.is_err());
    world.disarm("payout_open.before");
    let back = wait_until(DEADLINE, async || refunds(&world, &order).await == ["ETH 3 settled"]).await;
    assert!(back, "{:?}", refunds(&world, &order).await);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_refund_whose_input_is_refused_leaves_its_deposit_with_the_user_and_is_not_tried_for_ever() {
    // The network closes after the order was opened; the venue's name of the deposit makes an id that no refund takes.
    let long = "d".repeat(120);
    futures::future::join_all([("d-1", true), (long.as_str(), false)].map(async |(deposit, closes)| {
        let world = World::watched().await;
        let order = world.funding().await;
        world.start_any("FundOrder", &id(&order), &order).await;
        world.books_say("SELECT state FROM fundings WHERE order_id = $1", tag(&order), "awaiting").await;
        if closes {
            let close = sqlx::query("UPDATE networks SET address_pattern = '^closed$' WHERE asset = 'ETH'");
            close.execute(&mut world.database.owner().await).await.unwrap();
        }
        world.exchange.deposit_as(deposit, tag(&order), "ETH", "3", 1).await;
        world.exchange.deposit(tag(&order), "BTC", "0.5").await;
        world.exchange.deposit(tag(&order), "USDT", "1000").await;
        // Also where it comes in after the order is funded.
        world.books_say("SELECT state FROM funding_parts WHERE asset = $1", "ETH", "kept").await;
        world.books_say("SELECT state FROM fundings WHERE order_id = $1", tag(&order), "funded").await;
        assert_eq!(world.end_of(&id(&order)).await.kind(), "funded", "{deposit}");
        assert_eq!(world.holds(order["user_id"].as_str().unwrap(), "ETH").await, "3 + 0");
        assert_eq!(refunds(&world, &order).await, Vec::<String>::new());
        let findings = "SELECT string_agg(kind, ' ') FROM findings WHERE subject = $1 AND state = 'open'";
        world.books_say(findings, &id(&order), "deposit_not_refunded").await;
        assert!(!world.is_unfinished(&id(&order)).await, "{deposit}");
        assert_sound(&world).await;
    }))
    .await;
}
