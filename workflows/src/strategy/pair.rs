//! Whether the venue lists what a strategy is to trade.

use backstop_activities::{
    orders::Market,
    strategies::{StrategyActivities, TickActivities},
};
use backstop_domain::strategy::Ticks;
use temporalio_sdk::{WorkflowCancellationToken, WorkflowContext};

use super::{Run, RunStrategy};
use crate::{
    call::{Named, ledger, venue_options},
    failure::{StepFailure, classify},
    progress::StepState,
    saga::{begin, note},
    venue_queue,
};

impl Run {
    /// Holds the pair of a new start against the venue's markets, before anything is written: one that the venue refuses could
    /// never be looked at again. A venue that does not answer is asked until it does. False when it is stopped before.
    pub(super) async fn is_listed(&self, ctx: &WorkflowContext<RunStrategy>) -> Result<bool, StepFailure> {
        if self.request.before != Ticks::default() {
            return Ok(true);
        }
        let (request, detached) = (self.request.clone(), WorkflowCancellationToken::new());
        let summary = format!("see whether strategy {} is new", request.strategy_key);
        if !ledger(ctx, Named::of(&StrategyActivities::is_new), request.clone(), &summary, &detached).await? {
            return Ok(true);
        }
        let step = begin(ctx, "look the pair up", "none: nothing changes");
        let queue = venue_queue(ctx.task_queue(), request.venue.as_str());
        let token = ctx.cancellation_token().child_token();
        let summary = format!("look {} up at {}", request.pair, request.venue);
        let options = venue_options(&queue, None, &summary, &token);
        let looked =
            std::pin::pin!(ctx.execute_activity(TickActivities::market, Market { pair: request.pair }, options));
        let (mut looked, mut stopped) =
            (looked, std::pin::pin!(ctx.wait_condition(|strategy| strategy.stop.is_some())));
        let answer = temporalio_sdk::workflows::select! {
            answer = looked => Some(answer.map_err(|error| classify(&error))),
            _ = stopped => None,
        };
        match answer {
            Some(Ok(said)) => note(ctx, step, StepState::Done, &said),
            Some(Err(failure)) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                return Err(failure);
            }
            None => {
                token.cancel();
                note(ctx, step, StepState::Skipped, "stopped before the venue answered");
                return Ok(false);
            }
        }
        Ok(true)
    }
}
