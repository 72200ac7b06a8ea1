//! Faults that change what is executed or answered.

use serde_json::{Value, json};

use crate::client::{ACCOUNT, APPLY, HISTORY, Sim, read, until, usdt};

#[tokio::test]
async fn a_lost_answer_leaves_an_executed_withdrawal() {
    let sim = Sim::start().await;
    let hour = 3_600_000;
    sim.fault(json!({"fault": "lose_answer", "hide_ms": hour, "client_id": "hidden"})).await;
    let id = sim.fault(json!({"fault": "lose_answer"})).await;
    assert!(sim.withdraw("lost").await.is_none());
    let [record] = sim.found("lost").await.try_into().unwrap();
    let logged = sim.logged("lost").await;
    assert_eq!(logged["status"], Value::Null);
    assert_eq!(logged["withdrawal_id"], record["id"]);
    assert_eq!(logged["fault"], "lose_answer");
    assert_eq!(logged["fault_id"], *id);
    assert!(logged["finished_at_ms"].is_i64());

    assert!(sim.withdraw("hidden").await.is_none());
    assert!(sim.found("hidden").await.is_empty());
    assert_eq!(sim.records("hidden").await[0]["state"], "email_sent");
    assert_eq!(sim.free("USDT").await, "99800.00000000");
    assert_eq!(sim.withdraw("after").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_dropped_request_is_not_executed() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "drop", "times": 2})).await;
    assert!(sim.withdraw("gone").await.is_none());
    assert!(sim.withdraw("gone").await.is_none());
    assert!(sim.records("gone").await.is_empty());
    assert_eq!(sim.withdraw("gone").await.unwrap().status, 200);
    let rules = sim.admin("GET", "/faults", Value::Null).await;
    assert_eq!(rules[0]["hits"], 2);
    assert_eq!(rules[0]["times_left"], 0);
}

#[tokio::test]
async fn a_status_may_hide_an_execution() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "status", "status": 503})).await;
    let refused = sim.withdraw("s").await.unwrap();
    assert_eq!(refused.refusal(), (503, -1000));
    assert!(sim.records("s").await.is_empty());

    let hidden = json!({"fault": "status", "status": 504, "execute": true, "hide_ms": 3_600_000});
    sim.fault(hidden).await;
    assert_eq!(sim.withdraw("s").await.unwrap().refusal(), (504, -1007));
    assert_eq!(sim.records("s").await.len(), 1);
    assert!(sim.found("s").await.is_empty());
    assert!(sim.logged("s").await["withdrawal_id"].is_string());

    sim.fault(json!({"fault": "status", "status": 500, "body": {"code": -1, "msg": "?"}})).await;
    assert_eq!(sim.withdraw("s").await.unwrap().refusal(), (500, -1));
    sim.fault(json!({"fault": "status", "status": 502, "body": "Bad gateway"})).await;
    assert_eq!(sim.withdraw("s").await.unwrap().body, "Bad gateway");
}

#[tokio::test]
async fn garbage_may_hide_an_execution() {
    let sim = Sim::start().await;
    for (name, execute) in [("no", false), ("yes", true)] {
        sim.fault(json!({"fault": "garbage", "execute": execute})).await;
        let reply = sim.withdraw(name).await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(reply.body.starts_with("<html>"));
        assert_eq!(sim.records(name).await.len(), usize::from(execute));
    }
}

#[tokio::test]
async fn refusals_can_be_asked_for() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "rate_limited", "retry_after_s": 7})).await;
    let limited = sim.withdraw("r").await.unwrap();
    assert_eq!(limited.refusal(), (429, -1003));
    assert_eq!(limited.header("retry-after"), Some("7"));
    sim.fault(json!({"fault": "banned", "retry_after_s": 9})).await;
    let banned = sim.withdraw("r").await.unwrap();
    assert_eq!(banned.refusal(), (418, -1003));
    assert_eq!(banned.header("retry-after"), Some("9"));
    let rule = json!({"fault": "reject", "code": -4015, "http_status": 403, "msg": "limited"});
    sim.fault(rule).await;
    let rejected = sim.withdraw("r").await.unwrap();
    assert_eq!(rejected.refusal(), (403, -4015));
    assert_eq!(rejected.json()["msg"], "limited");
    assert_eq!(sim.logged("r").await["code"], -4015);
    assert!(sim.records("r").await.is_empty());
}

