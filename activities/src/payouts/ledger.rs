use std::{sync::Arc, time::Duration};

use backstop_domain::{
    PayoutId, RefusalKind,
    payout::{PayoutOrder, PayoutReceipt, PayoutRef},
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{Abandon, Decide, Escalate, Return, Settle};
use crate::{
    books::{Books, BooksError},
    failpoint,
    failure::Failure,
};

/// Between two looks at a payout whose end is waited for: at first, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Transitions of the books. All idempotent: made again, they answer with what is.
#[derive(Debug)]
pub struct LedgerActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl LedgerActivities {
    /// user available → in transit.
    #[activity(name = "payout_open")]
    pub async fn open(
        self: Arc<Self>,
        _ctx: ActivityContext,
        order: PayoutOrder,
    ) -> Result<PayoutReceipt, ActivityError> {
        Ok(self.books.payout_open(&order).await.map_err(Failure::from)?.receipt)
    }

    /// Undoes `payout_open`, whether it ran or not.
    #[activity(name = "payout_abandon")]
    pub async fn abandon(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: Abandon,
    ) -> Result<PayoutReceipt, ActivityError> {
        if failpoint::broken("undo_skipped") {
            return Ok(self.books.payout(&input.order.payout_id).await.map_err(Failure::from)?.receipt);
        }
        Ok(self.books.payout_abandon(&input.order, &input.reason).await.map_err(Failure::from)?.receipt)
    }

    /// in transit → world and fees.
    #[activity(name = "payout_settle")]
    pub async fn settle(self: Arc<Self>, _ctx: ActivityContext, input: Settle) -> Result<PayoutReceipt, ActivityError> {
        Ok(self.books.payout_settle(&input.payout, &input.paid).await.map_err(Failure::from)?.receipt)
    }

    /// in transit → user available.
    #[activity(name = "payout_return")]
    pub async fn return_money(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: Return,
    ) -> Result<PayoutReceipt, ActivityError> {
        let reference = input.failed_reference.as_deref();
        let returned = self.books.payout_return(&input.payout, &input.reason, reference).await;
        Ok(returned.map_err(Failure::from)?.receipt)
    }

    /// Calls an operator.
    #[activity(name = "payout_escalate")]
    pub async fn escalate(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: Escalate,
    ) -> Result<PayoutReceipt, ActivityError> {
        Ok(self.books.payout_escalate(&input.payout, &input.evidence).await.map_err(Failure::from)?.receipt)
    }

    /// Answers once the payout is over. "Not yet" fails, and is tried again. One that is not there is not over: its workflow
    /// may not have come that far.
    #[activity(name = "payout_ended")]
    pub async fn ended(
        self: Arc<Self>,
        ctx: ActivityContext,
        payout_id: PayoutId,
    ) -> Result<PayoutReceipt, ActivityError> {
        let state = match self.books.payout(&payout_id).await {
            Ok(standing) if standing.receipt.state.is_final() => return Ok(standing.receipt),
            Ok(standing) => standing.receipt.state.name(),
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => "absent",
            Err(error) => return Err(Failure::from(error).not_before(LOOK_MAX).into()),
        };
        let pause = LOOK_MAX.min(LOOK_FIRST * ctx.info().attempt);
        Err(Failure::Again { kind: "NotOver", message: format!("not over yet: it is {state}"), after: Some(pause) }
            .into())
    }

    /// Writes a withdrawal down, nothing debited yet.
    #[activity(name = "withdrawal_request")]
    pub async fn request(
        self: Arc<Self>,
        _ctx: ActivityContext,
        order: PayoutOrder,
    ) -> Result<PayoutReceipt, ActivityError> {
        Ok(self.books.withdrawal_request(&order).await.map_err(Failure::from)?.receipt)
    }

    /// Takes a second person's word down.
    #[activity(name = "withdrawal_decide")]
    pub async fn decide(self: Arc<Self>, _ctx: ActivityContext, input: Decide) -> Result<PayoutReceipt, ActivityError> {
        let decided = self.books.withdrawal_decide(&input.payout, input.approve, &input.decision).await;
        Ok(decided.map_err(Failure::from)?.receipt)
    }

    /// Ends a withdrawal that nobody decided on in time.
    #[activity(name = "withdrawal_expire")]
    pub async fn expire(
        self: Arc<Self>,
        _ctx: ActivityContext,
        payout: PayoutRef,
    ) -> Result<PayoutReceipt, ActivityError> {
        Ok(self.books.withdrawal_expire(&payout).await.map_err(Failure::from)?.receipt)
    }

    /// user available → in transit, for a withdrawal that may go.
    #[activity(name = "withdrawal_claim")]
    pub async fn claim(
        self: Arc<Self>,
        _ctx: ActivityContext,
        payout: PayoutRef,
    ) -> Result<PayoutReceipt, ActivityError> {
        Ok(self.books.withdrawal_claim(&payout).await.map_err(Failure::from)?.receipt)
    }
}
