//! Goal: an intent to cancel ends its order, with every fill booked, and passes what stops trading.

use backstop_tests::{
    World,
    intents::{ORDER, intent_workflow, order_of},
};
use serde_json::json;

use crate::{assert_sound, reason};

#[tokio::test]
async fn an_order_is_cancelled_its_fills_are_booked_and_the_rest_is_free() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    world.exchange.fill(&order_of(&intent), json!({"qty": "0.1", "fee": "12", "fee_asset": "USDT"})).await;
    let cancel = world.cancel_intent(&strategy, &intent);
    let end = world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await;
    assert_eq!(end.kind(), "done");
    assert!(reason(&end).contains("is ended"), "{end:?}");
    assert_eq!(world.exchange.order(&order_of(&intent)).await["state"], "CANCELED");
    assert_eq!(world.intent_stands(&intent).await, "done ended");
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.9 + 0");
    assert_eq!(world.holds(&strategy.user, "USDT").await, "21988 + 0");
    assert_sound(&world).await;
    // Once more, by another intent: it is over already.
    let again = world.cancel_intent(&strategy, &intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&again), &again).await.kind(), "done");
    assert_sound(&world).await;
}

/// It waits for no turn but its own.
#[tokio::test]
async fn a_cancel_is_asked_for_before_anything_is_looked_at() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    let before = world.exchange.all_requests(ORDER).await.len();
    let cancel = world.cancel_intent(&strategy, &intent);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await.kind(), "done");
    let asked = world.exchange.all_requests(ORDER).await.split_off(before);
    let asked: Vec<&str> = asked.iter().map(|request| request["method"].as_str().unwrap()).collect();
    assert_eq!(asked, ["DELETE", "GET"]);
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_stopped_strategy_can_still_cancel_and_what_never_was_sent_needs_no_cancel() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
    world.stop_strategy(&strategy).await;
    let late = world.intent(&strategy, "sell", "121000", "0.1");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&late), &late).await.kind(), "cancelled");
    for (other, says) in [(&intent, "is ended"), (&late, "nothing to cancel")] {
        let cancel = world.cancel_intent(&strategy, other);
        let end = world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await;
        assert_eq!(end.kind(), "done");
        assert!(reason(&end).contains(says), "{end:?}");
    }
    assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0");
    assert_sound(&world).await;
}

#[tokio::test]
async fn a_cancel_whose_answer_is_lost_or_that_the_venue_executes_late_still_ends_the_order() {
    for fault in [
        json!({"fault": "lose_answer", "method": "DELETE"}),
        json!({"fault": "status", "status": 503, "method": "DELETE", "times": 2}),
        json!({"fault": "execute_late", "ms": 700, "method": "DELETE"}),
    ] {
        let world = World::new().await;
        let strategy = world.strategy().await;
        let intent = world.intent(&strategy, "sell", "120000", "0.7");
        assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
        world.fault_on_order(&intent, fault.clone()).await;
        let cancel = world.cancel_intent(&strategy, &intent);
        assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await.kind(), "done", "{fault}");
        assert_eq!(world.exchange.order(&order_of(&intent)).await["state"], "CANCELED");
        assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0", "{fault}");
        assert_sound(&world).await;
    }
}
