//! Goal: bad input ends the workflow at once, names its field, and changes nothing.

use backstop_tests::{End, World};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_is_refused_by_field_and_leaves_nothing() {
    let world = World::new().await;
    let good = world.withdrawal("0.25").await;
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/withdrawal_id", json!(5), "withdrawal_id"),
        ("/user_id", Value::Null, "user_id"),
        ("/requested_by", json!(""), "requested_by"),
        ("/asset_id", json!("DOGE"), "asset_id"),
        ("/amount", json!(0.25), "amount"),
        ("/amount", json!("0.123456789"), "amount"),
        ("/destination", json!("bc1q"), "destination"),
        ("/destination/network", json!("LIGHTNING"), "destination.network"),
        ("/destination/address", json!("nowhere"), "destination.address"),
    ];
    let runs = cases.iter().enumerate().map(async |(number, (pointer, value, field))| {
        let mut input = good.clone();
        *input.pointer_mut(pointer).unwrap() = value.clone();
        let end = world.run_any("Withdraw", &format!("bad-{number}"), &input).await;
        let End::Failed(kind, message) = end else { panic!("{pointer}: {end:?}") };
        assert_eq!(kind, "InvalidInput", "{pointer}: {message}");
        assert!(message.contains(field), "{message} does not name {field}");
    });
    futures::future::join_all(runs).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM payouts").fetch_one(&mut world.database.owner().await).await.unwrap();
    assert_eq!(rows, 0);
}
