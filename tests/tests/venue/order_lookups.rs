//! A lookup of orders and trades gives the venue's record as it is, or fails; "there is none" takes the venue's word.

use std::time::Duration;

use backstop_activities::venue::{OrderEnding, OrderState};
use serde_json::{Value, json};

use crate::client::Client;
use crate::exchange::Exchange;
use crate::trading::{OPEN_ORDERS, ORDER, TRADES, bid, done};
use crate::wire::{Reply, Wire};

fn order() -> Value {
    json!({
        "symbol": "BTCUSDT", "orderId": 7, "orderListId": -1, "clientOrderId": "ours", "price": "90000.00000000",
        "origQty": "0.50000000", "executedQty": "0.20000000", "cummulativeQuoteQty": "18000.00000000",
        "status": "PARTIALLY_FILLED", "timeInForce": "GTC", "type": "LIMIT", "side": "BUY", "time": 1_499_827_319_559_i64,
        "updateTime": 1_499_827_319_559_i64,
    })
}

fn trade(id: u64) -> Value {
    json!({
        "symbol": "BTCUSDT", "id": id, "orderId": 7, "price": "90000.00000000", "qty": "0.10000000",
        "quoteQty": "9000.00000000", "commission": "0.00010000", "commissionAsset": "BTC",
        "time": 1_499_865_549_590_i64, "isBuyer": true, "isMaker": true, "isBestMatch": true,
    })
}

fn changed(mut row: Value, field: &str, value: Value) -> Value {
    row[field] = value;
    row
}

async fn answering(body: &Value) -> (Wire, Client) {
    let wire = Wire::always(Reply::json(200, body)).await;
    let client = Client::of(&wire.url());
    (wire, client)
}

/// Each status of the venue means what its pages say, and one that is not known is no state.
#[tokio::test]
async fn every_status_has_its_state() {
    let ended = OrderState::Ended;
    for (name, state) in [
        ("NEW", OrderState::Open),
        ("PENDING_NEW", OrderState::Open),
        ("PARTIALLY_FILLED", OrderState::Open),
        ("PENDING_CANCEL", OrderState::Open),
        ("FILLED", ended(OrderEnding::Filled)),
        ("CANCELED", ended(OrderEnding::Canceled)),
        ("REJECTED", ended(OrderEnding::Rejected)),
        ("EXPIRED", ended(OrderEnding::Expired)),
        ("EXPIRED_IN_MATCH", ended(OrderEnding::Expired)),
    ] {
        let (_wire, client) = answering(&changed(order(), "status", json!(name))).await;
        assert_eq!(client.order("ours").await.unwrap().unwrap().state, state, "{name}");
    }
    for odd in [json!("DONE"), json!("filled"), json!(""), json!(0), Value::Null] {
        let (_wire, client) = answering(&changed(order(), "status", odd.clone())).await;
        client.order("ours").await.unwrap_err();
        let (_wire, client) = answering(&json!([order(), changed(order(), "status", odd)])).await;
        client.open_orders().await.unwrap_err();
    }
}

/// A record about something else, or with an amount that can't be read, fails the lookup.
#[tokio::test]
async fn a_record_that_is_not_the_one_asked_for_fails_the_lookup() {
    let (_wire, client) = answering(&order()).await;
    client.order("ours").await.unwrap().unwrap();
    let unreadable = [json!("-1"), json!("1e5"), json!(""), json!(0.5), json!("NaN"), Value::Null];
    let mut cases = vec![("symbol", json!("ETHUSDT")), ("orderId", json!("7")), ("time", json!("now"))];
    for field in ["price", "origQty", "executedQty", "cummulativeQuoteQty"] {
        cases.extend(unreadable.iter().map(|value| (field, value.clone())));
    }
    for (field, value) in cases {
        let (_wire, client) = answering(&changed(order(), field, value.clone())).await;
        assert!(client.order("ours").await.is_err(), "{field} {value}");
        let (_wire, client) = answering(&json!([changed(order(), field, value.clone())])).await;
        assert!(client.open_orders().await.is_err(), "{field} {value}");
    }
    let (_wire, client) = answering(&changed(order(), "clientOrderId", json!("theirs"))).await;
    client.order("ours").await.unwrap_err();
    for body in [json!([]), json!({}), Value::Null, json!([order()])] {
        let (_wire, client) = answering(&body).await;
        client.order("ours").await.unwrap_err();
    }
}

/// Only "Order does not exist." is absence; everything else that goes wrong proves nothing.
#[tokio::test]
async fn only_the_venues_word_is_absence() {
    for (status, code, absent) in [
        (400, -2013, true),
        (200, -2013, false),
        (401, -2013, false),
        (404, -2013, false),
        (500, -2013, false),
        (400, -2011, false),
        (400, -2026, false),
        (400, -1121, false),
    ] {
        let wire = Wire::always(Reply::json(status, &json!({"code": code, "msg": "Order does not exist."}))).await;
        let client = Client::of(&wire.url());
        assert_eq!(client.order("ours").await.is_ok_and(|found| found.is_none()), absent, "{status} {code}");
        client.open_orders().await.unwrap_err();
        client.trades("7").await.unwrap_err();
    }
    for body in ["", "[]", "{}", "-2013", "<html>-2013</html>"] {
        let wire = Wire::always(Reply::http(400, &[], body)).await;
        Client::of(&wire.url()).order("ours").await.unwrap_err();
    }
}

