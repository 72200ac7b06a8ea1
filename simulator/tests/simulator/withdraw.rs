//! Withdrawals: their life, what is refused, and what happens to an id used twice.

use serde_json::json;

use crate::client::{APPLY, ETH_ADDRESS, HISTORY, Sim, TRX_ADDRESS, until, usdt};

#[tokio::test]
async fn a_withdrawal_lives_from_email_to_completion() {
    let sim = Sim::start().await;
    let slow = json!({"processing_after_ms": 3_600_000, "complete_after_ms": 7_200_000});
    sim.settings(slow).await;
    let id = sim.withdraw("life").await.unwrap().id();
    assert_eq!(id.len(), 32);
    assert_eq!(sim.free("USDT").await, "99900.00000000");
    let [record] = sim.found("life").await.try_into().unwrap();
    assert_eq!(record["id"], *id);
    assert_eq!(record["amount"], "97.5");
    assert_eq!(record["transactionFee"], "2.5");
    assert_eq!(record["status"], 0);
    assert_eq!(record["transferType"], 0);
    assert_eq!(record["applyTime"].as_str().unwrap().len(), 19);
    assert_eq!(record["confirmNo"], 0);
    assert!(record.get("txId").is_none() && record.get("completeTime").is_none());

    let quick = json!({"processing_after_ms": 0, "complete_after_ms": 3_600_000});
    sim.settings(quick).await;
    sim.withdraw("working").await.unwrap();
    assert_eq!(sim.found("working").await[0]["status"], 4);
    assert_eq!(sim.found("life").await[0]["status"], 0);

    sim.settings(json!({"complete_after_ms": 20})).await;
    sim.withdraw("done").await.unwrap();
    let done = until("completion", async || {
        let [record] = sim.found("done").await.try_into().unwrap();
        (record["status"] == 6).then_some(record)
    })
    .await;
    assert!(done["txId"].as_str().unwrap().starts_with("0x"));
    assert_eq!(done["confirmNo"], 6);
    assert!(done["completeTime"].is_string());
    assert_eq!(sim.records("done").await[0]["state"], "completed");
    assert_eq!(sim.free("USDT").await, "99700.00000000");
}

#[tokio::test]
async fn defaults_fill_in_the_network_and_tags_are_kept() {
    let sim = Sim::start().await;
    let plain = [("coin", "USDT"), ("address", ETH_ADDRESS), ("amount", "10")];
    let id = sim.try_call("POST", APPLY, &plain).await.unwrap().id();
    let tagged = [
        ("coin", "XRP"),
        ("address", "rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh"),
        ("addressTag", "12345"),
        ("amount", "20.5"),
    ];
    sim.try_call("POST", APPLY, &tagged).await.unwrap().id();
    let records = sim.get(HISTORY, &[("idList", &id)]).await.json();
    assert_eq!(records[0]["network"], "ETH");
    assert!(records[0].get("withdrawOrderId").is_none());
    let records = sim.get(HISTORY, &[("coin", "XRP")]).await.json();
    assert_eq!(records[0]["addressTag"], "12345");
    assert_eq!(records[0]["amount"], "20.3");
}

#[tokio::test]
async fn refusals_have_codes_of_their_own_and_cost_nothing() {
    let sim = Sim::start().await;
    sim.settings(json!({"withdraw_disabled": ["USDT/TRX"]})).await;
    let cases: &[(&str, &str, i64)] = &[
        ("coin", "DOGE", -4018),
        ("coin", "", -1102),
        ("network", "SOL", -4019),
        ("network", "TRX", -4019),
        ("address", TRX_ADDRESS, -4033),
        ("address", "", -1102),
        ("addressTag", "7", -4008),
        ("amount", "", -1102),
        ("amount", "-5", -1100),
        ("amount", "1e3", -1100),
        ("amount", "1.", -1100),
        ("amount", "10.123456789", -1111),
        ("amount", "10.1234567", -4021),
        ("amount", "9.999999", -4022),
        ("amount", "5000000.1", -4023),
        ("amount", "100000.000001", -4026),
        ("withdrawOrderId", "", -1105),
    ];
    for (name, value, code) in cases {
        let mut params = usdt("refused").to_vec();
        params.retain(|(known, _)| known != name);
        params.push((name, value));
        let reply = sim.try_call("POST", APPLY, &params).await.unwrap();
        assert_eq!(reply.refusal(), (400, *code), "{name}={value}");
    }
    let all = sim.admin("GET", "/withdrawals", json!(null)).await;
    assert_eq!(all, json!([]));
    assert_eq!(sim.free("USDT").await, "100000.00000000");
    let everything = [("coin", "USDT"), ("address", ETH_ADDRESS), ("amount", "100000.000000")];
    sim.try_call("POST", APPLY, &everything).await.unwrap().id();
    assert_eq!(sim.free("USDT").await, "0.00000000");
}

#[tokio::test]
async fn an_id_used_twice_is_executed_twice_unless_told_otherwise() {
    let sim = Sim::start().await;
    let first = sim.withdraw("twice").await.unwrap().id();
    let second = sim.withdraw("twice").await.unwrap().id();
    assert_ne!(first, second);
    assert_eq!(sim.records("twice").await.len(), 2);

    sim.settings(json!({"dedupe": "dedupe"})).await;
    assert_eq!(sim.withdraw("twice").await.unwrap().id(), first);
    sim.settings(json!({"dedupe": "duplicate_error"})).await;
    let refused = sim.withdraw("twice").await.unwrap();
    assert_eq!(refused.refusal(), (400, -4105));
    assert_eq!(sim.records("twice").await.len(), 2);
    sim.withdraw("other").await.unwrap().id();
    assert_eq!(sim.free("USDT").await, "99700.00000000");
}

#[tokio::test]
async fn a_forced_failure_brings_the_money_back() {
    let sim = Sim::start().await;
    let states = [("failed", 5), ("rejected", 3), ("cancelled", 1)];
    for (state, status) in states {
        let id = sim.withdraw(state).await.unwrap().id();
        assert_eq!(sim.free("USDT").await, "99900.00000000");
        let target = format!("/withdrawals/{id}");
        let body = json!({"state": state, "info": "not today"});
        let forced = sim.admin("POST", &target, body).await;
        assert_eq!(forced["state"], state);
        assert_eq!(forced["debited"], "0");
        let [record] = sim.found(state).await.try_into().unwrap();
        assert_eq!(record["status"], status);
        assert_eq!(record["info"], "not today");
        assert_eq!(sim.free("USDT").await, "100000.00000000");
    }
    let id = sim.withdraw("waiting").await.unwrap().id();
    let target = format!("/withdrawals/{id}");
    for (state, status) in [("awaiting_approval", 2), ("completed", 6)] {
        sim.admin("POST", &target, json!({"state": state})).await;
        assert_eq!(sim.found("waiting").await[0]["status"], status);
    }
    assert!(sim.found("waiting").await[0]["completeTime"].is_string());
}
