//! Goal: bad input ends the workflow at once, names its field, and changes nothing.

use backstop_tests::{End, World};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_is_refused_by_field_and_leaves_nothing() {
    let world = World::new().await;
    let good = world.funding().await;
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/order_id", json!(5), "order_id"),
        ("/user_id", json!("~suspense"), "user_id"),
        ("/venue", json!("kraken"), "venue"),
        ("/base_asset_id", json!("DOGE"), "refund_destination.DOGE"),
        ("/base_amount", json!("0.123456789"), "base_amount"),
        ("/quote_amount", json!("-5"), "quote_amount"),
        ("/refund_destination", json!("bc1q"), "refund_destination"),
        ("/refund_destination/USDT/network", json!("LIGHTNING"), "refund_destination.USDT.network"),
        ("/refund_destination/BTC/address", json!("nowhere"), "refund_destination.BTC.address"),
    ];
    let runs = cases.iter().enumerate().map(async |(number, (pointer, value, field))| {
        let mut input = good.clone();
        *input.pointer_mut(pointer).unwrap() = value.clone();
        let end = world.run_any("FundOrder", &format!("bad-{number}"), &input).await;
        let End::Failed(kind, message) = end else { panic!("{pointer}: {end:?}") };
        assert_eq!(kind, "InvalidInput", "{pointer}: {message}");
        assert!(message.contains(field), "{message} does not name {field}");
    });
    futures::future::join_all(runs).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM fundings").fetch_one(&mut world.database.owner().await).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_tag_that_belongs_to_another_order_is_refused() {
    let world = World::new().await;
    let (first, mut second) = (world.funding().await, world.funding().await);
    world.start_any("FundOrder", "first", &first).await;
    world
        .books_say("SELECT state FROM fundings WHERE order_id = $1", first["order_id"].as_str().unwrap(), "awaiting")
        .await;
    second["deposit_tag"] = first["order_id"].clone();
    let End::Failed(kind, message) = world.run_any("FundOrder", "second", &second).await else { panic!("not refused") };
    assert!(kind == "Conflict" && message.contains("deposit tag"), "{kind}: {message}");
}
