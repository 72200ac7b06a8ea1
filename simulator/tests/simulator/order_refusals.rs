//! What an order, a lookup and a cancel are refused for.

use serde_json::{Value, json};

use crate::client::{Params, Sim};
use crate::trading::{OPEN, ORDER, TRADES, bid, with};

#[tokio::test]
async fn orders_are_refused_by_the_codes_of_the_api_pages() {
    let sim = Sim::start().await;
    let market = [("type", "MARKET"), ("price", ""), ("timeInForce", "")];
    let cases: &[(Params<'_>, i64, &str)] = &[
        (&[("symbol", "")], -1102, "'symbol'"),
        (&[("symbol", "btcusdt")], -1100, "'symbol'"),
        (&[("symbol", "DOGEUSDT")], -1121, "Invalid symbol."),
        (&[("side", "")], -1102, "'side'"),
        (&[("side", "HOLD")], -1117, "Invalid side."),
        (&[("type", "OTHER")], -1116, "Invalid orderType."),
        (&[("timeInForce", "")], -1102, "'timeInForce'"),
        (&[("timeInForce", "GTX")], -1115, "Invalid timeInForce."),
        (&[("quantity", "")], -1102, "'quantity'"),
        (&[("price", "")], -1102, "'price'"),
        (&[("price", "1e5")], -1100, "'price'"),
        (&[("quantity", "-1")], -1100, "'quantity'"),
        (&[("quantity", "0.000000001")], -1111, "Precision"),
        (&[("quantity", "0")], -1013, "Invalid quantity."),
        (&[("price", "0")], -1013, "Invalid price."),
        (&[("price", "90000.001")], -1013, "PRICE_FILTER"),
        (&[("price", "1000000.01")], -1013, "PRICE_FILTER"),
        (&[("quantity", "0.000001")], -1013, "LOT_SIZE"),
        (&[("quantity", "9000.1")], -1013, "LOT_SIZE"),
        (&[("quantity", "0.00005")], -1013, "NOTIONAL"),
        (&[("newClientOrderId", "a b")], -1100, "'newClientOrderId'"),
        (&[("newClientOrderId", "a123456789012345678901234567890123456")], -1100, "'newClientOrderId'"),
        (&[("quoteOrderQty", "10")], -1106, "'quoteOrderQty'"),
        (&[("type", "LIMIT_MAKER")], -1106, "'timeInForce'"),
        (&[("type", "MARKET"), ("timeInForce", "")], -1106, "'price'"),
        (&[market[0], market[1], market[2], ("quantity", "")], -1102, "'quantity' or 'quoteOrderQty'"),
        (&[market[0], market[1], market[2], ("quantity", "0.00001")], -1013, "NOTIONAL"),
        (&[("newOrderRespType", "SHORT")], -1102, "'newOrderRespType'"),
        (&[("colour", "red")], -1104, "read '9' parameter(s) but was sent '10'"),
        (&[("quantity", "2")], -2010, "insufficient balance"),
        (&[("side", "SELL"), ("quantity", "11"), ("price", "110000")], -2010, "insufficient balance"),
    ];
    for (changes, code, msg) in cases {
        // Not under the account's own name: what is refused leaves the id free.
        let reply = sim.place(&with(&bid("refused"), changes)).await;
        assert_eq!(reply.refusal(), (400, *code), "{changes:?}: {}", reply.body);
        assert!(reply.json()["msg"].as_str().unwrap().contains(msg), "{changes:?}: {}", reply.body);
    }
    assert!(sim.orders("refused").await.is_empty());
    assert_eq!(sim.balance("USDT").await, ("100000".into(), "0".into()));
}

#[tokio::test]
async fn lookups_and_cancels_of_nothing_are_refused() {
    let sim = Sim::start().await;
    sim.placed(&bid("there")).await;
    let neither = [("symbol", "BTCUSDT")];
    let nobody = [("symbol", "BTCUSDT"), ("origClientOrderId", "nobody")];
    let elsewhere = [("symbol", "ETHUSDT"), ("origClientOrderId", "there")];
    assert_eq!(sim.get(ORDER, &neither).await.refusal(), (400, -1102));
    for wrong in [nobody, elsewhere] {
        assert_eq!(sim.get(ORDER, &wrong).await.refusal(), (400, -2013));
        assert_eq!(sim.try_call("DELETE", ORDER, &wrong).await.unwrap().refusal(), (400, -2011));
    }
    assert_eq!(sim.get(OPEN, &[("symbol", "NOPE")]).await.refusal(), (400, -1121));
    assert_eq!(sim.get(TRADES, &[]).await.refusal(), (400, -1102));
    assert_eq!(sim.looked("there").await["status"], "NEW");
}

#[tokio::test]
async fn mistakes_of_the_admin_name_the_field() {
    let sim = Sim::start().await;
    sim.placed(&bid("a")).await;
    for (target, body, field) in [
        ("/orders/1/fill", json!({}), "qty"),
        ("/orders/1/fill", json!({"qty": "0.6"}), "qty"),
        ("/orders/1/fill", json!({"qty": "0.1", "price": "0"}), "price"),
        ("/orders/1/fill", json!({"qty": "0.1", "fee": "1"}), "fee_asset"),
        ("/orders/1/fill", json!({"qty": "0.1", "fee": "1", "fee_asset": "DOGE"}), "fee_asset"),
        ("/orders/1/fill", json!({"qty": "0.1", "typo": 1}), "typo"),
        ("/orders/1", json!({"state": "FILLED"}), "state"),
        ("/faults", json!({"path": ORDER, "fault": "drop", "method": "POKE"}), "method"),
        ("/faults", json!({"path": ORDER, "fault": "hide", "ms": 1, "method": "GET"}), "path"),
        ("/faults", json!({"path": ORDER, "fault": "fail_after", "ms": 1}), "path"),
    ] {
        let reply = sim.try_admin("POST", target, &body).await;
        assert_eq!(reply.status, 400, "{target} {body}");
        assert!(reply.json()["error"].as_str().unwrap().contains(field), "{target} {body}: {}", reply.body);
    }
    for change in [json!({"prices": {"BTCUSDT": "0"}}), json!({"prices": {"NOPE": "1"}}), json!({"maker_fee": "2"})] {
        assert_eq!(sim.try_admin("PUT", "/settings", &change).await.status, 400, "{change}");
    }
    assert_eq!(sim.try_admin("POST", "/orders/9", &json!({"state": "EXPIRED"})).await.status, 404);
    assert_eq!(sim.try_admin("GET", "/orders?clientid=a", &Value::Null).await.status, 400);
    sim.end("a", "EXPIRED").await;
    let over = sim.try_admin("POST", "/orders/1", &json!({"state": "CANCELED"})).await;
    assert_eq!(over.status, 400);
    let over = sim.try_admin("POST", "/orders/1/fill", &json!({"qty": "0.1"})).await;
    assert_eq!(over.status, 400);
}
