//! Orders on a real exchange: what is placed is there, what is cancelled is over, what is traded is found.

use backstop_activities::venue::{
    BinanceConfig, NewOrder, OrderEnding, OrderKind, OrderRecord, OrderState, SendOutcome, Side, TimeInForce,
    TradeRecord,
};
use serde_json::json;
use tokio::net::TcpSocket;

use crate::client::{Client, config, not_sent, now_ms, rejected, unknown, until};
use crate::exchange::Exchange;
use crate::trading::{ORDER, bid, done, taker};

/// An order that is taken is done under the venue's id, and its record is what was asked for.
#[tokio::test]
async fn an_order_that_is_taken_is_found_as_it_was_sent() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let before = now_ms();
    assert_eq!(client.order("taken").await, Ok(None));
    let id = done(client.place(bid("taken")).await);
    assert_eq!(id, exchange.newest("taken").await);
    let record = client.order("taken").await.unwrap().unwrap();
    assert!((before..=now_ms()).contains(&record.placed_at_ms));
    let expected = OrderRecord {
        id,
        client_id: "taken".into(),
        state: OrderState::Open,
        price: "90000.00000000".into(),
        quantity: "0.50000000".into(),
        executed_quantity: "0.00000000".into(),
        executed_quote: "0.00000000".into(),
        placed_at_ms: record.placed_at_ms,
        updated_at_ms: record.placed_at_ms,
    };
    assert_eq!(record, expected);
    assert_eq!(client.open_orders().await, Ok(vec![expected]));
}

/// Each kind of order reaches the venue as what it is.
#[tokio::test]
async fn every_kind_of_order_arrives_as_what_it_is() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let limit = |time_in_force| OrderKind::Limit { price: "110000", time_in_force };
    let cases = [
        ("gtc", limit(TimeInForce::GoodTillCancelled), "LIMIT", "GTC", "NEW"),
        ("ioc", limit(TimeInForce::ImmediateOrCancel), "LIMIT", "IOC", "EXPIRED"),
        ("fok", limit(TimeInForce::FillOrKill), "LIMIT", "FOK", "EXPIRED"),
        ("maker", OrderKind::LimitMaker { price: "110000" }, "LIMIT_MAKER", "GTC", "NEW"),
        ("market", OrderKind::Market, "MARKET", "GTC", "FILLED"),
    ];
    for (client_id, kind, name, time_in_force, state) in cases {
        done(client.place(NewOrder { side: Side::Sell, kind, quantity: "0.25", ..bid(client_id) }).await);
        let order = exchange.orders(client_id).await.pop().unwrap();
        let got = ["side", "type", "time_in_force", "qty", "state"].map(|field| order[field].as_str().unwrap());
        assert_eq!(got, ["SELL", name, time_in_force, "0.25", state], "{client_id}");
        let known = client.order(client_id).await.unwrap().unwrap().state;
        let expected = match state {
            "NEW" => OrderState::Open,
            "FILLED" => OrderState::Ended(OrderEnding::Filled),
            _ => OrderState::Ended(OrderEnding::Expired),
        };
        assert_eq!(known, expected, "{client_id}");
    }
}

/// An order that is cancelled is over; what it traded before stays, and it is found whether the venue gives it the
/// cancel's id or not.
#[tokio::test]
async fn a_cancelled_order_is_found_with_what_it_traded() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (client_id, renames) in [("renamed", true), ("keeps-its-id", false)] {
        exchange.set(json!({"cancel_renames": renames})).await;
        let id = done(client.place(bid(client_id)).await);
        exchange.fill(client_id, json!({"qty": "0.2"})).await;
        assert_eq!(client.order(client_id).await.unwrap().unwrap().state, OrderState::Open);
        assert_eq!(done(client.cancel(client_id).await), id);
        let known_as = exchange.orders(client_id).await.pop().unwrap()["known_as"].as_str().unwrap().to_owned();
        assert_eq!(known_as != client_id, renames);
        let record = client.order(client_id).await.unwrap().unwrap();
        assert_eq!((&record.id, record.client_id.as_str()), (&id, client_id));
        assert_eq!(record.state, OrderState::Ended(OrderEnding::Canceled));
        let executed = (record.executed_quantity.as_str(), record.executed_quote.as_str());
        assert_eq!(executed, ("0.20000000", "18000.00000000"));
        let by_id = client.order_by_id(&id).await.unwrap().unwrap();
        assert_eq!(by_id, OrderRecord { client_id: known_as, ..record });
    }
    assert_eq!(client.open_orders().await, Ok(Vec::new()));
}

