//! What is still there after a restart over the same journal.

use std::io::Write;

use backstop_simulator::Simulator;
use serde_json::{Value, json};

use crate::client::{ETH_ADDRESS, Sim, config, fresh_state, until};

#[tokio::test]
async fn records_balances_and_settings_are_kept() {
    let mut sim = Sim::start().await;
    let settings = json!({"dedupe": "dedupe", "complete_after_ms": 0, "balances": {"BTC": "3"}});
    sim.settings(settings).await;
    let id = sim.withdraw("kept").await.unwrap().id();
    let failed = sim.withdraw("failed").await.unwrap().id();
    let target = format!("/withdrawals/{failed}");
    sim.admin("POST", &target, json!({"state": "failed"})).await;
    let deposit = json!({"coin": "ETH", "amount": "1", "address": ETH_ADDRESS, "tx_id": "0x1"});
    sim.admin("POST", "/deposits", deposit).await;
    sim.fault(json!({"fault": "drop", "times": 9})).await;
    let settings = sim.admin("GET", "/settings", Value::Null).await;
    let found = sim.found("kept").await;

    sim.restart().await;
    assert_eq!(sim.admin("GET", "/settings", Value::Null).await, settings);
    assert_eq!(sim.found("kept").await, found);
    assert_eq!(sim.free("BTC").await, "3.00000000");
    assert_eq!(sim.free("ETH").await, "101.00000000");
    assert_eq!(sim.free("USDT").await, "99900.00000000");
    assert_eq!(sim.found("failed").await[0]["status"], 5);
    // Fault rules are gone, so this is answered; the id is known, so nothing new happens.
    assert_eq!(sim.withdraw("kept").await.unwrap().id(), id);
}

#[tokio::test]
async fn a_late_execution_happens_though_the_exchange_was_restarted() {
    let mut sim = Sim::start().await;
    sim.fault(json!({"fault": "execute_late", "ms": 300, "hide_ms": 50})).await;
    assert!(sim.withdraw("late").await.is_none());
    let [promised] = sim.records("late").await.try_into().unwrap();
    sim.restart().await;
    let found = until("execution", async || sim.found("late").await.pop()).await;
    assert_eq!(found["id"], promised["id"]);
    let [record] = sim.records("late").await.try_into().unwrap();
    assert_eq!(record["executed_at_ms"], promised["executed_at_ms"]);
    assert_eq!(sim.free("USDT").await, "99900.00000000");
}

#[tokio::test]
async fn an_unfinished_last_line_is_cut_off() {
    let mut sim = Sim::start().await;
    sim.withdraw("whole").await.unwrap().id();
    sim.stop().await;
    let mut file = std::fs::File::options().append(true).open(&sim.state).unwrap();
    file.write_all(br#"{"withdrawal":{"id":"ab"#).unwrap();
    drop(file);
    sim.restart().await;
    sim.withdraw("next").await.unwrap().id();
    sim.restart().await;
    let all = sim.admin("GET", "/withdrawals", Value::Null).await;
    assert_eq!(all.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_broken_line_stops_the_start_and_is_named() {
    let state = fresh_state();
    std::fs::write(&state, "{\"nothing\":1}\n").unwrap();
    let started = Simulator::start(config(&state)).await;
    let error = format!("{:#}", started.err().unwrap());
    assert!(error.contains("line 1"), "{error}");
    std::fs::remove_file(&state).unwrap();
}
