//! The distribution of a reward in the matrix.

use futures::{FutureExt, future::BoxFuture};

use super::operation::{Disturbed, Operation, Order};
use crate::{World, rewards::reward_workflow};

/// A tenth of a bitcoin for three users, out of a pool that holds enough.
#[derive(Debug)]
pub struct DistributeReward;

impl Operation for DistributeReward {
    fn name(&self) -> &'static str {
        "reward"
    }

    fn workflow(&self) -> &'static str {
        "DistributeReward"
    }

    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order> {
        async move {
            let input = world.reward(&world.pool("0.5").await, "0.1");
            Order { id: reward_workflow(&input), input }
        }
        .boxed()
    }

    fn asks_the_exchange(&self) -> bool {
        false
    }

    /// Distributed already, it answers whoever asks.
    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            Disturbed::Cancelled => &["cancelled", "distributed"],
            Disturbed::Not | Disturbed::Refused | Disturbed::Second => &["distributed"],
        }
    }
}
