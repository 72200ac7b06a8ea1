//! Intents of a world's strategies, and what both sides say of their orders.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{trading::Strategy, world::World};

/// Where orders are placed, looked up, and cancelled.
pub const ORDER: &str = "/api/v3/order";

/// The workflow's id.
pub fn intent_workflow(intent: &Value) -> String {
    format!("intent/{}", intent["intent_id"].as_str().unwrap())
}

/// The client id of an intent's order, worked out independently of the code under test.
pub fn order_of(intent: &Value) -> String {
    let id = format!("backstop:intent:{}", intent["intent_id"].as_str().unwrap());
    Uuid::new_v5(&Uuid::NAMESPACE_URL, id.as_bytes()).simple().to_string()
}

impl World {
    /// An intent to place a limit order in a strategy's name, with an id of its own.
    pub fn intent(&self, strategy: &Strategy, side: &str, price: &str, quantity: &str) -> Value {
        json!({
            "intent_id": format!("i-{}", Uuid::now_v7()), "kind": "place_limit_order", "strategy_key": strategy.key,
            "user_id": strategy.user, "venue": "binance", "pair": "BTC/USDT", "side": side, "price": price,
            "qty": quantity,
        })
    }

    /// An intent to cancel the order of another.
    pub fn cancel_intent(&self, strategy: &Strategy, other: &Value) -> Value {
        json!({
            "intent_id": format!("c-{}", Uuid::now_v7()), "kind": "cancel_order", "strategy_key": strategy.key,
            "user_id": strategy.user, "venue": "binance", "pair": "BTC/USDT", "order_intent_id": other["intent_id"],
        })
    }

    /// The next sends of an intent's order meet this fault.
    pub async fn fault_on_order(&self, intent: &Value, mut fault: Value) -> String {
        if fault["method"].is_null() {
            fault["method"] = "POST".into();
        }
        fault["client_id"] = order_of(intent).into();
        self.exchange.fault_for_all(ORDER, fault).await
    }

    /// Stops a strategy.
    pub async fn stop_strategy(&self, strategy: &Strategy) {
        let stop = sqlx::query("SELECT strategy_stop($1, 'olga', 'enough')").bind(&strategy.key);
        stop.execute(&mut self.database.worker().await).await.unwrap();
    }

    /// How an intent stands in the books, as `state order-state`.
    pub async fn intent_stands(&self, intent: &Value) -> String {
        let sql = "SELECT concat_ws(' ', i.state, o.state) FROM intents AS i LEFT JOIN orders AS o USING (order_id)
                    WHERE i.intent_id = $1";
        let stands = sqlx::query_scalar(sql).bind(intent["intent_id"].as_str().unwrap());
        stands.fetch_optional(&mut self.database.owner().await).await.unwrap().unwrap_or_else(|| "absent".into())
    }

    /// Waits until the books say of an intent that it is in this state.
    pub async fn intent_is(&self, intent: &Value, state: &str) {
        let sql = "SELECT state FROM intents WHERE intent_id = $1";
        self.books_say(sql, intent["intent_id"].as_str().unwrap(), state).await;
    }
}
