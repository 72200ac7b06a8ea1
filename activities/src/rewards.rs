//! The ledger activities of rewards.

use std::sync::Arc;

use backstop_domain::{RewardReceipt, RewardRequest};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{books::Books, failure::Failure, intents::Because};

/// The input of `reward_distribute`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Distribute {
    /// The reward.
    pub request: RewardRequest,
    /// The workflow that carries it.
    pub holder: String,
}

/// The input of `reward_abandon`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AbandonReward {
    /// The reward.
    pub request: RewardRequest,
    /// The workflow that carries it.
    pub holder: String,
    /// What made it necessary; the saga fills it in.
    pub because: Because,
}

/// Transitions of the books. All idempotent.
#[derive(Debug)]
pub struct RewardActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl RewardActivities {
    /// pool available → users available, and the platform's fee to the house.
    #[activity(name = "reward_distribute")]
    pub async fn distribute(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: Distribute,
    ) -> Result<RewardReceipt, ActivityError> {
        let distributed = self.books.reward_distribute(&input.request, &input.holder).await;
        Ok(distributed.map_err(Failure::from)?.receipt)
    }

    /// Undoes `reward_distribute` where it has not run, so that it never does.
    #[activity(name = "reward_abandon")]
    pub async fn abandon(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: AbandonReward,
    ) -> Result<RewardReceipt, ActivityError> {
        let reason = format!("undone by workflow {}: {}", input.holder, input.because.message);
        let abandoned = self.books.reward_abandon(&input.request, &input.holder, &reason).await;
        Ok(abandoned.map_err(Failure::from)?.receipt)
    }
}
