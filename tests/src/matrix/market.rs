//! What others do to a strategy while it runs: a market that moves and trades, and an operator who has had enough of it.
//!
//! It plays beside the fault, and takes whatever is away meanwhile (servers, worker, exchange) for something that comes back.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use temporalio_client::Client;

use super::flow;
use crate::{Database, World};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the market waits for a strategy that is held up before it goes on without it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many intents have to fail before nobody expects quotes any more.
const FAILED_MAX: i64 = 4;
/// How much later than it is made the last trade shows: later than its order's end.
const LATE_MS: u64 = 1_500;
/// How long an operator waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The market of one strategy.
pub(super) struct Market {
    exchange: String,
    http: reqwest::Client,
    database: Database,
    client: Client,
    workflows: [String; 2],
    /// The orders that were there before the market moved last.
    known: HashSet<String>,
}

impl Market {
    /// Of the strategy that one of these workflows runs.
    pub(super) fn of(world: &World, workflows: [String; 2]) -> Self {
        Self {
            exchange: world.exchange.admin_url(),
            http: reqwest::Client::new(),
            database: world.database.clone(),
            client: world.client.clone(),
            workflows,
            known: HashSet::new(),
        }
    }

    /// Trades a part of a quote, moves, trades a part of a quote that follows, which shows late, and has the strategy
    /// stopped at that moment. Without `moves` nothing trades.
    pub(super) async fn play(mut self, moves: bool) {
        if moves && self.is_quoted().await {
            self.trade("SELL", json!({"qty": "0.004"})).await;
            self.known = self.open_orders().await.iter().map(|order| text(order, "id")).collect();
            // Away from what is partly sold, and past what is to be bought, a quarter of which trades in each step.
            self.ask("/settings", json!({"prices": {"BTCUSDT": "99000"}, "fill_share": "0.25"}), reqwest::Method::PUT)
                .await;
        }
        if self.is_quoted().await && moves {
            self.trade("BUY", json!({"qty": "0.003", "visible_from_ms": now_ms() + LATE_MS})).await;
        }
        // Whoever was started anew has not heard it yet.
        let mut looks = tokio::time::interval(LOOK_EVERY * 10);
        loop {
            looks.tick().await;
            for id in &self.workflows {
                let word = json!({"operator": "olga", "reason": "the end of the cell"});
                // One that is over, or not there, has nothing to say to it.
                let _ = tokio::time::timeout(ANSWER_MAX, flow::update(&self.client, id, "stop", word)).await;
            }
        }
    }

    /// Waits until the strategy has an order on either side that it did not have before; false when it won't have.
    async fn is_quoted(&self) -> bool {
        let looking = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                let open = self.open_orders().await;
                let quotes = |side: &str| {
                    open.iter().any(|order| order["side"] == side && !self.known.contains(&text(order, "id")))
                };
                if quotes("BUY") && quotes("SELL") {
                    return true;
                }
                if open.is_empty() && self.failed().await >= FAILED_MAX {
                    return false;
                }
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap_or(false)
    }

    /// Trades a part of the youngest order of a side.
    async fn trade(&self, side: &str, fill: Value) {
        let open = self.open_orders().await;
        if let Some(order) = open.iter().rfind(|order| order["side"] == side) {
            let path = format!("/orders/{}/fill", text(order, "id"));
            self.ask(&path, fill, reqwest::Method::POST).await;
        }
    }

    /// Nothing, where the exchange can't be asked.
    async fn open_orders(&self) -> Vec<Value> {
        let orders = self.ask("/orders", Value::Null, reqwest::Method::GET).await;
        let is_open = |order: &Value| matches!(order["state"].as_str(), Some("NEW" | "PARTIALLY_FILLED"));
        orders.as_array().cloned().unwrap_or_default().into_iter().filter(is_open).collect()
    }

    async fn ask(&self, path: &str, body: Value, method: reqwest::Method) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.exchange));
        let request = if body.is_null() { request } else { request.json(&body) };
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    async fn failed(&self) -> i64 {
        let Some(mut books) = self.database.try_owner().await else { return 0 };
        let failed = sqlx::query_scalar("SELECT count(*) FROM intents WHERE state = 'failed'");
        failed.fetch_one(&mut books).await.unwrap_or_default()
    }
}

fn text(order: &Value, field: &str) -> String {
    order[field].as_str().unwrap_or_default().to_owned()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
