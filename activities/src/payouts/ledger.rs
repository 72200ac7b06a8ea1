use std::sync::Arc;

use backstop_domain::payout::{PayoutOrder, PayoutReceipt};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{Abandon, Escalate, Return, Settle};
use crate::{books::Books, failpoint, failure::Failure};

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
}
