//! Goal: bad input ends the workflow at once, names its field, and changes nothing.

use backstop_tests::{End, World, intents::ORDER};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_is_refused_by_field_and_leaves_nothing() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let good = world.intent(&strategy, "sell", "120000", "0.1");
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("intent_id", json!(5), "InvalidInput", "intent_id"),
        ("kind", json!("market_order"), "InvalidInput", "kind"),
        ("strategy_key", Value::Null, "InvalidInput", "strategy_key"),
        ("strategy_key", json!("mm-nowhere"), "NotFound", "mm-nowhere"),
        ("user_id", json!("alice"), "InvalidInput", "user_id"),
        ("venue", json!("kraken"), "InvalidInput", "venue"),
        ("pair", json!("BTCUSDT"), "InvalidInput", "pair"),
        ("pair", json!("ETH/USDT"), "InvalidInput", "pair"),
        ("side", json!("short"), "InvalidInput", "side"),
        ("price", json!("0"), "InvalidInput", "price"),
        ("qty", json!(0.1), "InvalidInput", "qty"),
        ("post_only", json!("yes"), "InvalidInput", "post_only"),
        ("time_in_force", json!("GTD"), "InvalidInput", "time_in_force"),
        ("note", json!("one field more"), "InvalidInput", "note"),
        // By the venue's own rules.
        ("price", json!("120000.001"), "InvalidInput", "price: expected a multiple of 0.01"),
        ("price", json!("10000000"), "InvalidInput", "price: expected at most 1000000"),
        ("qty", json!("0.000011"), "InvalidInput", "qty: expected a multiple of 0.00001"),
        ("qty", json!("0.00001"), "InvalidInput", "qty: expected price × qty of at least 5 USDT"),
    ];
    let runs = cases.iter().enumerate().map(async |(number, (field, value, expected, says))| {
        let mut input = good.clone();
        input[*field] = value.clone();
        let end = world.run_any("ExecuteIntent", &format!("bad-{number}"), &input).await;
        let End::Failed(kind, message) = end else { panic!("{field} {value}: {end:?}") };
        assert_eq!(&kind, expected, "{field} {value}: {message}");
        assert!(message.contains(says), "{message} does not name {says}");
    });
    futures::future::join_all(runs).await;
    let mut cancel = world.cancel_intent(&strategy, &good);
    let End::Failed(kind, message) = world.run_any("ExecuteIntent", "bad-cancel", &cancel).await else { panic!() };
    assert!(kind == "InvalidInput" && message.contains("order_intent_id"), "{kind}: {message}");
    cancel["side"] = json!("sell");
    let End::Failed(kind, message) = world.run_any("ExecuteIntent", "bad-cancel-2", &cancel).await else { panic!() };
    assert!(kind == "InvalidInput" && message.contains("side"), "{kind}: {message}");
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM intents").fetch_one(&mut world.database.owner().await).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(world.exchange.all_requests(ORDER).await.len(), 0);
}
