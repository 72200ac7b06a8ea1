//! The refund in the matrix.

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::operation::{Disturbed, Operation, Order};
use crate::{World, world::payout_id};

/// A quarter bitcoin back to a user who has one.
#[derive(Debug)]
pub struct Refund;

impl Operation for Refund {
    fn name(&self) -> &'static str {
        "refund"
    }

    fn workflow(&self) -> &'static str {
        "Refund"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            let input = world.refund().await;
            Order { id: payout_id(&input), input }
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
