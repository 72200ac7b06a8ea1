//! Goal: reconciliation runs by itself, never two at once, and the schedule is what was applied last.

use backstop::stack::wait_until;
use backstop_tests::{World, world::DEADLINE};
use serde_json::Value;

use crate::says;

async fn described(world: &World) -> Value {
    let id = world.queue().replace("backstop", "reconcile");
    let described = world.temporal(&["schedule", "describe", "--schedule-id", &id, "-o", "json"]).await;
    serde_json::from_slice(&described.stdout).unwrap_or_else(|_| panic!("{described:?}"))
}

async fn sql(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut world.database.owner().await).await.unwrap()
}

#[tokio::test]
async fn the_schedule_runs_and_is_applied_again_without_harm() {
    let world = World::new().await;
    let apply = ["schedules", "apply", "--every-s", "1"];
    assert!(says(&world, &apply).await.0.contains("is there now"));
    let (text, status) = says(&world, &apply).await;
    assert!(text.contains("was there before, and is up to date") && status == 0, "{text}");
    let refund = world.refund().await;
    assert_eq!(world.run(&refund).await.kind(), "settled");
    let sealed =
        "SELECT count(*) FROM entries WHERE EXISTS (SELECT FROM seals WHERE entries = (SELECT count(*) FROM entries))";
    assert!(wait_until(DEADLINE, async || sql(&world, sealed).await > 0).await, "nobody has sealed");
    let schedule = described(&world).await;
    let said = serde_json::to_string(&schedule).unwrap();
    assert!(said.contains("SCHEDULE_OVERLAP_POLICY_SKIP") || said.contains("\"Skip\""), "{said}");
    // Applied with another interval it has that; paused by an operator it stays so.
    let id = world.queue().replace("backstop", "reconcile");
    let paused =
        world.temporal(&["schedule", "toggle", "--schedule-id", &id, "--pause", "--reason", "a quiet hour"]).await;
    assert!(paused.status.success(), "{paused:?}");
    assert_eq!(says(&world, &["schedules", "apply", "--every-s", "600"]).await.1, 0);
    let said = serde_json::to_string(&described(&world).await).unwrap();
    assert!(said.contains("600") && said.contains("\"paused\":true"), "{said}");
}

#[tokio::test]
async fn it_is_started_by_hand_without_any_input_and_says_what_is_wrong_with_some() {
    let world = World::new().await;
    let start = ["workflow", "start", "--task-queue", world.queue(), "--type", "Reconcile", "--workflow-id"];
    for (id, input, ends) in [
        ("none", None, "nothing is wrong"),
        ("some", Some(r#"{"checks": ["books"]}"#), "nothing is wrong"),
        ("bad", Some(r#"{"checks": ["looks"]}"#), "checks: expected some of adopt, seal, books"),
        ("worse", Some(r#"["books"]"#), "input: expected a JSON object, got an array"),
        ("surplus", Some(r#"{"full": true, "slow": true}"#), "slow: expected no field of this name"),
    ] {
        let id = format!("reconcile/{}-{id}", world.queue());
        let mut words = start.to_vec();
        words.push(&id);
        words.extend(input.iter().flat_map(|input| ["--input", input]));
        assert!(world.temporal(&words).await.status.success());
        let result = world.temporal(&["workflow", "result", "-w", &id]).await;
        let said = String::from_utf8([result.stdout, result.stderr].concat()).unwrap();
        assert!(said.contains(ends), "{id}: {said}");
    }
}
