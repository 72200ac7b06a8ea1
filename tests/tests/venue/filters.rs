//! Goal: a market's rules are the venue's own, and what can't be read is no absence of rules.

use backstop_activities::venue::Spot;
use backstop_domain::{Amount, Filters, Pair};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{Client, PATIENCE};
use crate::exchange::Exchange;

const INFO: &str = "/api/v3/exchangeInfo";

impl Client {
    async fn filters(&self, pair: &str) -> Result<Option<Filters>, String> {
        let pair: Pair = pair.parse().unwrap();
        let read = timeout(PATIENCE * 2, self.binance.filters(&pair)).await.unwrap();
        read.map_err(|failed| failed.reason)
    }
}

#[tokio::test]
async fn the_rules_of_a_market_are_read_and_hold_its_orders() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let filters = client.filters("ETH/BTC").await.unwrap().unwrap();
    let bound = |text: &str| Some(text.parse::<Amount>().unwrap());
    assert_eq!(
        (filters.tick, filters.min_price, filters.max_price),
        (bound("0.00001"), bound("0.00001"), bound("922327"))
    );
    assert_eq!(
        (filters.step, filters.min_quantity, filters.max_quantity),
        (bound("0.0001"), bound("0.0001"), bound("100000"))
    );
    assert_eq!(filters.min_notional, bound("0.0001"));
    assert_eq!(client.filters("XRP/BTC").await, Ok(None));
}

#[tokio::test]
async fn what_is_no_answer_gives_no_rules() {
    let exchange = Exchange::start().await;
    let client = Client::hasty(&exchange.url());
    for fault in [
        json!({"fault": "status", "status": 503}),
        json!({"fault": "garbage"}),
        json!({"fault": "lose_answer"}),
        json!({"fault": "rate_limited"}),
        json!({"fault": "reject", "code": -1000}),
    ] {
        let fault_id = exchange.fault(INFO, Value::clone(&fault)).await;
        assert!(client.filters("BTC/USDT").await.is_err(), "{fault}");
        exchange.release(&fault_id).await;
    }
    assert!(client.filters("BTC/USDT").await.unwrap().is_some());
}
