//! The ledger activities of pause-and-withdraw.

use std::sync::Arc;

use backstop_domain::{PauseRequest, PauseStatus};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{books::Books, failure::Failure};

/// The input of `pause_open`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenPause {
    /// The operation.
    pub request: PauseRequest,
    /// The workflow that carries it.
    pub holder: String,
}

/// The input of `strategy_stop`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopStrategy {
    /// Which strategy.
    pub strategy_key: String,
    /// Who stops it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// The input of `pause_drained`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drained {
    /// Which operation.
    pub operation_id: String,
    /// The workflow that carries it.
    pub holder: String,
}

/// How an operation ends, for now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseEnd {
    /// It could not be drained. Started again, it goes on.
    Block,
    /// The withdrawal was paid.
    Complete,
    /// The withdrawal was not paid, and won't be.
    Fail,
}

/// The input of `pause_end`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndPause {
    /// Which operation.
    pub operation_id: String,
    /// The workflow that carries it.
    pub holder: String,
    /// How.
    pub end: PauseEnd,
    /// Why.
    pub reason: String,
}

/// Transitions of the books. All idempotent.
#[derive(Debug)]
pub struct PauseActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl PauseActivities {
    /// Takes the operation up.
    #[activity(name = "pause_open")]
    pub async fn open(self: Arc<Self>, _ctx: ActivityContext, input: OpenPause) -> Result<PauseStatus, ActivityError> {
        Ok(self.books.pause_open(&input.request, &input.holder).await.map_err(Failure::from)?)
    }

    /// Stops the strategy: nothing more is sent in its name. Gives whether it was running.
    #[activity(name = "strategy_stop")]
    pub async fn stop(self: Arc<Self>, _ctx: ActivityContext, input: StopStrategy) -> Result<bool, ActivityError> {
        let stopped = self.books.strategy_stop(&input.strategy_key, &input.by, &input.reason).await;
        Ok(stopped.map_err(Failure::from)?)
    }

    /// Records that all the strategy's money is free.
    #[activity(name = "pause_drained")]
    pub async fn drained(self: Arc<Self>, _ctx: ActivityContext, input: Drained) -> Result<PauseStatus, ActivityError> {
        Ok(self.books.pause_drained(&input.operation_id, &input.holder).await.map_err(Failure::from)?)
    }

    /// Records how it ended.
    #[activity(name = "pause_end")]
    pub async fn end(self: Arc<Self>, _ctx: ActivityContext, input: EndPause) -> Result<PauseStatus, ActivityError> {
        let event = match input.end {
            PauseEnd::Block => "block",
            PauseEnd::Complete => "complete",
            PauseEnd::Fail => "fail",
        };
        let ended = self.books.pause_end(&input.operation_id, &input.holder, event, &input.reason).await;
        Ok(ended.map_err(Failure::from)?)
    }
}
