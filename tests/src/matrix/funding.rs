//! Order funding in the matrix.

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::operation::{Disturbed, Operation, Order};
use crate::World;

/// An order whose payments are in, one of them too much; and something that it does not need. Two refunds belong to it.
#[derive(Debug)]
pub struct FundOrder;

impl Operation for FundOrder {
    fn name(&self) -> &'static str {
        "order-funding"
    }

    fn workflow(&self) -> &'static str {
        "FundOrder"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            let input = world.funding().await;
            let tag = input["order_id"].as_str().unwrap();
            for (asset, amount) in [("BTC", "0.2"), ("BTC", "0.4"), ("USDT", "1000"), ("ETH", "3")] {
                world.exchange.deposit(tag, asset, amount).await;
            }
            Order { id: format!("funding/{tag}"), input }
        }
        .boxed()
    }

    fn signals(&self, _order: &Order) -> Vec<(&'static str, Value)> {
        vec![("payment_received", json!({}))]
    }

    fn is_unordered(&self, step: &str) -> bool {
        // It waits, reads deposits, and refunds side by side.
        !step.starts_with("funding_open")
    }

    fn is_skippable(&self, step: &str) -> bool {
        // What is in when the order opens is taken up at once.
        step.starts_with("funding_await")
    }

    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            // What the exchange refuses to send back stays with the user.
            Disturbed::Not | Disturbed::Refused => &["funded"],
            Disturbed::Cancelled => &["cancelled", "funded"],
            Disturbed::Second => &["funded", "Held"],
        }
    }
}
