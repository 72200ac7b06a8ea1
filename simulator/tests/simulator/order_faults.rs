//! Faults on the paths of orders, and what of them is still there after a restart.

use serde_json::{Value, json};

use crate::client::{Sim, until};
use crate::trading::{OPEN, ORDER, TRADES, bid, with};

async fn fault(sim: &Sim, mut rule: Value) {
    rule["path"] = rule["path"].as_str().unwrap_or(ORDER).into();
    sim.fault(rule).await;
}

#[tokio::test]
async fn a_lost_answer_leaves_an_order() {
    let sim = Sim::start().await;
    fault(&sim, json!({"fault": "lose_answer", "method": "POST", "client_id": "lost"})).await;
    assert_eq!(sim.place(&bid("other")).await.status, 200);
    assert_eq!(sim.look("lost").await.refusal(), (400, -2013));
    assert!(sim.try_call("POST", ORDER, &with(&bid("lost"), &[("quantity", "0.1")])).await.is_none());
    let found = sim.looked("lost").await;
    let log = sim.admin("GET", "/requests?client_id=lost", Value::Null).await;
    assert_eq!(log[1]["order_id"], found["orderId"].to_string());
    assert_eq!(log[1]["fault"], "lose_answer");
}

#[tokio::test]
async fn a_dropped_order_and_a_refused_one_are_none() {
    let sim = Sim::start().await;
    fault(&sim, json!({"fault": "drop"})).await;
    assert!(sim.try_call("POST", ORDER, &bid("none")).await.is_none());
    fault(&sim, json!({"fault": "reject", "code": -1015, "http_status": 429})).await;
    assert_eq!(sim.place(&bid("none")).await.refusal(), (429, -1015));
    fault(&sim, json!({"fault": "status", "status": 503, "execute": true})).await;
    assert_eq!(sim.place(&bid("done")).await.status, 503);
    assert!(sim.orders("none").await.is_empty());
    assert_eq!(sim.orders("done").await.len(), 1);
}

#[tokio::test]
async fn a_fault_finds_the_client_id_of_an_order_asked_for_by_its_own_id() {
    let sim = Sim::start().await;
    let id = sim.placed(&bid("mine")).await["orderId"].to_string();
    let trades = json!({"fault": "status", "status": 500, "path": TRADES, "client_id": "mine"});
    fault(&sim, trades).await;
    fault(&sim, json!({"fault": "status", "status": 500, "method": "DELETE", "client_id": "mine"})).await;
    assert_eq!(sim.get(TRADES, &[("symbol", "BTCUSDT"), ("orderId", &id)]).await.status, 500);
    let named = [("symbol", "BTCUSDT"), ("origClientOrderId", "mine"), ("newClientOrderId", "cancel-1")];
    assert_eq!(sim.try_call("DELETE", ORDER, &named).await.unwrap().status, 500);
    assert_eq!(sim.try_call("DELETE", ORDER, &named).await.unwrap().json()["clientOrderId"], "cancel-1");
}

