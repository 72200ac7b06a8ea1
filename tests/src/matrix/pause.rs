//! Pause-and-withdraw in the matrix.

use futures::{FutureExt, future::BoxFuture};
use serde_json::json;

use super::operation::{Disturbed, Operation, Order};
use crate::World;

/// A strategy with an order on either side, one of them partly filled, of which more is withdrawn than is free.
#[derive(Debug)]
pub struct PauseAndWithdraw;

impl Operation for PauseAndWithdraw {
    fn name(&self) -> &'static str {
        "pause-and-withdraw"
    }

    fn workflow(&self) -> &'static str {
        "PauseAndWithdraw"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            let strategy = world.strategy().await;
            let order = world.place(&strategy, "sell", "120000", "0.7", true).await;
            world.place(&strategy, "buy", "50000", "0.1", true).await;
            world.exchange.fill(&order, json!({"qty": "0.1", "fee": "12", "fee_asset": "USDT"})).await;
            let input = world.pause(&strategy, "0.45");
            Order { id: format!("pause/{}", input["operation_id"].as_str().unwrap()), input }
        }
        .boxed()
    }

    /// Cancelled before its orders were drained, which may trade on meanwhile.
    fn may_go_on<'a>(&'a self, world: &'a World, order: &'a Order) -> BoxFuture<'a, bool> {
        async move {
            let blocked = "SELECT EXISTS (SELECT FROM pauses WHERE operation_id = $1 AND state = 'blocked')";
            let blocked = sqlx::query_scalar(blocked).bind(order.input["operation_id"].as_str());
            blocked.fetch_one(&mut world.database.owner().await).await.unwrap()
        }
        .boxed()
    }

    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            Disturbed::Not => &["completed"],
            Disturbed::Refused => &["failed"],
            // Cancelled at the moment of the withdrawal, it may have been too late for the one and not for the other.
            Disturbed::Cancelled => &["cancelled", "completed"],
            Disturbed::Second => &["completed", "Held"],
        }
    }
}
