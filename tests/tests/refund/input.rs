//! Goal: every malformed start ends FAILED at once, names the field and what was expected, and writes nothing.

use backstop_tests::World;
use serde_json::{Value, json};
use uuid::Uuid;

/// How each case changes a good input: (pointer, new value or removal, field that must be named).
fn cases() -> Vec<(&'static str, Option<Value>, &'static str)> {
    let id = |text: &str| Some(json!(text));
    vec![
        ("/refund_id", None, "refund_id"),
        ("/refund_id", id(""), "refund_id"),
        ("/refund_id", id(" r-1"), "refund_id"),
        ("/refund_id", Some(json!(17)), "refund_id"),
        ("/refund_id", Some(json!("x".repeat(129))), "refund_id"),
        ("/refund_id", id("r\n1"), "refund_id"),
        ("/user_id", id("~suspense"), "user_id"),
        ("/user_id", Some(json!(["alice"])), "user_id"),
        ("/asset_id", id("DOGE"), "asset_id"),
        ("/asset_id", None, "asset_id"),
        ("/amount", id("0"), "amount"),
        ("/amount", id("-1"), "amount"),
        ("/amount", id("NaN"), "amount"),
        ("/amount", id("1e-3"), "amount"),
        ("/amount", id("0.000000001"), "amount"),
        ("/amount", id("100000000000000000000"), "amount"),
        ("/amount", Some(json!(0.5)), "amount"),
        ("/destination", Some(json!("bc1q")), "destination"),
        ("/destination/network", id("LIGHTNING"), "destination.network"),
        ("/destination/network", id("ETH"), "destination.network"),
        ("/destination/address", id("bc1-not-an-address"), "destination.address"),
        ("/destination/address", id("0x52908400098527886E0F7030069857D2E4169EE7"), "destination.address"),
        ("/destination/tag", id("12345"), "destination.tag"),
        ("/destination/memo", id("hello"), "destination.memo"),
        ("/reason", None, "reason"),
        ("/confirm_timeout_seconds", Some(json!(0)), "confirm_timeout_seconds"),
        ("/confirm_timeout_seconds", Some(json!("60")), "confirm_timeout_seconds"),
        ("/note", id("surplus"), "note"),
    ]
}

fn changed(mut input: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let object = input.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(key.into(), value),
        None => object.remove(key),
    };
    input
}

/// Starts by the command line, which sends exactly what a person typed, and gives the failure as Temporal has it.
async fn fails(world: &World, inputs: &[String]) -> Result<(), String> {
    let id = format!("bad/{}", Uuid::now_v7());
    let mut words =
        vec!["workflow", "start", "--type", "Refund", "--task-queue", world.queue(), "--workflow-id", id.as_str()];
    for input in inputs {
        words.extend(["--input", input]);
    }
    let started = world.temporal(&words).await;
    assert!(started.status.success(), "{started:?}");
    let ended = world.ended(&id).await;
    if ended.kind() == "InvalidInput" { Err(format!("{ended:?}")) } else { panic!("{inputs:?} ended {ended:?}") }
}

async fn footprint(world: &World) -> String {
    let mut books = world.database.owner().await;
    sqlx::query_scalar(
        "SELECT format('%s payouts, %s entries, %s events', (SELECT count(*) FROM payouts),
                       (SELECT count(*) FROM entries), (SELECT count(*) FROM outbox))",
    )
    .fetch_one(&mut books)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_wrong_field_ends_the_start_by_name() {
    let world = World::new().await;
    let good = world.refund().await;
    let before = footprint(&world).await;
    let runs = cases().into_iter().map(async |(pointer, value, field)| {
        let input = changed(good.clone(), pointer, value);
        let failure = fails(&world, &[input.to_string()]).await.unwrap_err();
        assert!(failure.contains(&format!("{field}: expected")), "{input} does not name {field}: {failure}");
    });
    futures::future::join_all(runs).await;
    assert_eq!(footprint(&world).await, before);
}

#[tokio::test]
async fn inputs_that_are_no_single_object_end_the_start_too() {
    let world = World::new().await;
    let good = world.refund().await.to_string();
    let before = footprint(&world).await;
    let shapeless: [Vec<String>; 6] = [
        vec![],
        vec![good.clone(), good.clone()],
        vec![format!("[{good}]")],
        vec!["\"r-1\"".into()],
        vec!["17".into()],
        vec!["null".into()],
    ];
    futures::future::join_all(shapeless.iter().map(async |inputs| {
        let failure = fails(&world, inputs).await.unwrap_err();
        assert!(failure.contains("input: expected"), "{inputs:?}: {failure}");
    }))
    .await;
    assert_eq!(footprint(&world).await, before);
}
