//! The placing of an order in the matrix.

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use uuid::Uuid;

use super::operation::{Disturbed, Operation, Order};
use crate::{World, exchange::ORDER};

/// An order that rests, in the name of a strategy that runs.
#[derive(Debug)]
pub struct ExecuteIntent;

impl Operation for ExecuteIntent {
    fn name(&self) -> &'static str {
        "intent"
    }

    fn workflow(&self) -> &'static str {
        "ExecuteIntent"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            let strategy = world.strategy().await;
            let id = format!("i-{}", Uuid::now_v7());
            let input = json!({
                "intent_id": id, "kind": "place_limit_order", "strategy_key": strategy.key, "user_id": strategy.user,
                "venue": "binance", "pair": "BTC/USDT", "side": "sell", "price": "120000", "qty": "0.1",
            });
            Order { id: format!("intent/{id}"), input }
        }
        .boxed()
    }

    fn refusal(&self) -> (&'static str, Value) {
        (ORDER, json!({"fault": "reject", "code": -1013, "method": "POST", "times": 1_000}))
    }

    fn places_orders(&self) -> bool {
        true
    }

    /// An order is never sent twice: of one that was recorded, and is proven not to have been executed, the intent fails.
    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            Disturbed::Not => &["done", "failed"],
            Disturbed::Refused => &["failed"],
            Disturbed::Cancelled => &["cancelled", "done", "failed"],
            Disturbed::Second => &["done", "failed", "Held"],
        }
    }
}