#[tokio::test]
async fn a_hidden_record_shows_up_later() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "hide", "ms": 3_600_000})).await;
    let id = sim.withdraw("h").await.unwrap().id();
    assert!(sim.found("h").await.is_empty());
    assert_eq!(sim.records("h").await[0]["id"], *id);
    sim.fault(json!({"fault": "hide", "ms": 30})).await;
    let id = sim.withdraw("soon").await.unwrap().id();
    let found = until("visible", async || sim.found("soon").await.pop()).await;
    assert_eq!(found["id"], *id);
    let record = &sim.records("soon").await[0];
    let hidden = record["visible_from_ms"].as_i64().unwrap();
    assert_eq!(hidden - record["executed_at_ms"].as_i64().unwrap(), 30);
}

#[tokio::test]
async fn a_withdrawal_can_be_made_to_fail_later() {
    let sim = Sim::start().await;
    sim.settings(json!({"complete_after_ms": 0})).await;
    sim.fault(json!({"fault": "fail_after", "ms": 30, "state": "rejected", "info": "risk"})).await;
    sim.withdraw("f").await.unwrap().id();
    let ended = until("rejection", async || {
        let [record] = sim.found("f").await.try_into().unwrap();
        assert_ne!(record["status"], 6);
        (record["status"] == 3).then_some(record)
    })
    .await;
    assert_eq!(ended["info"], "risk");
    assert_eq!(sim.free("USDT").await, "100000.00000000");
}

#[tokio::test]
async fn faults_strike_lookups_too() {
    let sim = Sim::start().await;
    sim.withdraw("w").await.unwrap().id();
    sim.fault(json!({"path": HISTORY, "fault": "status", "status": 500, "client_id": "w"})).await;
    let wanted = [("withdrawOrderId", "w")];
    assert_eq!(sim.get(HISTORY, &[]).await.status, 200);
    assert_eq!(sim.get(HISTORY, &wanted).await.status, 500);
    assert_eq!(sim.get(HISTORY, &wanted).await.status, 200);
    sim.fault(json!({"path": "*", "fault": "lose_answer"})).await;
    assert!(sim.try_call("GET", ACCOUNT, &[]).await.is_none());
}

#[tokio::test]
async fn a_closed_connection_does_not_harm_the_others() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "hold", "client_id": "held"})).await;
    sim.fault(json!({"fault": "lose_answer", "client_id": "lost"})).await;
    let held = sim.send("POST", APPLY, &usdt("held")).await;
    assert!(sim.withdraw("lost").await.is_none());
    sim.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!(read(held).await.unwrap().status, 200);
}

#[tokio::test]
async fn chance_without_times_goes_on() {
    let sim = Sim::start().await;
    let id = sim.fault(json!({"path": ACCOUNT, "fault": "drop", "probability": 0.5, "seed": 42})).await;
    let mut dropped = 0;
    for _ in 0..40 {
        dropped += i64::from(sim.try_call("GET", ACCOUNT, &[]).await.is_none());
    }
    assert!((8..32).contains(&dropped), "{dropped}");
    let rules = sim.admin("GET", "/faults", Value::Null).await;
    assert_eq!(rules[0]["hits"], dropped);
    assert_eq!(rules[0]["times_left"], Value::Null);
    let removed = sim.admin("DELETE", &format!("/faults/{id}"), Value::Null).await;
    assert_eq!(removed, json!({"removed": 1}));
    assert_eq!(sim.get(ACCOUNT, &[]).await.status, 200);
}