/// An order that somebody else cancelled is found by the venue's id, if not by ours.
#[tokio::test]
async fn an_order_cancelled_by_somebody_else_is_found_by_the_venues_id() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let id = done(client.place(bid("taken-over")).await);
    let end = json!({"state": "CANCELED", "new_client_id": "web_1"});
    exchange.admin(reqwest::Method::POST, &format!("/orders/{id}"), end).await;
    assert_eq!(client.order("taken-over").await, Ok(None));
    let found = client.order_by_id(&id).await.unwrap().unwrap();
    assert_eq!((found.client_id.as_str(), found.state), ("web_1", OrderState::Ended(OrderEnding::Canceled)));
    assert_eq!(client.order_by_id("4711").await, Ok(None));
}

/// The end that the venue gives an order is the end in its record.
#[tokio::test]
async fn every_ending_is_told() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (name, ending) in
        [("CANCELED", OrderEnding::Canceled), ("REJECTED", OrderEnding::Rejected), ("EXPIRED", OrderEnding::Expired)]
    {
        done(client.place(bid(name)).await);
        exchange.end(name, name).await;
        assert_eq!(client.order(name).await.unwrap().unwrap().state, OrderState::Ended(ending));
    }
}

/// A cancel of what is not open has no effect, and says nothing of why.
#[tokio::test]
async fn a_cancel_of_what_is_not_open_is_rejected() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    done(client.place(taker("filled")).await);
    done(client.place(bid("gone")).await);
    done(client.cancel("gone").await);
    for client_id in ["nobody", "filled", "gone"] {
        let reason = rejected(client.cancel(client_id).await);
        assert!(reason.contains("-2011"), "{reason}");
    }
    assert_eq!(client.order("filled").await.unwrap().unwrap().state, OrderState::Ended(OrderEnding::Filled));
}

/// A cancel whose answer is lost is unknown; the order's own record says what became of it.
#[tokio::test]
async fn a_cancel_whose_answer_is_lost_is_unknown() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (fault, state) in [("lose_answer", OrderState::Ended(OrderEnding::Canceled)), ("drop", OrderState::Open)] {
        done(client.place(NewOrder { quantity: "0.1", ..bid(fault) }).await);
        exchange.fault(ORDER, json!({"fault": fault, "method": "DELETE", "client_id": fault})).await;
        unknown(client.cancel(fault).await);
        assert_eq!(client.order(fault).await.unwrap().unwrap().state, state, "{fault}");
    }
}

/// The trades of an order are found with their fees, in whatever asset they were taken.
#[tokio::test]
async fn trades_are_found_with_their_fees() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let taken = done(client.place(taker("taker")).await);
    let id = done(client.place(bid("maker")).await);
    exchange.fill("maker", json!({"qty": "0.5", "price": "89999.99", "fee": "0.0123", "fee_asset": "BNB"})).await;
    let [trade] = client.trades(&id).await.unwrap().try_into().unwrap();
    let expected = TradeRecord {
        id: "3".into(),
        order_id: id,
        price: "89999.99000000".into(),
        quantity: "0.50000000".into(),
        quote_quantity: "44999.99500000".into(),
        fee: "0.01230000".into(),
        fee_asset: "BNB".into(),
        is_buyer: true,
        is_maker: true,
        traded_at_ms: trade.traded_at_ms,
    };
    assert_eq!(trade, expected);
    let taken = client.trades(&taken).await.unwrap();
    let told: Vec<_> = taken.iter().map(|trade| (trade.id.as_str(), trade.quantity.as_str(), trade.is_maker)).collect();
    assert_eq!(told, [("1", "0.20000000", false), ("2", "0.10000000", false)]);
    assert_eq!((taken[0].fee.as_str(), taken[0].fee_asset.as_str()), ("0.00020000", "BTC"));
}

/// A trade may be shown after the end of its order: the sum says that something is still to come.
#[tokio::test]
async fn trades_that_show_late_are_missing_from_the_sum() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    exchange.fault_on_place(json!({"fault": "hide_trades", "ms": 1_000})).await;
    let id = done(client.place(taker("late")).await);
    let record = client.order("late").await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.executed_quantity.as_str()),
        (OrderState::Ended(OrderEnding::Filled), "0.30000000")
    );
    assert_eq!(client.trades(&id).await, Ok(Vec::new()));
    let shown = until("the trades are shown", async || {
        let trades = client.trades(&id).await.unwrap();
        (!trades.is_empty()).then_some(trades)
    })
    .await;
    assert_eq!(shown.len(), 2);
}

/// A client id that was used again finds the newest order, and an older one when the newest is not there.
#[tokio::test]
async fn a_client_id_used_twice_finds_the_newest_order() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let first = done(client.place(bid("reused")).await);
    done(client.cancel("reused").await);
    let before = now_ms();
    exchange.fault_on_place(json!({"fault": "drop"})).await;
    unknown(client.place(bid("reused")).await);
    let found = client.order("reused").await.unwrap().unwrap();
    assert_eq!(found.id, first);
    assert!(found.placed_at_ms <= before, "only its time tells that it is another order");
    let second = done(client.place(bid("reused")).await);
    assert_eq!(client.order("reused").await.unwrap().unwrap().id, second);
}

