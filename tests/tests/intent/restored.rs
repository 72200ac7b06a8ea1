//! Goal: books that were put back to an earlier state do not place again what they have forgotten, though the workflow that
//! placed it is over.

use backstop_tests::{
    World,
    intents::{ORDER, intent_workflow, order_of},
    servers::Own,
};
use serde_json::{Value, json};

const FOUND: &str = "SELECT severity FROM findings WHERE state = 'open' AND kind || ' ' || subject = $1";

async fn with_own_postgres() -> World {
    let mut world = World::without_worker_on(Own { postgres: true, ..Own::default() }).await;
    world.start_worker().await;
    world
}

async fn is_placed_once(world: &World, intent: &Value) {
    let order = order_of(intent);
    assert_eq!(world.exchange.sends(&order).await, 1, "sent again");
    assert_eq!(world.exchange.orders(&order).await.len(), 1);
    world.books_say(FOUND, &format!("order_placed_without_attempt order/{order}"), "critical").await;
}

/// It has traded and is over, so that the exchange would take another under its id.
#[tokio::test]
async fn an_intent_that_was_done_before_the_books_were_put_back_is_not_placed_again() {
    let mut world = with_own_postgres().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let id = intent_workflow(&intent);
    world.servers.save_postgres().await;
    assert_eq!(world.run_any("ExecuteIntent", &id, &intent).await.kind(), "done");
    let all = json!({"qty": "0.7", "fee": "84", "fee_asset": "USDT"});
    world.exchange.fill(&order_of(&intent), all).await;
    world.servers.restore_postgres().await;
    world.arm("venue_place.before", "hang");
    world.start_any("ExecuteIntent", &id, &intent).await;
    world.held_at("venue_place.before").await;
    // As if it were started afresh only a day after it was placed.
    let later = "UPDATE orders SET changed_at = changed_at + interval '1 day' WHERE order_id = $1";
    let moved = sqlx::query(later).bind(order_of(&intent)).execute(&mut world.database.owner().await).await.unwrap();
    assert_eq!(moved.rows_affected(), 1);
    world.disarm("venue_place.before");
    assert_eq!(world.end_of(&id).await.kind(), "done");
    is_placed_once(&world, &intent).await;
    assert_eq!(world.intent_stands(&intent).await, "done placed");
    // What it traded is booked by whoever follows it, as with any other.
    let cancel = world.cancel_intent(&strategy, &intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await.kind(), "done");
    assert_eq!(world.intent_stands(&intent).await, "done ended");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "93916 + 0");
    world.servers.stop().await;
}

/// The exchange knows a cancelled order by the cancel's id only.
#[tokio::test]
async fn an_order_that_was_placed_and_cancelled_before_the_books_were_put_back_is_not_placed_again() {
    let mut world = with_own_postgres().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let id = intent_workflow(&intent);
    world.servers.save_postgres().await;
    assert_eq!(world.run_any("ExecuteIntent", &id, &intent).await.kind(), "done");
    let cancel = world.cancel_intent(&strategy, &intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await.kind(), "done");
    world.servers.restore_postgres().await;
    assert_eq!(world.run_any("ExecuteIntent", &id, &intent).await.kind(), "done");
    is_placed_once(&world, &intent).await;
    world.servers.stop().await;
}

/// An execution that ended in order says so, and that it has looked: what comes after it is sent without a wait or a look.
#[tokio::test]
async fn a_send_that_did_not_leave_is_sent_again_without_another_look() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    world.fault_on_order(&intent, json!({"fault": "rate_limited", "times": 3})).await;
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    assert_eq!(world.exchange.sends(&order_of(&intent)).await, 4);
    let asked = world.exchange.all_requests(ORDER).await;
    // By the two ids that the exchange may know it by, before the first.
    assert_eq!(asked.iter().filter(|request| request["method"] == "GET").count(), 2, "{asked:#?}");
}

/// One that was lost has perhaps sent: it is waited until that would show, and looked again, also after a look.
#[tokio::test]
async fn a_lost_execution_is_followed_by_a_look_although_an_earlier_one_has_looked() {
    let mut world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let id = intent_workflow(&intent);
    world.fault_on_order(&intent, json!({"fault": "rate_limited", "retry_after_s": 4})).await;
    world.start_any("ExecuteIntent", &id, &intent).await;
    world.shows_failure(&id, "NotSent").await;
    world.arm("venue_place.before", "hang");
    world.held_at("venue_place.before").await;
    // What that execution leaves at the exchange when it dies, and the books are put back to before its attempt.
    world.send_unrecorded(&order_of(&intent), "sell", "120000", "0.7").await;
    world.kill_worker().await;
    world.disarm("venue_place.before");
    world.start_worker().await;
    assert_eq!(world.end_of(&id).await.kind(), "done");
    assert_eq!(world.exchange.orders(&order_of(&intent)).await.len(), 1);
    assert_eq!(world.exchange.sends(&order_of(&intent)).await, 2, "one was turned away, and one is the lost one");
    world.books_say(FOUND, &format!("order_placed_without_attempt order/{}", order_of(&intent)), "critical").await;
}
