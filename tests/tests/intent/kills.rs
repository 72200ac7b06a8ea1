//! Goal: a worker killed with SIGKILL right before or right after any side effect sends nothing twice and loses no claim.

use backstop_tests::{
    World,
    intents::{intent_workflow, order_of},
};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{Agreed, agreed, assert_sound};

async fn killed_at(point: &str, fault: Option<Value>, expected: Agreed) {
    let mut world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "sell", "120000", "0.7");
    if let Some(fault) = fault {
        world.fault_on_order(&intent, fault).await;
    }
    world.arm(point, "kill");
    world.start_any("ExecuteIntent", &intent_workflow(&intent), &intent).await;
    world.worker_dies().await;
    assert_sound(&world).await;
    world.start_worker().await;
    let end = world.end_of(&intent_workflow(&intent)).await;
    assert_eq!(agreed(&world, &intent).await, expected, "{point}: {end:?}");
    assert_eq!(end.kind(), if expected == Agreed::Placed { "done" } else { "failed" }, "{point}: {end:?}");
    assert!(world.exchange.sends(&order_of(&intent)).await <= 1, "{point}: sent twice");
    let locked = if expected == Agreed::Placed { "0.3 + 0.7" } else { "1 + 0" };
    assert_eq!(world.holds(&strategy.user, "BTC").await, locked, "{point}");
    // The claim has ended with its intent.
    let next = world.intent(&strategy, "sell", "125000", "0.1");
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&next), &next).await.kind(), "done", "{point}");
}

#[tokio::test]
async fn around_every_step_of_an_order_that_is_placed() {
    let points = [
        "intent_check.before",
        "intent_check.after",
        "venue_filters.before",
        "venue_filters.after",
        "intent_open.before",
        "intent_open.after",
        "gate_wait.before",
        "gate_wait.after",
        "intent_reserve.before",
        "intent_reserve.after",
        "venue_place.before",
        "venue_place.sent",
        "venue_place.after",
        "intent_finish.before",
        "intent_finish.after",
    ];
    for some in points.chunks(5) {
        join_all(some.iter().map(|point| killed_at(point, None, Agreed::Placed))).await;
    }
}

#[tokio::test]
async fn around_every_step_of_an_order_whose_fate_is_unknown_or_refused() {
    let lost = || Some(json!({"fault": "lose_answer"}));
    let refused = || Some(json!({"fault": "reject", "code": -2010}));
    futures::join!(
        // Between its record and its send: it was not sent, and never will be.
        killed_at("venue_place.recorded", None, Agreed::Nothing),
        killed_at("venue_find_order.before", lost(), Agreed::Placed),
        killed_at("venue_find_order.after", lost(), Agreed::Placed),
        killed_at("venue_place.sent", Some(json!({"fault": "drop"})), Agreed::Nothing),
    );
    futures::join!(
        killed_at("venue_place.sent", refused(), Agreed::Nothing),
        killed_at("venue_place.after", refused(), Agreed::Nothing),
        killed_at("intent_void.before", refused(), Agreed::Nothing),
        killed_at("intent_void.after", refused(), Agreed::Nothing),
    );
}

#[tokio::test]
async fn around_every_step_of_a_cancel() {
    let points = [
        "intent_open.after",
        "gate_wait.after",
        "venue_cancel_order.before",
        "venue_cancel_order.after",
        "intent_finish.before",
        "intent_finish.after",
    ];
    for some in points.chunks(3) {
        join_all(some.iter().map(async |point| {
            let mut world = World::new().await;
            let strategy = world.strategy().await;
            let intent = world.intent(&strategy, "sell", "120000", "0.7");
            assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&intent), &intent).await.kind(), "done");
            let cancel = world.cancel_intent(&strategy, &intent);
            world.arm(point, "kill");
            world.start_any("ExecuteIntent", &intent_workflow(&cancel), &cancel).await;
            world.worker_dies().await;
            world.start_worker().await;
            assert_eq!(world.end_of(&intent_workflow(&cancel)).await.kind(), "done", "{point}");
            assert_eq!(world.intent_stands(&intent).await, "done ended", "{point}");
            assert_eq!(world.holds(&strategy.user, "BTC").await, "1 + 0", "{point}");
            assert_sound(&world).await;
        }))
        .await;
    }
}

#[tokio::test]
async fn an_intent_whose_workflow_was_ended_by_force_is_taken_up_by_the_watch() {
    let world = World::watched().await;
    for (point, expected) in
        [("gate_wait.before", "done"), ("venue_place.sent", "done"), ("intent_finish.before", "done")]
    {
        let strategy = world.strategy().await;
        let intent = world.intent(&strategy, "sell", "120000", "0.7");
        let id = intent_workflow(&intent);
        world.arm(point, "hang");
        world.start_any("ExecuteIntent", &id, &intent).await;
        world.held_at(point).await;
        let ended = world.temporal(&["workflow", "terminate", "-w", &id, "--reason", "a test"]).await;
        assert!(ended.status.success());
        world.disarm(point);
        world.intent_is(&intent, expected).await;
        assert_eq!(agreed(&world, &intent).await, Agreed::Placed, "{point}");
        assert_eq!(world.exchange.sends(&order_of(&intent)).await, 1, "{point}");
    }
}
