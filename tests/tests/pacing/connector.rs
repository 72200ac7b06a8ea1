//! Goal: the connector calls the exchange in a slot of its own for every request but a send, which brings one along; and
//! whatever is turned away keeps everybody away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use backstop_activities::{
    books::Priority,
    pacing::{Lane, Pacer},
    venue::{
        Binance, BinanceConfig, LookupFailed, NewOrder, OrderKind, PayoutVenue, Side, Spot, TimeInForce, Withdrawal,
    },
};
use backstop_tests::{Exchange, operations::ADDRESS};
use futures::future::BoxFuture;
use serde_json::json;

use crate::books::{Desk, VENUE};

const SYMBOL: &str = "BTCUSDT";
const DAY_MS: i64 = 24 * 3_600_000;

/// The process' lane, counting.
#[derive(Debug)]
struct Counted {
    lane: Lane,
    turns: AtomicU32,
}

impl Pacer for Counted {
    fn turn(&self, priority: Priority, now_ms: i64) -> BoxFuture<'_, Result<i64, LookupFailed>> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        Pacer::turn(&self.lane, priority, now_ms)
    }

    fn back_off<'a>(&'a self, after: Option<Duration>, why: &'a str) -> BoxFuture<'a, ()> {
        Pacer::back_off(&self.lane, after, why)
    }
}

struct Stand {
    exchange: Exchange,
    pacer: Arc<Counted>,
    binance: Binance,
    desk: Desk,
}

impl Stand {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = std::env::temp_dir().join(format!("backstop-connector-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&directory).unwrap();
        let (desk, exchange) = (Desk::paced(1).await, Exchange::start(&directory).await);
        let lane = Lane::new(desk.books.clone(), VENUE);
        let pacer = Arc::new(Counted { lane, turns: AtomicU32::new(0) });
        let config = BinanceConfig {
            base_url: exchange.url().parse().unwrap(),
            api_key: "test-key".into(),
            api_secret: "test-secret".to_owned().into(),
            receive_window: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
        };
        let binance = Binance::new(config, pacer.clone()).unwrap();
        Self { exchange, pacer, binance, desk }
    }

    /// Makes one of the calls. What it signs with is the slot's time: what the caller takes for the present is long over.
    async fn call(&self, call: &str) -> bool {
        let (binance, stale) = (&self.binance, 1_000);
        let now = self.desk.books.watermark("none").await.unwrap().1;
        // The venue gives a day at once.
        let since = now - DAY_MS + 60_000;
        let kind = OrderKind::Limit { price: "90000", time_in_force: TimeInForce::GoodTillCancelled };
        let order = NewOrder { client_id: "o-1", symbol: SYMBOL, side: Side::Buy, kind, quantity: "0.01" };
        let withdrawal =
            Withdrawal { client_id: "w-1", asset: "BTC", amount: "0.5", network: "BTC", address: ADDRESS, tag: None };
        let done = |outcome| matches!(outcome, backstop_activities::venue::SendOutcome::Done(_));
        match call {
            "submit" => done(binance.submit(withdrawal, now).await),
            "place" => done(binance.place(order, now).await),
            "order" => binance.order(SYMBOL, "o-1", stale).await.is_ok(),
            "order by id" => binance.order_by_id(SYMBOL, "1", stale).await.is_ok(),
            "open orders" => binance.open_orders(SYMBOL, stale).await.is_ok(),
            "trades" => binance.trades(SYMBOL, "1", stale).await.is_ok(),
            "withdrawals" => binance.withdrawals("w-1", now - 10 * DAY_MS, now, stale).await.is_ok(),
            "history" => binance.history(now - DAY_MS, now, stale).await.is_ok(),
            "deposits" => binance.deposits(now - DAY_MS, now, stale).await.is_ok(),
            "top" => binance.top(SYMBOL).await.is_ok(),
            "balances" => binance.balances(stale).await.is_ok(),
            "orders since" => binance.orders_since(SYMBOL, since, now).await.is_ok(),
            "trades since" => binance.trades_since(SYMBOL, since, now).await.is_ok(),
            "cancel" => done(binance.cancel(SYMBOL, "o-1", stale).await),
            "filters" => binance.filters(&"BTC/USDT".parse().unwrap()).await.is_ok(),
            other => panic!("{other}"),
        }
    }
}

/// Every call, and how many slots it takes. The client's withdrawals of ten days are two requests; orders are found by their time
/// first, and then listed by their ids.
const CALLS: [(&str, u32); 15] = [
    ("submit", 0),
    ("place", 0),
    ("order", 1),
    ("order by id", 1),
    ("open orders", 1),
    ("trades", 1),
    ("withdrawals", 2),
    ("history", 1),
    ("deposits", 1),
    ("top", 1),
    ("balances", 1),
    ("orders since", 2),
    ("trades since", 1),
    ("cancel", 1),
    ("filters", 1),
];

#[tokio::test]
async fn every_request_but_a_send_takes_a_slot_and_is_signed_with_its_time() {
    let stand = Stand::new().await;
    for (call, slots) in CALLS {
        let (turns, asked) = (stand.pacer.turns.swap(0, Ordering::Relaxed), stand.exchange.log().await.len());
        assert_eq!(turns, 0, "{call}");
        assert!(stand.call(call).await, "{call} failed");
        assert_eq!(stand.pacer.turns.swap(0, Ordering::Relaxed), slots, "{call}");
        assert_eq!(stand.exchange.log().await.len() - asked, slots.max(1) as usize, "{call}");
    }
}

#[tokio::test]
async fn whatever_is_turned_away_keeps_everybody_away() {
    for (number, (call, _)) in CALLS.into_iter().enumerate() {
        let stand = Stand::new().await;
        let fault = ["rate_limited", "banned"][number % 2];
        stand.exchange.fault_for_all("*", json!({"fault": fault, "retry_after_s": 600})).await;
        assert!(!stand.call(call).await, "{call} went through");
        let pace = stand.desk.books.paces().await.unwrap().remove(0);
        assert!(pace.closed_ms.is_some_and(|ms| ms > 300_000), "{call}: {pace:?}");
    }
}
