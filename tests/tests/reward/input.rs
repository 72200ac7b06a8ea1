//! Goal: bad input ends the workflow at once, names its field, and changes nothing.

use backstop_tests::{End, World, rewards::reward_workflow};
use serde_json::{Value, json};

async fn rows(world: &World) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM rewards) + (SELECT count(*) FROM accounts) + (SELECT count(*) FROM outbox)";
    sqlx::query_scalar(sql).fetch_one(&mut world.database.owner().await).await.unwrap()
}

#[tokio::test]
async fn bad_input_is_refused_by_field_and_leaves_nothing() {
    let world = World::new().await;
    let pool = world.pool("0.5").await;
    let good = world.reward(&pool, "0.1");
    let many: serde_json::Map<String, Value> = (0..1_001).map(|number| (format!("u{number}"), json!("1"))).collect();
    let cases: Vec<(&str, Value, &str)> = vec![
        ("reward_id", Value::Null, "reward_id"),
        ("reward_id", json!(17), "reward_id"),
        ("pool", json!(""), "pool"),
        ("asset_id", json!("DOGE"), "asset_id"),
        ("amount", json!(0.1), "amount"),
        ("amount", json!("-1"), "amount"),
        ("amount", json!("0.123456789"), "amount"),
        ("shares", json!({}), "shares"),
        ("shares", json!(many), "shares"),
        ("shares", json!(["alice"]), "shares"),
        ("shares", json!({"alice": "0"}), "shares.alice"),
        ("shares", json!({"alice": 1}), "shares.alice"),
        ("shares", json!({"~house": "1"}), "shares.~house"),
        ("platform_fee_bps", json!(10_001), "platform_fee_bps"),
        ("platform_fee_bps", json!("100"), "platform_fee_bps"),
        ("requested_by", Value::Null, "requested_by"),
        ("memo", json!("x"), "memo"),
    ];
    let before = rows(&world).await;
    let runs = cases.iter().enumerate().map(async |(number, (field, value, named))| {
        let mut input = good.clone();
        input[*field] = value.clone();
        let end = world.run_any("DistributeReward", &format!("bad-{number}"), &input).await;
        let End::Failed(kind, message) = end else { panic!("{field}: {end:?}") };
        assert_eq!(kind, "InvalidInput", "{field}: {message}");
        assert!(message.contains(&format!("{named}: expected")), "{message} does not name {named}");
    });
    futures::future::join_all(runs).await;
    assert_eq!(rows(&world).await, before);
    assert_eq!(world.run_any("DistributeReward", &reward_workflow(&good), &good).await.kind(), "distributed");
}

/// A JSON value can't say it: this is what a person types.
#[tokio::test]
async fn a_user_who_is_named_twice_is_refused_by_name() {
    let world = World::new().await;
    let before = rows(&world).await;
    let typed = r#"{"reward_id": "rw-1", "pool": "p", "asset_id": "BTC", "amount": "1", "requested_by": "olga",
                    "shares": {"alice": "1", "bob": "1", "alice": "5"}}"#;
    let words =
        ["workflow", "start", "--type", "DistributeReward", "--task-queue", world.queue(), "--workflow-id", "bad"];
    let started = world.temporal(&[&words[..], &["--input", typed]].concat()).await;
    assert!(started.status.success(), "{started:?}");
    let end = world.end_of("bad").await;
    let End::Failed(kind, message) = end else { panic!("{end:?}") };
    assert_eq!(kind, "InvalidInput");
    assert!(message.contains("shares.alice: expected this name once"), "{message}");
    assert_eq!(rows(&world).await, before);
}
