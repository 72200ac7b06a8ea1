//! The admin API answers mistakes with what was expected.

use serde_json::{Value, json};

use crate::client::{APPLY, Sim, read, until, usdt};

#[tokio::test]
async fn health_and_unknown_paths() {
    let sim = Sim::start().await;
    let health = sim.admin("GET", "/health", Value::Null).await;
    assert_eq!(health, json!({"status": "ok"}));
    let reply = sim.try_admin("GET", "/nothing", &Value::Null).await;
    assert_eq!(reply.status, 404);
    assert!(reply.json()["error"].is_string());
}

#[tokio::test]
async fn settings_change_in_part_and_show_in_full() {
    let sim = Sim::start().await;
    let shown = sim.settings(json!({"complete_after_ms": 99})).await;
    assert_eq!(shown["complete_after_ms"], 99);
    assert_eq!(shown["processing_after_ms"], 200);
    assert_eq!(shown["dedupe"], "none");
    assert_eq!(shown["balances"]["BTC"], "10");
    let balances = json!({"balances": {"BTC": "0.5", "XRP": "0"}});
    let shown = sim.settings(balances).await;
    assert_eq!(shown["balances"]["BTC"], "0.5");
    assert_eq!(shown["balances"]["XRP"], "0");
    let read = sim.admin("GET", "/settings", Value::Null).await;
    assert_eq!(read, shown);
}

#[tokio::test]
async fn mistakes_name_the_field_and_change_nothing() {
    let sim = Sim::start().await;
    let before = sim.admin("GET", "/settings", Value::Null).await;
    let deposit = json!({"coin": "ETH", "amount": "1", "address": "a", "tx_id": "t", "status": 3});
    let cases = [
        ("PUT", "/settings", json!({"dedupe": "maybe"}), "dedupe"),
        ("PUT", "/settings", json!({"complete_after_ms": "1"}), "complete_after_ms"),
        ("PUT", "/settings", json!({"dedupe": "dedupe", "balances": {"BTC": 1.5}}), "balances.BTC"),
        ("PUT", "/settings", json!({"balances": {"DOGE": "1"}}), "balances.DOGE"),
        ("PUT", "/settings", json!({"withdraw_disabled": ["USDT/SOL"]}), "withdraw_disabled"),
        ("PUT", "/settings", json!({"complete_after_ms": 5, "typo": 1}), "typo"),
        ("PUT", "/settings", json!([1]), "body"),
        ("POST", "/withdrawals", json!({"coin": "ETH"}), "amount"),
        ("POST", "/withdrawals", json!({"coin": "ETH", "network": "TRX", "amount": "1"}), "network"),
        ("POST", "/deposits", deposit, "status"),
        ("POST", "/faults", json!({"path": APPLY, "fault": "nope"}), "fault"),
        ("POST", "/faults", json!({"path": "/api/v3/time", "fault": "hide", "ms": 1}), "path"),
        ("GET", "/requests?clientid=1", Value::Null, "clientid"),
        ("GET", "/traffic?verb=POST", Value::Null, "verb"),
    ];
    for (method, target, body, field) in cases {
        let reply = sim.try_admin(method, target, &body).await;
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(reply.status, 400, "{target} {body}");
        assert!(error.contains(field), "{target} {body}: {error}");
    }
    let after = sim.admin("GET", "/settings", Value::Null).await;
    assert_eq!(after, before);
    let missing = [("DELETE", "/faults/f9"), ("POST", "/withdrawals/f9")];
    for (method, target) in missing {
        let body = json!({"state": "failed"});
        assert_eq!(sim.try_admin(method, target, &body).await.status, 404);
    }
}

#[tokio::test]
async fn the_request_log_tells_what_came_and_what_went() {
    let sim = Sim::start().await;
    let id = sim.withdraw("a").await.unwrap().id();
    sim.found("a").await;
    sim.withdraw("b").await.unwrap();
    let all = sim.admin("GET", "/requests", Value::Null).await;
    assert_eq!(all.as_array().unwrap().len(), 3);
    let of_a = sim.admin("GET", "/requests?client_id=a", Value::Null).await;
    let [applied, looked] = of_a.as_array().unwrap().as_slice() else {
        panic!("{of_a}");
    };
    assert_eq!(applied["seq"], 1);
    assert_eq!(applied["method"], "POST");
    assert_eq!(applied["path"], APPLY);
    assert_eq!(applied["status"], 200);
    assert_eq!(applied["withdrawal_id"], *id);
    assert_eq!(applied["fault"], Value::Null);
    let received = applied["received_at_ms"].as_i64().unwrap();
    assert!(applied["finished_at_ms"].as_i64().unwrap() >= received);
    assert_eq!(looked["method"], "GET");
}

#[tokio::test]
async fn the_traffic_tells_how_many_requests_there_were_at_the_same_moment() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "hold", "times": 2})).await;
    let (first, second) = (sim.send("POST", APPLY, &usdt("a")).await, sim.send("POST", APPLY, &usdt("b")).await);
    let counted = format!("/traffic?method=POST&path={APPLY}");
    let at_once = until("two requests", async || {
        let counts = sim.admin("GET", &counted, Value::Null).await;
        (counts[0]["in_flight"] == 2).then_some(counts)
    });
    assert_eq!(at_once.await[0]["most_in_flight"], 2);
    sim.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!(read(first).await.unwrap().status, 200);
    assert_eq!(read(second).await.unwrap().status, 200);
    sim.withdraw("c").await.unwrap();
    let counts = sim.admin("GET", &counted, Value::Null).await;
    let (method, path) = ("POST", APPLY);
    let all = json!([{"method": method, "path": path, "received": 3, "in_flight": 0, "most_in_flight": 2}]);
    assert_eq!(counts, all);
}
