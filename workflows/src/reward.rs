//! `DistributeReward`: splits an amount of a pool among users, all of them or none.

use backstop_activities::{
    intents::Because,
    rewards::{AbandonReward, Distribute, RewardActivities},
};
use backstop_domain::{InvalidInput, RewardReceipt, RewardRequest};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

use crate::{
    input::{RawInput, refuse},
    payout::show,
    progress::{Progress, Tracked},
    saga::{Saga, Unwound, update},
    search,
};

/// Distributes a reward: exactly once, or never.
#[workflow]
pub struct DistributeReward {
    request: Result<RewardRequest, InvalidInput>,
    progress: Progress,
}

#[workflow_methods]
impl DistributeReward {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        Self { request: input.read(RewardRequest::read), progress: Progress::default() }
    }

    /// Check the input → credit everybody in one commit. Gives the receipt.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<RewardReceipt> {
        let request = ctx.state(|reward| reward.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        ctx.upsert_search_attributes([search::ASSET_ID.value_set(request.asset_id.to_string())]);
        let words = format!("reward/{}: {}", request.reward_id, request.in_words());
        update(ctx, |progress| progress.operation.clone_from(&words));
        let holder = ctx.workflow_id().to_owned();
        let distribute = Distribute { request: request.clone(), holder: holder.clone() };
        let abandon = AbandonReward { request, holder, because: Because::default() };
        let mut saga = Saga::new(ctx);
        let distributed = saga
            .step("distribute reward", &RewardActivities::distribute, distribute.clone())
            .undo("abandon reward", &RewardActivities::abandon, &abandon)
            .run(&format!("distribute {words}"))
            .await;
        let receipt = match distributed {
            Ok(receipt) => receipt,
            Err(failure) => match saga.unwind(failure).await {
                Unwound::Undone(failure) => {
                    show(ctx, "undone");
                    // Whatever failed first: who asked for an end and got it is told so.
                    let cancelled = ctx.cancellation_token().is_cancelled();
                    return Err(if cancelled { WorkflowTermination::cancelled() } else { failure.into() });
                }
                // It had been distributed, by a call of which nobody heard: asked again, the books say how.
                Unwound::TooLate(past) => {
                    let summary = format!("what became of {words}");
                    past.ledger("read the reward", &RewardActivities::distribute, distribute, &summary).await?
                }
            },
        };
        show(ctx, receipt.state.name());
        Ok(receipt)
    }

    /// How the reward stands, step by step.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

impl Tracked for DistributeReward {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
