//! The withdrawal in the matrix.

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::operation::{Disturbed, Operation, Order};
use crate::World;

/// A quarter bitcoin of a user who has one, to an address on the user's list.
#[derive(Debug)]
pub struct Withdraw;

impl Operation for Withdraw {
    fn name(&self) -> &'static str {
        "withdraw"
    }

    fn workflow(&self) -> &'static str {
        "Withdraw"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            let input = world.withdrawal("0.25").await;
            Order { id: format!("withdrawal/{}", input["withdrawal_id"].as_str().unwrap()), input }
        }
        .boxed()
    }

    fn hurry(&self, input: &mut Value, seconds: u64) -> bool {
        input["confirm_timeout_seconds"] = json!(seconds);
        true
    }

    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            Disturbed::Not => &["settled"],
            Disturbed::Refused => &["returned"],
            Disturbed::Cancelled => &["cancelled", "settled"],
            Disturbed::Second => &["settled", "Held"],
        }
    }
}
