//! `Withdraw`: pays part of a user's balance out to an address on the user's allow-list, after a second person's approval
//! where the amount demands it.

use std::time::Duration;

use backstop_activities::payouts::{Decide, LedgerActivities};
use backstop_domain::{
    Decision, InvalidInput, WithdrawRequest,
    machine::PayoutState,
    payout::{PayoutOrder, PayoutReceipt},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::{
    call::{Named, ledger},
    desk::{self, Desk, Payer, check_resolve},
    failure::StepFailure,
    input::{RawInput, refuse},
    payout::{begin, carry, show_state},
    progress::{Progress, Tracked},
    saga::{Saga, update},
    search,
    timer::wait_at_most,
};

type Refused = Box<dyn std::error::Error + Send + Sync>;

/// Pays a withdrawal through a venue: exactly once, or the money is back, or an operator is asked.
#[workflow]
pub struct Withdraw {
    request: Result<WithdrawRequest, InvalidInput>,
    progress: Progress,
    desk: Desk,
}

#[workflow_methods]
impl Withdraw {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        Self { request: input.read(WithdrawRequest::read), progress: Progress::default(), desk: Desk::default() }
    }

    /// Check the input → write the request down → perhaps wait for an approval → claim it → submit → confirm → settle.
    /// Gives the receipt.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PayoutReceipt> {
        let request = ctx.state(|withdraw| withdraw.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        let order = PayoutOrder::of_withdrawal(&request, ctx.workflow_id());
        ctx.upsert_search_attributes([
            search::USER_ID.value_set(request.user_id.to_string()),
            search::ASSET_ID.value_set(request.asset_id.to_string()),
        ]);
        let words = format!("{}: {}", order.payout_id, order.in_words());
        update(ctx, |progress| progress.operation.clone_from(&words));
        let mut saga = Saga::new(ctx);
        let requested = begin(&mut saga, "request withdrawal", &LedgerActivities::request, &order);
        let cleared = match requested.run(&format!("request {words}")).await {
            Ok(receipt) if receipt.state == PayoutState::AwaitingApproval => {
                show_state(ctx, &receipt);
                await_approval(ctx, &order, request.approval_timeout).await
            }
            other => other,
        };
        let opened = match cleared {
            Ok(receipt) if receipt.state == PayoutState::Queued => {
                saga.step("claim withdrawal", &LedgerActivities::claim, order.as_ref())
                    .no_undo("abandoning the payout returns its money")
                    .run(&format!("claim {words}"))
                    .await
            }
            other => other,
        };
        carry(saga, order, opened, request.confirm_timeout).await
    }

    /// How the withdrawal stands, step by step.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }

    /// A second person's consent.
    #[update]
    pub async fn approve(ctx: &mut WorkflowContext<Self>, input: RawInput) -> Result<PayoutReceipt, Refused> {
        Ok(decide(ctx, &input, true).await?)
    }

    #[update_validator(approve)]
    fn validate_approve(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(self.check_decision(input)?)
    }

    /// A second person's refusal.
    #[update]
    pub async fn reject(ctx: &mut WorkflowContext<Self>, input: RawInput) -> Result<PayoutReceipt, Refused> {
        Ok(decide(ctx, &input, false).await?)
    }

    #[update_validator(reject)]
    fn validate_reject(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(self.check_decision(input)?)
    }

    /// An operator's word on a withdrawal that the venue does not confirm.
    #[update]
    pub async fn resolve(ctx: &mut WorkflowContext<Self>, input: RawInput) -> Result<Option<PayoutReceipt>, Refused> {
        let request = ctx.state(|withdraw| withdraw.request.clone())?;
        let order = PayoutOrder::of_withdrawal(&request, ctx.workflow_id());
        Ok(desk::resolve(ctx, &order, &input).await?)
    }

    #[update_validator(resolve)]
    fn validate_resolve(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(check_resolve(self, input)?)
    }
}

impl Withdraw {
    fn check_decision(&self, input: &RawInput) -> Result<(), String> {
        input.read(Decision::read).map_err(|invalid| format!("InvalidInput: {invalid}"))?;
        if self.desk.awaits_approval {
            return Ok(());
        }
        Err(format!("NotAllowed: {} is waiting for no approval", self.progress.operation))
    }
}

/// Waits for a second person's word, which the books have once it is here. Nothing is debited meanwhile.
async fn await_approval(
    ctx: &WorkflowContext<Withdraw>,
    order: &PayoutOrder,
    timeout: Duration,
) -> Result<PayoutReceipt, StepFailure> {
    let question = format!(
        "{} needs the approval of somebody other than {}. Answer with an approve or a reject update.",
        order.in_words(),
        order.requested_by.as_ref().map_or("its requester", |id| id.as_str())
    );
    ctx.state_mut(|withdraw| withdraw.desk.awaits_approval = true);
    update(ctx, |progress| progress.waiting_for = Some(question));
    wait_at_most(ctx, timeout, ctx.wait_condition(|withdraw| withdraw.desk.decided.is_some())).await;
    ctx.state_mut(|withdraw| withdraw.desk.awaits_approval = false);
    update(ctx, |progress| progress.waiting_for = None);
    if let Some(receipt) = ctx.state(|withdraw| withdraw.desk.decided.clone()) {
        return Ok(receipt);
    }
    if ctx.cancellation_token().is_cancelled() {
        return Err(StepFailure::Cancelled);
    }
    // A word that is on its way to the books at this moment may come first: then it counts.
    let expire = Named::of(&LedgerActivities::expire);
    let summary = format!("nobody approved {} in time", order.payout_id);
    ledger(ctx, expire, order.as_ref(), &summary, &ctx.cancellation_token()).await
}

async fn decide(ctx: &mut WorkflowContext<Withdraw>, input: &RawInput, approve: bool) -> Result<PayoutReceipt, String> {
    let decision = input.read(Decision::read).map_err(|invalid| format!("InvalidInput: {invalid}"))?;
    let request = ctx.state(|withdraw| withdraw.request.clone()).map_err(|invalid| invalid.to_string())?;
    let payout = PayoutOrder::of_withdrawal(&request, ctx.workflow_id()).as_ref();
    let verb = if approve { "approve" } else { "reject" };
    let summary = format!("{verb} {}, says {}", payout.payout_id, decision.operator);
    let input = Decide { payout, approve, decision };
    let activity = Named::of(&LedgerActivities::decide);
    let token = WorkflowCancellationToken::new();
    let receipt: PayoutReceipt = match ledger(ctx, activity, input, &summary, &token).await {
        Ok(receipt) => receipt,
        Err(StepFailure::Refused(refusal)) => return Err(format!("{}: {refusal}", refusal.kind.name())),
        Err(failure) => return Err(failure.to_string()),
    };
    ctx.state_mut(|withdraw| withdraw.desk.decided = Some(receipt.clone()));
    Ok(receipt)
}

impl Tracked for Withdraw {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

impl Payer for Withdraw {
    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn desk_shown(&self) -> &Desk {
        &self.desk
    }
}
