//! What the history of withdrawals shows, and how far back.

use serde_json::{Value, json};

use crate::client::{DAY_MS, HISTORY, Params, Sim, now_ms};

/// Puts a record into the past.
async fn insert(sim: &Sim, client_id: &str, coin: &str, days_ago: i64) -> String {
    let record = json!({
        "client_id": client_id, "coin": coin, "amount": "50",
        "executed_at_ms": now_ms() - days_ago * DAY_MS,
    });
    let made = sim.admin("POST", "/withdrawals", record).await;
    made["id"].as_str().unwrap().to_owned()
}

/// The client ids a query finds, in the order of the answer.
async fn ids(sim: &Sim, params: Params<'_>) -> Vec<String> {
    let reply = sim.get(HISTORY, params).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let records: Vec<Value> = serde_json::from_str(&reply.body).unwrap();
    let names = records.iter().map(|record| {
        let name = record["withdrawOrderId"].as_str();
        name.unwrap_or_default().to_owned()
    });
    names.collect()
}

#[tokio::test]
async fn a_lookup_by_order_id_sees_seven_days_unless_told_where_to_look() {
    let sim = Sim::start().await;
    insert(&sim, "recent", "ETH", 6).await;
    insert(&sim, "older", "ETH", 8).await;
    assert_eq!(ids(&sim, &[("withdrawOrderId", "recent")]).await, ["recent"]);
    assert!(ids(&sim, &[("withdrawOrderId", "older")]).await.is_empty());
    assert_eq!(ids(&sim, &[]).await, ["recent", "older"]);

    let start = (now_ms() - 9 * DAY_MS).to_string();
    let end = (now_ms() - 3 * DAY_MS).to_string();
    let there = [("withdrawOrderId", "older"), ("startTime", &start), ("endTime", &end)];
    assert_eq!(ids(&sim, &there).await, ["older"]);
    let now = now_ms().to_string();
    let too_long = [("withdrawOrderId", "older"), ("startTime", &start), ("endTime", &now)];
    let refused = sim.get(HISTORY, &too_long).await;
    assert_eq!(refused.refusal(), (400, -4047));
}

#[tokio::test]
async fn time_makes_records_fall_out_of_the_default_window() {
    let sim = Sim::start().await;
    sim.withdraw("aging").await.unwrap();
    assert_eq!(ids(&sim, &[("withdrawOrderId", "aging")]).await, ["aging"]);
    let offset = 7 * DAY_MS + 60_000;
    sim.settings(json!({"clock_offset_ms": offset})).await;
    let server_now = (now_ms() + offset).to_string();
    let lookup = [("withdrawOrderId", "aging"), ("timestamp", &server_now)];
    assert!(ids(&sim, &lookup).await.is_empty());
    assert_eq!(ids(&sim, &[("timestamp", &server_now)]).await, ["aging"]);
}

#[tokio::test]
async fn a_query_without_order_id_spans_ninety_days() {
    let sim = Sim::start().await;
    insert(&sim, "inside", "ETH", 89).await;
    insert(&sim, "outside", "ETH", 91).await;
    assert_eq!(ids(&sim, &[]).await, ["inside"]);
    let start = (now_ms() - 92 * DAY_MS).to_string();
    let end = (now_ms() - 5 * DAY_MS).to_string();
    let there = [("startTime", &*start), ("endTime", &*end)];
    assert_eq!(ids(&sim, &there).await, ["inside", "outside"]);
    let refused = sim.get(HISTORY, &[("startTime", &start)]).await;
    assert_eq!(refused.refusal(), (400, -4047));
    let backwards = [("startTime", &*end), ("endTime", &*start)];
    let refused = sim.get(HISTORY, &backwards).await;
    assert_eq!(refused.refusal(), (400, -4047));
}

#[tokio::test]
async fn filters_and_pages() {
    let sim = Sim::start().await;
    let a = insert(&sim, "a", "ETH", 4).await;
    let b = insert(&sim, "b", "XRP", 3).await;
    insert(&sim, "c", "ETH", 2).await;
    sim.settings(json!({"complete_after_ms": 3_600_000})).await;
    insert(&sim, "d", "ETH", 0).await;
    assert_eq!(ids(&sim, &[]).await, ["d", "c", "b", "a"]);
    assert_eq!(ids(&sim, &[("coin", "XRP")]).await, ["b"]);
    assert_eq!(ids(&sim, &[("status", "6")]).await, ["c", "b", "a"]);
    assert_eq!(ids(&sim, &[("offset", "1"), ("limit", "2")]).await, ["c", "b"]);
    let list = format!("{a},{b}");
    assert_eq!(ids(&sim, &[("idList", &list)]).await, ["b", "a"]);
    let many: Vec<String> = (0..46).map(|n| n.to_string()).collect();
    let refused = sim.get(HISTORY, &[("idList", &many.join(","))]).await;
    assert_eq!(refused.refusal(), (400, -1128));
    let refused = sim.get(HISTORY, &[("limit", "all")]).await;
    assert_eq!(refused.refusal(), (400, -1100));
}

#[tokio::test]
async fn records_made_by_hand_cost_nothing_unless_told_so() {
    let sim = Sim::start().await;
    insert(&sim, "free", "ETH", 1).await;
    assert_eq!(sim.free("ETH").await, "100.00000000");
    let record = json!({
        "coin": "ETH", "amount": "40", "debit": true, "client_id": "paid",
        "state": "failed", "info": "no", "visible_from_ms": now_ms() + 3_600_000,
    });
    let made = sim.admin("POST", "/withdrawals", record).await;
    assert_eq!(made["state"], "failed");
    assert_eq!(sim.free("ETH").await, "100.00000000");
    assert!(sim.found("paid").await.is_empty());
    let record = json!({"coin": "ETH", "amount": "40", "debit": true});
    sim.admin("POST", "/withdrawals", record).await;
    assert_eq!(sim.free("ETH").await, "60.00000000");
}
