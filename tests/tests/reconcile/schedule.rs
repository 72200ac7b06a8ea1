//! Goal: reconciliation runs by itself, never two at once, and the schedule is what was applied last.

use backstop::stack::wait_until;
use backstop_tests::{World, world::DEADLINE};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::{damage, says};

async fn described(world: &World, schedule: &str) -> Value {
    let id = world.queue().replace("backstop", schedule);
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
    // All of the books are read at once, and once a day from now on.
    let read = "SELECT count(*) FROM watermarks WHERE name = 'books/full'";
    assert!(wait_until(DEADLINE, async || sql(&world, read).await > 0).await, "nobody has read all of the books");
    for (schedule, every) in [("reconcile", "\"1s\""), ("reconcile-full", "\"86400s\"")] {
        let said = serde_json::to_string(&described(&world, schedule).await).unwrap();
        assert!(said.contains("SCHEDULE_OVERLAP_POLICY_SKIP") || said.contains("\"Skip\""), "{said}");
        assert!(said.contains(every), "{said}");
    }
    // Applied with another interval it has that; paused by an operator it stays so.
    let id = world.queue().replace("backstop", "reconcile");
    let paused =
        world.temporal(&["schedule", "toggle", "--schedule-id", &id, "--pause", "--reason", "a quiet hour"]).await;
    assert!(paused.status.success(), "{paused:?}");
    assert_eq!(says(&world, &["schedules", "apply", "--every-s", "600"]).await.1, 0);
    let said = serde_json::to_string(&described(&world, "reconcile").await).unwrap();
    assert!(said.contains("600") && said.contains("\"paused\":true"), "{said}");
}

/// Waits until a query of the books says that it is so.
async fn until(world: &World, so: &'static str) {
    assert!(wait_until(DEADLINE, async || sql(world, so).await > 0).await, "never so: {so}");
}

/// The one takes an hour of large books. The other still finds what is new, and what it has found stays found.
#[tokio::test]
async fn while_all_of_the_books_are_read_what_is_new_is_looked_at_and_stays_found() {
    let world = World::new().await;
    let refund = world.refund().await;
    let user = refund["user_id"].as_str().unwrap();
    world.arm("check_books_full.before", "hang");
    let full = format!("reconcile-full/{}", world.queue());
    world.start_any("Reconcile", &full, &json!({"checks": ["books"], "full": true})).await;
    world.held_at("check_books_full.before").await;
    // It is past the accounts when it comes to what was sealed of them.
    let mut owner = world.database.owner().await;
    let mut held_up = owner.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE seal_heads IN ACCESS EXCLUSIVE MODE").execute(&mut *held_up).await.unwrap();
    world.disarm("check_books_full.before");
    let waits = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%heads_page%'";
    until(&world, waits).await;
    assert_eq!(world.run(&refund).await.kind(), "settled");
    damage(&world, format!("UPDATE accounts SET head = '\\x00' WHERE owner = '{user}'")).await;
    let looks = format!("reconcile/{}", world.queue());
    world.start_any("Reconcile", &looks, &json!({"checks": ["books"]})).await;
    until(&world, "SELECT count(*) FROM findings WHERE kind = 'account_differs' AND state = 'open'").await;
    held_up.rollback().await.unwrap();
    for run in [&full, &looks] {
        world.end_of(run).await;
    }
    let differs = "SELECT string_agg(concat_ws(' ', kind, subject, state), ', ') FROM findings WHERE $1 <> ''";
    world.books_say(differs, "all", &format!("account_differs account/{user}/BTC open")).await;
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
