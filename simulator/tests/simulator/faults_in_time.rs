//! Faults that hold something back.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{APPLY, Sim, now_ms, read, until, usdt};

/// A withdrawal with a window of its own.
fn within<'a>(client_id: &'a str, window: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut params = usdt(client_id).to_vec();
    params.push(("recvWindow", window));
    params
}

/// Waits until a rule holds a request.
async fn held(sim: &Sim) {
    until("held", async || {
        let rules = sim.admin("GET", "/faults", Value::Null).await;
        (rules[0]["held"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_delayed_request_is_executed_when_its_window_allows() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "delay", "ms": 60, "times": 2})).await;
    let begun = Instant::now();
    assert_eq!(sim.withdraw("in time").await.unwrap().status, 200);
    assert!(begun.elapsed().as_millis() >= 60);
    let late = sim.try_call("POST", APPLY, &within("late", "20")).await;
    assert_eq!(late.unwrap().refusal(), (400, -1021));
    assert!(sim.records("late").await.is_empty());
}

#[tokio::test]
async fn a_held_request_is_executed_though_its_client_is_gone() {
    let sim = Sim::start().await;
    let id = sim.fault(json!({"fault": "hold"})).await;
    let stream = sim.send("POST", APPLY, &usdt("ghost")).await;
    held(&sim).await;
    drop(stream);
    assert_eq!(sim.logged("ghost").await["finished_at_ms"], Value::Null);
    assert!(sim.records("ghost").await.is_empty());
    sim.admin("DELETE", &format!("/faults/{id}"), Value::Null).await;
    let record = until("execution", async || sim.records("ghost").await.pop()).await;
    assert_eq!(record["client_id"], "ghost");
}

#[tokio::test]
async fn a_request_held_past_its_window_is_refused_when_released() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "hold"})).await;
    let params = within("stale", "30");
    let stream = sim.send("POST", APPLY, &params).await;
    let sent = now_ms();
    held(&sim).await;
    until("the window's end", async || (now_ms() > sent + 31).then_some(())).await;
    sim.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!(read(stream).await.unwrap().refusal(), (400, -1021));
    assert!(sim.records("stale").await.is_empty());
}

#[tokio::test]
async fn a_hold_may_end_by_itself() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "hold", "ms": 40})).await;
    let begun = Instant::now();
    assert_eq!(sim.withdraw("short").await.unwrap().status, 200);
    assert!(begun.elapsed().as_millis() >= 40);
}

#[tokio::test]
async fn a_delayed_answer_comes_after_the_execution() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "delay_answer", "ms": 3_600_000})).await;
    let stream = sim.send("POST", APPLY, &usdt("slow")).await;
    let record = until("execution", async || sim.found("slow").await.pop()).await;
    assert_eq!(record["withdrawOrderId"], "slow");
    assert_eq!(sim.logged("slow").await["finished_at_ms"], Value::Null);
    drop(stream);
    sim.fault(json!({"fault": "delay_answer", "ms": 30})).await;
    assert_eq!(sim.withdraw("quick").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_late_execution_is_accepted_now_and_happens_later() {
    let sim = Sim::start().await;
    sim.fault(json!({"fault": "execute_late", "ms": 3_600_000})).await;
    assert!(sim.withdraw("later").await.is_none());
    assert!(sim.found("later").await.is_empty());
    assert_eq!(sim.free("USDT").await, "100000.00000000");
    let [record] = sim.records("later").await.try_into().unwrap();
    assert_eq!(record["state"], "accepted");
    assert_eq!(record["debited"], "0");

    // What is promised cannot be spent twice.
    let mut rest = usdt("rest");
    rest[3] = ("amount", "99901");
    let refused = sim.try_call("POST", APPLY, &rest).await.unwrap();
    assert_eq!(refused.refusal(), (400, -4026));

    sim.fault(json!({"fault": "execute_late", "ms": 40, "answer": "normal"})).await;
    let id = sim.withdraw("soon").await.unwrap().id();
    let record = until("execution", async || sim.found("soon").await.pop()).await;
    assert_eq!(record["id"], *id);
    assert_eq!(sim.free("USDT").await, "99900.00000000");
}

#[tokio::test]
async fn stopping_gives_up_what_is_held() {
    let mut sim = Sim::start().await;
    sim.fault(json!({"fault": "hold"})).await;
    let stream = sim.send("POST", APPLY, &usdt("given up")).await;
    held(&sim).await;
    sim.restart().await;
    assert!(read(stream).await.is_none());
    assert!(sim.records("given%20up").await.is_empty());
}
