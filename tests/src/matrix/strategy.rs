//! The trading loop in the matrix.

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    market::Market,
    operation::{Disturbed, Operation, Order},
};
use crate::{World, exchange::ORDER};

/// A market maker with a quote on either side, in a market that trades parts of them and moves, until it is stopped.
#[derive(Debug, Default)]
pub struct RunStrategy {
    /// The market stands still: what the cells must not be about.
    pub still: bool,
}

/// Steps of its own, and those in which what it quotes meets the exchange. The others are tried with the `intent` saga.
const OWN: [&str; 4] = ["strategy_", "venue_drain", "venue_place", "venue_cancel_order"];

/// Orders that ended with a part of them traded.
const PARTLY_FILLED: &str = "
    SELECT count(*) FROM orders AS o
      JOIN (SELECT order_id, sum(base) AS base FROM fills GROUP BY order_id) AS f USING (order_id)
     WHERE o.state = 'ended' AND f.base < o.quantity";

impl Operation for RunStrategy {
    fn name(&self) -> &'static str {
        "run-strategy"
    }

    fn workflow(&self) -> &'static str {
        "RunStrategy"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            // Every trade shows a little later than it is made.
            world.exchange.set(json!({"trade_delay_ms": 300})).await;
            // Another strategy trades the same.
            let user = world.true_strategy().await.user;
            let key = format!("mm-{}", Uuid::now_v7());
            let input = json!({
                "start_id": format!("start-{key}"), "strategy_key": key, "user_id": user, "venue": "binance",
                "pair": "BTC/USDT", "requested_by": "rita", "tick_ms": 250,
                "parameters": {"spread_bps": 40, "order_size": "0.01", "layers": 1, "layer_step_bps": 20,
                               "refresh_tolerance_bps": 10},
            });
            Order { id: format!("strategy/{key}"), input }
        }
        .boxed()
    }

    fn meanwhile(&self, world: &World, order: &Order) -> Option<BoxFuture<'static, ()>> {
        let workflows = [order.id.clone(), order.other_id()];
        Some(Market::of(world, workflows).play(!self.still).boxed())
    }

    fn lacks<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Vec<String>> {
        async move {
            let partly = sqlx::query_scalar::<_, i64>(PARTLY_FILLED);
            let partly = partly.fetch_one(&mut world.database.owner().await).await.unwrap();
            let late = late_trades(world).await;
            let few = [("orders filled in part", partly, 2), ("trades later than their orders' ends", late, 1)];
            let few = few.into_iter().filter(|(_, seen, least)| seen < least);
            few.map(|(what, seen, least)| format!("{seen} {what}, not {least}")).collect()
        }
        .boxed()
    }

    fn refusal(&self) -> (&'static str, Value) {
        (ORDER, json!({"fault": "reject", "code": -1013, "method": "POST", "times": 1_000}))
    }

    fn is_anothers(&self, step: &str) -> bool {
        !OWN.iter().any(|own| step.starts_with(own))
    }

    fn is_watched(&self) -> bool {
        true
    }

    /// What has traded in its name, and is over, shows among the open orders of nobody.
    fn is_reconciled(&self) -> bool {
        true
    }

    /// Intents to cancel, whose orders the drain has ended meanwhile.
    fn leaves_children(&self) -> bool {
        true
    }

    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            Disturbed::Not | Disturbed::Refused => &["completed"],
            Disturbed::Cancelled => &["cancelled", "completed"],
            Disturbed::Second => &["completed", "Held"],
        }
    }
}

/// How many trades the exchange showed only after it had ended their orders.
async fn late_trades(world: &World) -> i64 {
    let orders = world.exchange.all_orders().await;
    let is_late = |trade: &Value| {
        let order = orders.iter().find(|order| order["id"] == trade["order_id"]);
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        order.is_some_and(|order| number(&trade["visible_from_ms"]) > number(&order["updated_at_ms"]))
    };
    let late = world.exchange.all_trades().await.iter().filter(|trade| is_late(trade)).count();
    i64::try_from(late).unwrap()
}
