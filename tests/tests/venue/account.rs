//! Goal: what the account holds, and all of its orders and trades of a symbol, are read as they are, or not at all.

use backstop::stack::wait_until;
use backstop_activities::venue::{NewOrder, OrderEnding, OrderState, Spot};
use serde_json::json;

use crate::client::{Client, PATIENCE, now_ms};
use crate::exchange::Exchange;
use crate::trading::{SYMBOL, bid, done, taker};

#[tokio::test]
async fn balances_are_what_is_free_and_what_orders_lock() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    exchange.set(json!({"balances": {"BTC": "2", "USDT": "100000", "XRP": "0"}})).await;
    done(client.place(bid("locks")).await);
    let balances = client.binance.balances(now_ms()).await.unwrap();
    let held = |asset: &str| balances.iter().find(|row| row.asset == asset).map(|row| row.held.normalize().to_string());
    assert_eq!((held("BTC").as_deref(), held("USDT").as_deref()), (Some("2"), Some("100000")));
    assert!(held("XRP").is_none_or(|held| held == "0"), "{balances:?}");
}

#[tokio::test]
async fn orders_are_listed_since_a_time_whatever_became_of_them() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let day_ms = 24 * 3_600_000;
    assert_eq!(client.binance.orders_since(SYMBOL, now_ms() - 3 * day_ms, now_ms()).await, Ok(Vec::new()));
    for name in ["first", "second", "third"] {
        done(client.place(NewOrder { quantity: "0.1", ..bid(name) }).await);
        let placed_at_ms = client.order(name).await.unwrap().unwrap().placed_at_ms;
        assert!(wait_until(PATIENCE, async || now_ms() > placed_at_ms).await);
    }
    let since_ms = client.order("second").await.unwrap().unwrap().placed_at_ms;
    exchange.end("second", "CANCELED").await;
    let listed = client.binance.orders_since(SYMBOL, since_ms, now_ms()).await.unwrap();
    let told: Vec<_> = listed.iter().map(|order| (order.client_id.as_str(), order.state)).collect();
    assert_eq!(told, [("second", OrderState::Ended(OrderEnding::Canceled)), ("third", OrderState::Open)]);
    let all = client.binance.orders_since(SYMBOL, now_ms() - 3 * day_ms, now_ms()).await.unwrap();
    assert_eq!(all.len(), 3);
}

/// The first of them may have been made days after the beginning.
#[tokio::test]
async fn trades_are_listed_since_a_time_of_all_orders() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let day_ms = 24 * 3_600_000;
    assert_eq!(client.binance.trades_since(SYMBOL, now_ms() - 3 * day_ms, now_ms()).await, Ok(Vec::new()));
    let made = done(client.place(bid("maker")).await);
    exchange.fill("maker", json!({"qty": "0.1", "time_ms": now_ms() - 2 * day_ms})).await;
    let taken = done(client.place(taker("taker")).await);
    let since = async |ago_ms: i64| {
        let trades = client.binance.trades_since(SYMBOL, now_ms() - ago_ms, now_ms()).await.unwrap();
        trades.into_iter().map(|trade| (trade.id, trade.order_id)).collect::<Vec<_>>()
    };
    let all = [("1", &made), ("2", &taken), ("3", &taken)].map(|(id, order)| (id.to_owned(), order.clone()));
    assert_eq!(since(day_ms / 2).await, all[1..]);
    assert_eq!(since(3 * day_ms).await, all);
}
