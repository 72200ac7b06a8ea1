//! Goal: whatever the exchange does to the request, there is at most one order, and the books agree with it in the end.

use backstop_tests::{
    World,
    intents::{intent_workflow, order_of},
};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{Agreed, agreed, reason};

/// Places an order under a fault. Says what both books agree on, and why it failed, if it did.
async fn under(fault: Value) -> (Agreed, String) {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    world.fault_on_order(&intent, fault.clone()).await;
    let end = world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await;
    let agreement = agreed(&world, &intent).await;
    assert_eq!(end.kind(), if agreement == Agreed::Placed { "done" } else { "failed" }, "{fault}");
    let locked = if agreement == Agreed::Placed { "0.3 + 0.7" } else { "1 + 0" };
    assert_eq!(world.holds(&strategy.user, "BTC").await, locked, "{fault}");
    (agreement, reason(&end))
}

#[tokio::test]
async fn what_may_have_been_sent_is_found_by_its_id_or_proven_absent_and_never_sent_again() {
    let cases = [
        (json!({"fault": "lose_answer"}), Agreed::Placed),
        (json!({"fault": "lose_answer", "hide_ms": 900}), Agreed::Placed),
        (json!({"fault": "drop"}), Agreed::Nothing),
        (json!({"fault": "delay", "ms": 400}), Agreed::Placed),
        (json!({"fault": "delay_answer", "ms": 2_000}), Agreed::Placed),
        (json!({"fault": "hold", "ms": 3_000}), Agreed::Nothing),
        (json!({"fault": "status", "status": 500}), Agreed::Nothing),
        (json!({"fault": "status", "status": 500, "execute": true}), Agreed::Placed),
        (json!({"fault": "status", "status": 503}), Agreed::Nothing),
        (json!({"fault": "status", "status": 503, "execute": true}), Agreed::Placed),
        (json!({"fault": "garbage"}), Agreed::Nothing),
        (json!({"fault": "garbage", "execute": true}), Agreed::Placed),
        (json!({"fault": "reject", "code": -9999}), Agreed::Nothing),
        (json!({"fault": "execute_late", "ms": 700}), Agreed::Placed),
        (json!({"fault": "hide", "ms": 900}), Agreed::Placed),
    ];
    for some in cases.chunks(4) {
        join_all(some.iter().map(async |(fault, expected)| {
            let world = World::new().await;
            let strategy = world.strategy().await;
            let intent = world.intent(&strategy, "sell", "120000", "0.7");
            world.fault_on_order(&intent, fault.clone()).await;
            let end = world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await;
            assert_eq!(agreed(&world, &intent).await, *expected, "{fault}: {end:?}");
            assert_eq!(end.kind(), if *expected == Agreed::Placed { "done" } else { "failed" }, "{fault}: {end:?}");
            let locked = if *expected == Agreed::Placed { "0.3 + 0.7" } else { "1 + 0" };
            assert_eq!(world.holds(&strategy.user, "BTC").await, locked, "{fault}");
            assert_eq!(world.exchange.sends(&order_of(&intent)).await, 1, "{fault}: sent again");
        }))
        .await;
    }
}

#[tokio::test]
async fn what_was_not_sent_is_tried_again_a_few_times_and_then_the_intent_fails() {
    let turned_away = [
        (json!({"fault": "rate_limited", "times": 2}), Agreed::Placed),
        (json!({"fault": "banned"}), Agreed::Placed),
        (json!({"fault": "reject", "code": -1021, "times": 3}), Agreed::Placed),
        // Past the receive window the venue turns it away itself.
        (json!({"fault": "delay", "ms": 1_200}), Agreed::Placed),
        (json!({"fault": "reject", "code": -1021, "times": 1_000}), Agreed::Nothing),
        // That is more time than there is.
        (json!({"fault": "rate_limited", "retry_after_s": 3_600}), Agreed::Nothing),
    ];
    join_all(turned_away.into_iter().map(async |(fault, expected)| {
        let (agreement, reason) = under(fault.clone()).await;
        assert_eq!(agreement, expected, "{fault}: {reason}");
        assert!(agreement == Agreed::Placed || reason.contains("not sent"), "{fault}: {reason}");
    }))
    .await;
}

#[tokio::test]
async fn while_the_venue_refuses_connections_nothing_is_sent_and_then_once() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let id = intent_workflow(&intent);
    world.arm("venue_place.recorded", "hang");
    world.start_any("ExecuteIntent", &id, &intent).await;
    world.held_at("venue_place.recorded").await;
    world.exchange.vanish().await;
    world.disarm("venue_place.recorded");
    world.shows_failure(&id, "NotSent").await;
    assert_eq!(world.holds(&strategy.user, "BTC").await, "0.3 + 0.7");
    world.exchange.come_back().await;
    assert_eq!(world.end_of(&id).await.kind(), "done");
    assert_eq!(agreed(&world, &intent).await, Agreed::Placed);
}

#[tokio::test]
async fn books_that_have_lost_the_attempt_do_not_have_it_made_again() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    let id = intent_workflow(&intent);
    world.arm("venue_place.before", "hang");
    world.start_any("ExecuteIntent", &id, &intent).await;
    world.held_at("venue_place.before").await;
    // What an attempt leaves at the exchange when the books are put back to before it.
    world.send_unrecorded(&order_of(&intent), "sell", "120000", "0.7").await;
    let a_while = "SELECT (clock_timestamp() - changed_at > interval '2.5 s')::text FROM orders WHERE order_id = $1";
    world.books_say(a_while, &order_of(&intent), "true").await;
    world.disarm("venue_place.before");
    assert_eq!(world.end_of(&id).await.kind(), "done");
    assert_eq!(world.exchange.sends(&order_of(&intent)).await, 1, "sent again");
    assert_eq!(world.intent_stands(&intent).await, "done placed");
    let lost = "SELECT kind FROM findings WHERE subject = 'order/' || $1";
    world.books_say(lost, &order_of(&intent), "order_placed_without_attempt").await;
}
