//! Goal: bad input ends the workflow at once, names its field, and changes nothing.

use backstop_tests::{End, World};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_is_refused_by_field_and_leaves_nothing() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let good = world.pause(&strategy, "0.45");
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("/operation_id", json!(5), "InvalidInput", "operation_id"),
        ("/strategy_key", json!(""), "InvalidInput", "strategy_key"),
        ("/strategy_key", json!("mm-nowhere"), "NotFound", "mm-nowhere"),
        ("/user_id", json!("alice"), "InvalidInput", "strategy_key"),
        ("/requested_by", Value::Null, "InvalidInput", "requested_by"),
        ("/amount", json!("0"), "InvalidInput", "amount"),
        ("/destination/address", json!(7), "InvalidInput", "destination.address"),
    ];
    let runs = cases.iter().enumerate().map(async |(number, (pointer, value, expected, says))| {
        let mut input = good.clone();
        *input.pointer_mut(pointer).unwrap() = value.clone();
        let end = world.run_any("PauseAndWithdraw", &format!("bad-{number}"), &input).await;
        let End::Failed(kind, message) = end else { panic!("{pointer}: {end:?}") };
        assert_eq!(&kind, expected, "{pointer}: {message}");
        assert!(message.contains(says), "{message} does not name {says}");
    });
    futures::future::join_all(runs).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pauses").fetch_one(&mut world.database.owner().await).await.unwrap();
    assert_eq!(rows, 0);
    world.books_say("SELECT status FROM strategies WHERE strategy_key = $1", &strategy.key, "running").await;
}
