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

    /// Nobody outside has a record of it: whether it was credited twice shows in what everybody has.
    fn wrong<'a>(&'a self, world: &'a World, order: &'a Order, ends: &'a [String]) -> BoxFuture<'a, Vec<String>> {
        async move {
            let pool = order.input["pool"].as_str().unwrap();
            let left = world.holds(&format!("~rewards:{pool}"), "BTC").await;
            let has = world.rewarded(&order.input).await;
            let distributed = ends.iter().any(|end| end == "distributed");
            let (part, rest) = if distributed { ("0.033 + 0", "0.4 + 0") } else { ("0 + 0", "0.5 + 0") };
            let fits = left == rest && has.iter().all(|has| has == part);
            if fits { Vec::new() } else { vec![format!("{ends:?}, the pool has {left}, its users {has:?}")] }
        }
        .boxed()
    }

    /// Distributed already, it answers whoever asks.
    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str] {
        match disturbed {
            Disturbed::Cancelled => &["cancelled", "distributed"],
            Disturbed::Not | Disturbed::Refused | Disturbed::Second => &["distributed"],
        }
    }
}