#[tokio::test]
async fn a_hidden_order_is_in_the_market() {
    let sim = Sim::start().await;
    fault(&sim, json!({"fault": "hide", "ms": 3_600_000})).await;
    sim.placed(&bid("hidden")).await;
    assert_eq!(sim.look("hidden").await.refusal(), (400, -2013));
    assert!(sim.list(OPEN, &[]).await.is_empty());
    assert_eq!(sim.balance("USDT").await.1, "45000");
    assert_eq!(sim.place(&bid("hidden")).await.json()["msg"], "Duplicate order sent.");
    fault(&sim, json!({"fault": "hide", "ms": 30})).await;
    sim.placed(&with(&bid("soon"), &[("quantity", "0.1")])).await;
    until("shown", async || (sim.look("soon").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn trades_may_be_shown_later_than_the_end_of_their_order() {
    let sim = Sim::start().await;
    let market = [("type", "MARKET"), ("price", ""), ("timeInForce", ""), ("quantity", "0.1")];
    fault(&sim, json!({"fault": "hide_trades", "ms": 1_000})).await;
    let taken = sim.placed(&with(&bid("late"), &market)).await;
    assert_eq!(sim.looked("late").await["status"], "FILLED");
    let id = taken["orderId"].to_string();
    assert!(sim.list(TRADES, &[("orderId", &id)]).await.is_empty());
    let shown = until("shown", async || sim.list(TRADES, &[("orderId", &id)]).await.pop()).await;
    assert_eq!(shown["qty"], "0.10000000");
    sim.settings(json!({"trade_delay_ms": 3_600_000})).await;
    let taken = sim.placed(&with(&bid("later"), &market)).await;
    assert!(sim.list(TRADES, &[("orderId", &taken["orderId"].to_string())]).await.is_empty());
}

#[tokio::test]
async fn an_order_may_reach_the_market_later() {
    let mut sim = Sim::start().await;
    let big = [("quantity", "0.6")];
    fault(&sim, json!({"fault": "execute_late", "ms": 1_000})).await;
    assert!(sim.try_call("POST", ORDER, &with(&bid("late"), &big)).await.is_none());
    assert_eq!(sim.look("late").await.refusal(), (400, -2013));
    assert_eq!(sim.orders("late").await[0]["state"], "ACCEPTED");
    assert_eq!(sim.balance("USDT").await, ("100000".into(), "0".into()));
    // What is promised cannot be spent twice, nor the id be used again.
    assert_eq!(sim.place(&with(&bid("rest"), &big)).await.refusal(), (400, -2010));
    assert_eq!(sim.place(&bid("late")).await.json()["msg"], "Duplicate order sent.");
    assert_eq!(sim.cancel("late").await.refusal(), (400, -2011));
    sim.restart().await;
    until("in the market", async || (sim.look("late").await.status == 200).then_some(())).await;
    assert_eq!(sim.balance("USDT").await, ("46000".into(), "54000".into()));

    let market = [("type", "MARKET"), ("price", ""), ("timeInForce", ""), ("quantity", "0.1")];
    fault(&sim, json!({"fault": "execute_late", "ms": 30, "answer": "normal"})).await;
    assert_eq!(sim.placed(&with(&bid("taker"), &market)).await["status"], "NEW");
    until("filled", async || (sim.look("taker").await.status == 200).then_some(())).await;
    assert_eq!(sim.looked("taker").await["status"], "FILLED");
}

#[tokio::test]
async fn a_cancel_may_come_too_late() {
    let sim = Sim::start().await;
    sim.settings(json!({"cancel_renames": false})).await;
    for (client_id, state) in [("overtaken", "FILLED"), ("ended", "CANCELED")] {
        sim.placed(&bid(client_id)).await;
        fault(&sim, json!({"fault": "execute_late", "ms": 700, "method": "DELETE"})).await;
        let params = [("symbol", "BTCUSDT"), ("origClientOrderId", client_id)];
        assert!(sim.try_call("DELETE", ORDER, &params).await.is_none());
        assert_eq!(sim.looked(client_id).await["status"], "NEW");
        if state == "FILLED" {
            sim.fill(client_id, json!({"qty": "0.5"})).await;
        }
        until("over", async || sim.list(OPEN, &[]).await.is_empty().then_some(())).await;
        assert_eq!(sim.looked(client_id).await["status"], state);
    }
}

#[tokio::test]
async fn orders_trades_and_balances_are_kept() {
    let mut sim = Sim::start().await;
    let settings = json!({"prices": {"BTCUSDT": "50000"}, "fee_asset": "BNB", "taker_fee": "0.002"});
    sim.settings(settings).await;
    sim.placed(&with(&bid("taken"), &[("type", "MARKET"), ("price", ""), ("timeInForce", "")])).await;
    sim.placed(&with(&bid("open"), &[("price", "40000")])).await;
    sim.fill("open", json!({"qty": "0.1"})).await;
    let asked = async |sim: &Sim| {
        let mut known = vec![
            sim.admin("GET", "/orders", Value::Null).await,
            sim.admin("GET", "/trades", Value::Null).await,
            sim.admin("GET", "/settings", Value::Null).await,
            sim.looked("open").await,
        ];
        for asset in ["BTC", "USDT", "BNB"] {
            known.push(json!(sim.balance(asset).await));
        }
        known
    };
    let before = asked(&sim).await;
    assert_eq!(before[1][0]["fee_asset"], "BNB");
    sim.restart().await;
    assert_eq!(asked(&sim).await, before);
    assert_eq!(sim.place(&bid("open")).await.json()["msg"], "Duplicate order sent.");
    assert_eq!(sim.fill("open", json!({"qty": "0.1"})).await["trades"][0]["id"], "4");
}
