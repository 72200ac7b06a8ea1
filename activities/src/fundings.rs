//! The activities of orders that wait for their payments.

use std::{sync::Arc, time::Duration};

use backstop_domain::{FundRequest, FundingStatus, machine::FundingState};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{books::Books, failure::Failure};

/// The input of `funding_open`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenFunding {
    /// The order.
    pub request: FundRequest,
    /// The workflow that carries it.
    pub holder: String,
}

/// The input of `funding_expire`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpireFunding {
    /// Which order.
    pub order_id: String,
    /// The workflow that carries it.
    pub holder: String,
    /// Why it is not waited for any more.
    pub reason: String,
}

/// The input of `funding_keep_refused`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeepRefused {
    /// Which order.
    pub order_id: String,
    /// The refund that was refused.
    pub refund_id: String,
    /// Why.
    pub reason: String,
}

/// The input of `funding_await`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AwaitFunding {
    /// Which order.
    pub order_id: String,
    /// The refunds that the workflow has started.
    pub refunds: Vec<String>,
}

/// The longest pause between two looks at the books.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Transitions of the books, and a look at them. All idempotent.
#[derive(Debug)]
pub struct FundingActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl FundingActivities {
    /// Begins to wait for the payments, and takes up those that came before.
    #[activity(name = "funding_open")]
    pub async fn open(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: OpenFunding,
    ) -> Result<FundingStatus, ActivityError> {
        Ok(self.books.funding_open(&input.request, &input.holder).await.map_err(Failure::from)?)
    }

    /// Ends the waiting, unless the order is funded.
    #[activity(name = "funding_expire")]
    pub async fn expire(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: ExpireFunding,
    ) -> Result<FundingStatus, ActivityError> {
        let expired = self.books.funding_expire(&input.order_id, &input.holder, &input.reason).await;
        Ok(expired.map_err(Failure::from)?)
    }

    /// Leaves a deposit with the user whose refund was refused. Gives whether this call did.
    #[activity(name = "funding_keep_refused")]
    pub async fn keep_refused(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: KeepRefused,
    ) -> Result<bool, ActivityError> {
        let kept = self.books.funding_keep_refused(&input.order_id, &input.refund_id, &input.reason).await;
        Ok(kept.map_err(Failure::from)?)
    }

    /// Reads the order.
    #[activity(name = "funding_status")]
    pub async fn status(
        self: Arc<Self>,
        _ctx: ActivityContext,
        order_id: String,
    ) -> Result<FundingStatus, ActivityError> {
        Ok(self.books.funding_status(&order_id).await.map_err(Failure::from)?)
    }

    /// Answers once the order is no longer waiting, or a refund has to be started. "Not yet" fails, and is tried again.
    #[activity(name = "funding_await")]
    pub async fn wait(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: AwaitFunding,
    ) -> Result<FundingStatus, ActivityError> {
        let status = self.books.funding_status(&input.order_id).await.map_err(Failure::from)?;
        let started = |id: &str| input.refunds.iter().any(|refund| refund == id);
        let to_start = status.refunds.iter().any(|refund| refund.is_to_be_started() && !started(&refund.refund_id));
        if status.state != FundingState::Awaiting || to_start {
            return Ok(status);
        }
        let message = format!("not paid yet: {}", status.in_words());
        let pause = LOOK_MAX.min(Duration::from_millis(250) * ctx.info().attempt);
        Err(Failure::Again { kind: "NotPaidYet", message, after: Some(pause) }.into())
    }
}
