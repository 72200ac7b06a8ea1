//! Goal: waiting for the venue's pace is waiting, and no intent is given up for it.

use backstop_tests::{
    World,
    intents::{intent_workflow, order_of},
};
use futures::future::join_all;
use serde_json::Value;

use crate::{Agreed, agreed};

/// How often the last activity of that name was tried that the workflow's history has the end of.
async fn tries_of(world: &World, id: &str, activity: &str) -> u64 {
    let shown = world.temporal(&["workflow", "show", "-w", id, "-o", "json"]).await;
    let history: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let events = history["events"].as_array().unwrap();
    let scheduled = |event: &&Value| event["activityTaskScheduledEventAttributes"]["activityType"]["name"] == activity;
    let scheduled = events.iter().rfind(scheduled).unwrap()["eventId"].clone();
    let started = |event: &&Value| event["activityTaskStartedEventAttributes"]["scheduledEventId"] == scheduled;
    events.iter().find(started).unwrap()["activityTaskStartedEventAttributes"]["attempt"].as_u64().unwrap()
}

#[tokio::test]
async fn of_a_backlog_at_a_slow_pace_every_intent_is_placed_however_often_there_was_no_slot() {
    // A call steps aside soon, so that it has many rounds in a short time.
    let world = World::with(&[("BACKSTOP_VENUE_TURN_WAIT_MS", "300")]).await;
    let mut intents = Vec::new();
    for _ in 0..12 {
        let strategy = world.strategy().await;
        intents.push(world.intent(&strategy, "sell", "120000", "0.7"));
    }
    // The venue's rules are known then.
    let first = intents.remove(0);
    assert_eq!(world.run_any("ExecuteIntent", &intent_workflow(&first), &first).await.kind(), "done");
    world.pace(700).await;
    let ends = join_all(intents.iter().map(async |intent| {
        let id = intent_workflow(intent);
        (world.run_any("ExecuteIntent", &id, intent).await, tries_of(&world, &id, "venue_place").await)
    }))
    .await;
    for (intent, (end, _)) in intents.iter().zip(&ends) {
        assert_eq!(end.kind(), "done", "{end:?}");
        assert_eq!(world.exchange.sends(&order_of(intent)).await, 1);
    }
    assert_eq!(agreed(&world, &first).await, Agreed::Placed);
    let tries: Vec<u64> = ends.iter().map(|(_, tries)| *tries).collect();
    assert!(tries.iter().any(|tries| *tries > 9), "nobody had to come back often: {tries:?}");
}
