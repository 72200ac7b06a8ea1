//! `Watch`: the one workflow of a venue that reads its records again and again: deposits that have come in, payouts that
//! were returned and paid after all, orders of strategies that trade by hand; and starts operations again whose workflow is gone.

use std::time::Duration;

use backstop_activities::{
    observations::{ObservationActivities, Observe},
    recovery::RecoveryActivities,
    strategies::TickActivities,
};
use backstop_domain::{Fields, InvalidInput};
use serde_json::Value;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::{
    call::{adopt_options, venue_options},
    failure::classify,
    input::{RawInput, refuse},
    progress::{Progress, StepState, Tracked},
    saga::{begin, note, update},
    search,
    timer::wait_at_most,
    venue_queue,
};

/// How long one look may take before the next neighbour gets its turn.
const LOOK: Duration = Duration::from_secs(60);
/// The history is cut off after this many rounds.
const ROUNDS_MAX: u32 = 200;
/// How much less often what is over is looked at again than what comes in.
const REVIEW_EVERY: u32 = 10;

#[derive(Clone, Debug)]
struct WatchRequest {
    venue: String,
    pause: Duration,
}

impl WatchRequest {
    fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let request = Self {
            venue: fields.id("venue")?.to_string(),
            pause: Duration::from_millis(fields.optional_number("pause_ms", 100..=3_600_000)?.unwrap_or(15_000)),
        };
        fields.finish()?;
        Ok(request)
    }
}

/// Watches a venue, for ever.
#[workflow]
pub struct Watch {
    input: RawInput,
    request: Result<WatchRequest, InvalidInput>,
    progress: Progress,
    woken: bool,
}

#[workflow_methods]
impl Watch {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        let request = input.read(WatchRequest::read);
        Self { input, request, progress: Progress::default(), woken: false }
    }

    /// Read deposits → sometimes review what is over → follow orders that no run follows → start again what has lost its workflow → wait, and so on.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        let request = ctx.state(|watch| watch.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        ctx.upsert_search_attributes([search::VENUE.value_set(request.venue.clone())]);
        update(ctx, |progress| {
            progress.operation = format!("watch {}", request.venue);
            "watching".clone_into(&mut progress.state);
        });
        let deposits = begin(ctx, "read deposits", "none: a fact");
        let review = begin(ctx, "review what is over", "none: a fact");
        let follow = begin(ctx, "follow orders that no run follows", "none: facts");
        let adopt = begin(ctx, "start again what has lost its workflow", "none");
        for round in 0..ROUNDS_MAX {
            let queue = venue_queue(ctx.task_queue(), &request.venue);
            let options = |summary: &str| venue_options(&queue, Some(LOOK), summary, &ctx.cancellation_token());
            let input = Observe { venue: request.venue.clone() };
            let read =
                ctx.execute_activity(ObservationActivities::deposits, input.clone(), options("read deposits")).await;
            told(ctx, deposits, read.map_err(|error| classify(&error).to_string()));
            if round % REVIEW_EVERY == 0 {
                let options = options("review what is over");
                let read = ctx.execute_activity(ObservationActivities::review, input.clone(), options).await;
                told(ctx, review, read.map_err(|error| classify(&error).to_string()));
            }
            let options = options("follow orders that no run follows");
            let followed = ctx.execute_activity(TickActivities::follow, input, options).await;
            told(ctx, follow, followed.map_err(|error| classify(&error).to_string()));
            let options = adopt_options("start again what has lost its workflow", &ctx.cancellation_token());
            let adopted = ctx.execute_activity(RecoveryActivities::adopt, (), options).await;
            told(ctx, adopt, adopted.map_err(|error| classify(&error).to_string()));
            if ctx.cancellation_token().is_cancelled() {
                return Err(temporalio_sdk::WorkflowTermination::cancelled());
            }
            wait_at_most(ctx, request.pause, ctx.wait_condition(|watch| watch.woken)).await;
            ctx.state_mut(|watch| watch.woken = false);
        }
        let input = ctx.state(|watch| watch.input.clone());
        ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
        Ok(())
    }

    /// Look now instead of after the pause. What stands in the signal is of no account.
    #[signal]
    pub fn look_now(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _input: RawInput) {
        self.woken = true;
    }

    /// What the last looks came to.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

fn told(ctx: &WorkflowContext<Watch>, step: usize, result: Result<String, String>) {
    match result {
        Ok(text) => note(ctx, step, StepState::Done, &text),
        Err(text) => note(ctx, step, StepState::Failed, &text),
    }
}

impl Tracked for Watch {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