/// What goes wrong at the venue fails the lookup, though the records are there.
#[tokio::test]
async fn a_failing_venue_fails_lookups_of_orders() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let id = done(client.place(bid("there")).await);
    let faults = [
        json!({"fault": "status", "status": 503}),
        json!({"fault": "garbage"}),
        json!({"fault": "drop"}),
        json!({"fault": "lose_answer"}),
        json!({"fault": "reject", "code": -1021}),
        json!({"fault": "rate_limited", "retry_after_s": 9}),
    ];
    for mut fault in faults {
        for path in [ORDER, OPEN_ORDERS, TRADES] {
            fault["method"] = "GET".into();
            exchange.fault(path, fault.clone()).await;
        }
        let failed = [
            client.order("there").await.unwrap_err(),
            client.open_orders().await.unwrap_err(),
            client.trades(&id).await.unwrap_err(),
        ];
        let after = (fault["fault"] == "rate_limited").then_some(Duration::from_secs(9));
        assert!(failed.iter().all(|failed| failed.after == after), "{failed:?}");
    }
    assert_eq!(client.open_orders().await.unwrap().len(), 1);
}

/// Trades are read from the first to the last, page by page.
#[tokio::test]
async fn trades_are_read_to_their_end() {
    for total in [0, 1, 999, 1_000, 1_001, 2_500] {
        let wire = Wire::start(move |request| {
            let from = u64::try_from(request.number("fromId")).unwrap();
            // Other orders have the trades in between.
            let ids = (1..=total).map(|nth| nth * 3).filter(|id| *id >= from);
            Reply::json(200, &ids.take(1_000).map(trade).collect::<Value>())
        })
        .await;
        let trades = Client::of(&wire.url()).trades("7").await.unwrap();
        let ids: Vec<u64> = trades.iter().map(|trade| trade.id.parse().unwrap()).collect();
        assert_eq!(ids, (1..=total).map(|nth| nth * 3).collect::<Vec<_>>());
        let requests = wire.requests();
        assert_eq!(requests.len(), usize::try_from(total).unwrap() / 1_000 + 1, "{total}");
        let asked = [("symbol", "BTCUSDT"), ("orderId", "7"), ("limit", "1000")];
        for request in &requests {
            assert_eq!(request.path, TRADES);
            assert!(asked.iter().all(|(name, value)| request.parameter(name) == *value), "{}", request.query);
        }
        assert_eq!(requests[0].parameter("fromId"), "0");
    }
}

/// A page that fails, repeats itself or is about another order fails the whole lookup.
#[tokio::test]
async fn an_unreadable_trade_fails_the_lookup() {
    let wire = Wire::start(|request| match request.parameter("fromId") {
        "0" => Reply::json(200, &(1..=1_000).map(trade).collect::<Value>()),
        _ => Reply::json(503, &json!({})),
    })
    .await;
    Client::of(&wire.url()).trades("7").await.unwrap_err();
    let (stuck, client) = answering(&(1..=1_000).map(trade).collect()).await;
    client.trades("7").await.unwrap_err();
    assert_eq!(stuck.requests().len(), 2);
    for rows in [json!([trade(2), trade(1)]), json!([trade(1), trade(1)]), json!({}), Value::Null] {
        let (_wire, client) = answering(&rows).await;
        assert!(client.trades("7").await.is_err(), "{rows}");
    }
    // Whoever makes a market may be paid for it.
    let (_wire, client) = answering(&json!([changed(trade(1), "commission", json!("-0.0001"))])).await;
    assert_eq!(client.trades("7").await.unwrap()[0].fee, "-0.0001");
    for (field, value) in [
        ("orderId", json!(8)),
        ("symbol", json!("ETHUSDT")),
        ("id", json!("1")),
        ("price", json!(1.5)),
        ("qty", json!("-1")),
        ("quoteQty", json!("much")),
        ("commission", json!("--0.0001")),
        ("commissionAsset", Value::Null),
        ("isMaker", Value::Null),
        ("time", json!("now")),
    ] {
        let (_wire, client) = answering(&json!([trade(1), changed(trade(2), field, value.clone())])).await;
        assert!(client.trades("7").await.is_err(), "{field} {value}");
    }
}

/// An order may go by the id of our cancel: it is absent only when it is there under neither.
#[tokio::test]
async fn absence_takes_both_ids() {
    let absent = || Reply::json(400, &json!({"code": -2013, "msg": "Order does not exist."}));
    for second in [Reply::json(503, &json!({})), Reply::cut_off(""), Reply::json(200, &order())] {
        let wire = Wire::start(move |request| match request.parameter("origClientOrderId") {
            "ours" => absent(),
            cancel => {
                assert_eq!(cancel.len(), 32);
                second.clone()
            }
        })
        .await;
        let found = Client::of(&wire.url()).order("ours").await;
        assert!(!matches!(found, Ok(None)), "{found:?}");
        assert_eq!(wire.requests().len(), 2);
    }
    let wire = Wire::start(move |request| match request.parameter("origClientOrderId") {
        "ours" => absent(),
        _ => Reply::json(200, &changed(order(), "clientOrderId", json!("theirs"))),
    })
    .await;
    Client::of(&wire.url()).order("ours").await.unwrap_err();
}
