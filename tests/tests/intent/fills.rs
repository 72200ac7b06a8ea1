//! Goal: whatever an intent's order trades, and whenever it shows, is booked once, and the reservation released to the unit.

use std::time::{SystemTime, UNIX_EPOCH};

use backstop_tests::{
    World,
    intents::{ORDER, intent_workflow, order_of},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{assert_sound, reason};

const FILLS: &str = "SELECT concat_ws(' ', count(*), trim_scale(sum(base))) FROM fills WHERE order_id = $1";

fn in_ms(later: u64) -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() + later
}

/// Starts to cancel an intent's order, and returns the workflow's id.
async fn cancels(world: &World, cancel: &Value) -> String {
    let id = intent_workflow(cancel);
    world.start_any("ExecuteIntent", &id, cancel).await;
    id
}

/// Whoever has its intents executed by hand books nothing: the venue's watch does.
#[tokio::test]
async fn an_order_of_a_strategy_that_no_run_follows_is_followed_by_the_watch() {
    let world = World::watched().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let order = order_of(&intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    world.exchange.fill(&order, json!({"qty": "0.2", "fee": "24", "fee_asset": "USDT"})).await;
    world.books_say(FILLS, &order, "1 0.2").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.5");
    world.exchange.fill(&order, json!({"qty": "0.5", "fee": "60", "fee_asset": "USDT"})).await;
    world.books_say("SELECT state FROM orders WHERE order_id = $1", &order, "ended").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "93916 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn one_filled_partly_before_the_worker_dies_and_wholly_after_it_ends_when_its_last_trade_shows() {
    let mut world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let order = order_of(&intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    world.exchange.fill(&order, json!({"qty": "0.2", "fee": "24", "fee_asset": "USDT"})).await;
    // Its cancel does not get through, but what it has traded by now is booked.
    let deaf = json!({"fault": "status", "status": 503, "method": "DELETE", "times": 1_000});
    let deaf = world.exchange.fault_for_all(ORDER, deaf).await;
    let cancel = world.cancel_intent(&strategy, &intent);
    let id = cancels(&world, &cancel).await;
    world.books_say(FILLS, &order, "1 0.2").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.5");
    world.kill_worker().await;
    let late = json!({"qty": "0.5", "fee": "60", "fee_asset": "USDT", "visible_from_ms": in_ms(12_000)});
    world.exchange.fill(&order, late).await;
    world.exchange.end_fault(&deaf).await;
    world.start_worker().await;
    // The exchange says that it is over, and does not show all of it yet.
    world.shows_failure(&id, "is placed and not over yet").await;
    assert_eq!(world.exchange.order(&order).await["state"], "FILLED");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.5");
    assert_sound(&world).await;
    let end = world.end_of(&id).await;
    assert_eq!(end.kind(), "done");
    assert!(reason(&end).contains("is ended: Filled"), "{end:?}");
    world.books_say(FILLS, &order, "2 0.7").await;
    assert_eq!(world.intent_stands(&intent).await, "done ended");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "93916 + 0");
    assert_eq!(world.exchange.sends(&order).await, 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn trades_that_show_after_a_partly_filled_order_was_cancelled_are_booked_before_the_rest_is_free() {
    let mut world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "buy", "50000", "0.1");
    let order = order_of(&intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    let late = json!({"qty": "0.04", "price": "49000", "fee": "0.00004", "fee_asset": "BTC", "visible_from_ms": in_ms(12_000)});
    world.exchange.fill(&order, late).await;
    world.arm("venue_cancel_order.after", "kill");
    let cancel = world.cancel_intent(&strategy, &intent);
    let id = cancels(&world, &cancel).await;
    world.worker_dies().await;
    assert_eq!(world.exchange.order(&order).await["state"], "CANCELED");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "5000 + 5000");
    world.start_worker().await;
    let end = world.end_of(&id).await;
    assert_eq!(end.kind(), "done");
    assert!(reason(&end).contains("is ended: Canceled"), "{end:?}");
    world.books_say(FILLS, &order, "1 0.04").await;
    assert_eq!(world.holds(&strategy.user, "USDT").await, "8040 + 0");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "1.03996 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_fee_in_a_third_asset_is_paid_by_the_house_in_the_commit_of_the_fill() {
    let world = World::new().await;
    world.exchange.set(json!({"fee_asset": "BNB", "balances": {"BNB": "10"}})).await;
    let strategy = world.strategy().await;
    // It takes at once; a rest stays, and is cancelled.
    let intent = world.intent(&strategy, "sell", "90000", "0.01");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    let cancel = world.cancel_intent(&strategy, &intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await.kind(), "done");
    let taken = -world.exchange.moved().await["BNB"];
    assert!(taken > Decimal::ZERO, "the exchange took {taken} BNB");
    let of_counter =
        "SELECT trim_scale(sum(e.d_counter))::text FROM entries AS e JOIN accounts AS a ON a.id = e.account
                       WHERE a.asset = 'BNB' AND e.counter = $1";
    world.books_say(of_counter, "house:binance", &(-taken).normalize().to_string()).await;
    world.books_say(of_counter, "fees", &taken.normalize().to_string()).await;
    let commits = "SELECT count(DISTINCT e.xid)::text FROM entries AS e
                    WHERE e.key LIKE 'fill/' || $1 || '/%' AND e.kind IN ('fill_out', 'fill_in', 'fill_house_fee')";
    let trades = "SELECT count(*)::text FROM fills WHERE order_id = $1";
    let mut books = world.database.owner().await;
    let trades: String = sqlx::query_scalar(trades).bind(order_of(&intent)).fetch_one(&mut books).await.unwrap();
    world.books_say(commits, &order_of(&intent), &trades).await;
    let findings: i64 = sqlx::query_scalar("SELECT count(*) FROM findings").fetch_one(&mut books).await.unwrap();
    assert_eq!(findings, 0);
    assert_eq!(world.holds(&strategy.user, "BNB").await, "0 + 0");
    assert_sound(&world).await;
}