/// "Duplicate order" says that the order is there: it is to be looked up.
#[tokio::test]
async fn a_duplicate_order_is_unknown() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let id = done(client.place(bid("twice")).await);
    let reason = unknown(client.place(bid("twice")).await);
    assert!(reason.contains("-2010"), "{reason}");
    assert_eq!(client.order("twice").await.unwrap().unwrap().id, id);
    exchange.fault_on_place(json!({"fault": "reject", "code": -2010, "msg": "duplicate clientOrderId"})).await;
    unknown(client.place(bid("worded-otherwise")).await);
}

/// What the venue refuses by its own rules is a rejection that placed nothing.
#[tokio::test]
async fn the_venues_own_refusals_of_orders_are_rejections() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let base = bid("refused");
    let limit = |price| OrderKind::Limit { price, time_in_force: TimeInForce::GoodTillCancelled };
    let cases = [
        (-1121, NewOrder { symbol: "DOGEUSDT", ..base }),
        (-1100, NewOrder { symbol: "a b", ..base }),
        (-1102, NewOrder { symbol: "", ..base }),
        (-1100, NewOrder { quantity: "much", ..base }),
        (-1111, NewOrder { quantity: "0.123456789", ..base }),
        (-1013, NewOrder { quantity: "0", ..base }),
        (-1013, NewOrder { quantity: "0.000001", ..base }),
        (-1013, NewOrder { quantity: "0.00001", ..base }),
        (-1013, NewOrder { kind: limit("90000.001"), ..base }),
        (-2010, NewOrder { quantity: "2", ..base }),
        (-2010, NewOrder { kind: OrderKind::LimitMaker { price: "100010" }, ..base }),
    ];
    for (code, order) in cases {
        let reason = rejected(client.place(order).await);
        assert!(reason.contains(&format!(" {code}: ")), "{order:?}: {reason}");
    }
    let stranger = Client::with(BinanceConfig { api_secret: "another".into(), ..config(&exchange.url()) });
    assert!(rejected(stranger.place(base).await).contains(" -1022: "));
    assert!(exchange.orders("refused").await.is_empty());
}

/// An order that arrives past its window is not sent, and one that nobody heard is not either.
#[tokio::test]
async fn an_order_too_late_or_to_nobody_is_not_sent() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let (reason, _) = not_sent(client.place_signed(bid("old"), now_ms() - 6_000).await);
    assert!(reason.contains("-1021"), "{reason}");
    exchange.fault_on_place(json!({"fault": "rate_limited", "retry_after_s": 7})).await;
    let (_, after) = not_sent(client.place(bid("limited")).await);
    assert_eq!(after.unwrap().as_secs(), 7);
    assert!(exchange.orders("old").await.is_empty() && exchange.orders("limited").await.is_empty());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = Client::of(&format!("http://{}", socket.local_addr().unwrap()));
    not_sent(nobody.place(bid("nobody")).await);
    not_sent(nobody.cancel("nobody").await);
}

/// Whatever leaves it open whether the order is there is unknown, and is sent once.
#[tokio::test]
async fn an_order_whose_answer_says_nothing_is_unknown() {
    let exchange = Exchange::start().await;
    exchange.set(json!({"balances": {"USDT": "1000000"}})).await;
    let client = Client::of(&exchange.url());
    let cases = [
        ("lost", json!({"fault": "lose_answer"}), 1),
        ("dropped", json!({"fault": "drop"}), 0),
        ("failed", json!({"fault": "status", "status": 503}), 0),
        ("timed-out", json!({"fault": "status", "status": 504, "execute": true}), 1),
        ("garbled", json!({"fault": "garbage", "execute": true}), 1),
        ("odd", json!({"fault": "reject", "code": -1006}), 0),
        ("forbidden", json!({"fault": "reject", "code": -2010, "http_status": 403}), 0),
    ];
    for (client_id, fault, placed) in cases {
        exchange.fault_on_place(fault).await;
        unknown(client.place(bid(client_id)).await);
        assert_eq!(exchange.orders(client_id).await.len(), placed, "{client_id}");
        assert_eq!(exchange.received(client_id).await.len(), 1, "{client_id}");
        assert_eq!(client.order(client_id).await.unwrap().is_some(), placed == 1, "{client_id}");
    }
}

/// An order that is taken now and reaches the market later is not there until then, and is found after.
#[tokio::test]
async fn an_order_that_arrives_late_is_found_late() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    exchange.fault_on_place(json!({"fault": "execute_late", "ms": 1_000})).await;
    let outcome = client.place(bid("late")).await;
    assert!(matches!(outcome, SendOutcome::Unknown(_)), "{outcome:?}");
    assert_eq!(client.order("late").await, Ok(None));
    assert!(rejected(client.cancel("late").await).contains("-2011"));
    let found = until("the order arrives", async || client.order("late").await.unwrap()).await;
    assert_eq!(found.state, OrderState::Open);
}
