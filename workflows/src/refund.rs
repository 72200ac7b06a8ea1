//! `Refund`: pays part of a user's balance back to the user.

use backstop_activities::payouts::LedgerActivities;
use backstop_domain::{
    InvalidInput, RefundRequest,
    payout::{PayoutOrder, PayoutReceipt},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::{
    desk::{self, Desk, Payer, check_resolve},
    input::{RawInput, refuse},
    payout::{begin, carry},
    progress::{Progress, Tracked},
    saga::{Saga, update},
    search,
};

type Refused = Box<dyn std::error::Error + Send + Sync>;

/// Pays a refund through a venue: exactly once, or the money is back, or an operator is asked.
#[workflow]
pub struct Refund {
    request: Result<RefundRequest, InvalidInput>,
    progress: Progress,
    desk: Desk,
}

#[workflow_methods]
impl Refund {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        Self { request: input.read(RefundRequest::read), progress: Progress::default(), desk: Desk::default() }
    }

    /// Check the input → open the payout → submit → confirm → settle. Gives the receipt.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PayoutReceipt> {
        let request = ctx.state(|refund| refund.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        let order = PayoutOrder::of_refund(&request, ctx.workflow_id());
        ctx.upsert_search_attributes([
            search::USER_ID.value_set(request.user_id.to_string()),
            search::ASSET_ID.value_set(request.asset_id.to_string()),
        ]);
        update(ctx, |progress| progress.operation = format!("{}, {}", order.payout_id, order.in_words()));
        let mut saga = Saga::new(ctx);
        let summary = format!("open payout {}: {}", order.payout_id, order.in_words());
        let opened = begin(&mut saga, "open payout", &LedgerActivities::open, &order).run(&summary).await;
        carry(saga, order, opened, request.confirm_timeout).await
    }

    /// How the refund stands, step by step.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }

    /// An operator's word on a refund that the venue does not confirm.
    #[update]
    pub async fn resolve(ctx: &mut WorkflowContext<Self>, input: RawInput) -> Result<Option<PayoutReceipt>, Refused> {
        let request = ctx.state(|refund| refund.request.clone())?;
        let order = PayoutOrder::of_refund(&request, ctx.workflow_id());
        Ok(desk::resolve(ctx, &order, &input).await?)
    }

    #[update_validator(resolve)]
    fn validate_resolve(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(check_resolve(self, input)?)
    }
}

impl Tracked for Refund {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

impl Payer for Refund {
    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn desk_shown(&self) -> &Desk {
        &self.desk
    }
}
