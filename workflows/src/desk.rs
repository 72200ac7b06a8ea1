//! The operator's desk: what a payout asks a person, and what that person may answer.

use std::time::Duration;

use backstop_activities::payouts::{KnownAttempts, Resolve, VenueActivities};
use backstop_domain::{
    Resolution,
    payout::{PayoutOrder, PayoutReceipt},
};
use futures::{FutureExt, future::FusedFuture};
use temporalio_sdk::{WaitConditionOptions, WorkflowCancellationToken, WorkflowContext};

use crate::{
    call::venue_options,
    failure::{StepFailure, classify},
    input::RawInput,
    progress::Tracked,
    saga::update,
    venue_queue,
};

/// How long an operator's update waits for the venue's record before it is refused.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a workflow that pays out keeps for the operator's update.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk {
    pub(crate) venue: String,
    /// What is known of its attempts.
    pub(crate) known: KnownAttempts,
    resolved: Option<PayoutReceipt>,
    /// True while a second person is asked whether it may go at all.
    pub(crate) awaits_approval: bool,
    /// What that person has made of it.
    pub(crate) decided: Option<PayoutReceipt>,
}

/// A workflow that pays out.
pub(crate) trait Payer: Tracked {
    /// The operator's desk.
    fn desk(&mut self) -> &mut Desk;

    /// The same, for looking.
    fn desk_shown(&self) -> &Desk;
}

/// The end that an operator's update brings, untouched by cancellation.
pub(crate) fn answer<W: Payer>(ctx: &WorkflowContext<W>) -> impl FusedFuture<Output = PayoutReceipt> {
    let detached = WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build();
    let ctx = ctx.clone();
    async move {
        loop {
            let waiting = ctx.wait_condition_with_options(|w| w.desk_shown().resolved.is_some(), detached.clone());
            let _ = waiting.await;
            if let Some(receipt) = ctx.state(|workflow| workflow.desk_shown().resolved.clone()) {
                update(&ctx, |progress| progress.waiting_for = None);
                return receipt;
            }
        }
    }
    .fuse()
}

/// The `resolve` update: an operator's word, refused while nobody asked for it.
pub(crate) fn check_resolve<W: Payer>(workflow: &W, input: &RawInput) -> Result<(), String> {
    input.read(Resolution::read).map_err(|invalid| format!("InvalidInput: {invalid}"))?;
    match workflow.shown().waiting_for {
        Some(_) if !workflow.desk_shown().awaits_approval => Ok(()),
        _ => Err(format!("NotAllowed: {} is waiting for no operator", workflow.shown().operation)),
    }
}

/// Carries an operator's word to the books, by way of the venue's record. Where it is an undo that waits, or the books,
/// the word is that the obstacle is gone, and nothing is decided: the step is tried again.
pub(crate) async fn resolve<W: Payer>(
    ctx: &WorkflowContext<W>,
    order: &PayoutOrder,
    input: &RawInput,
) -> Result<Option<PayoutReceipt>, String> {
    let resolution = input.read(Resolution::read).map_err(|invalid| format!("InvalidInput: {invalid}"))?;
    let venue = ctx.state(|workflow| workflow.desk_shown().venue.clone());
    if venue.is_empty() {
        update(ctx, |progress| progress.waiting_for = None);
        return Ok(None);
    }
    let known = ctx.state(|workflow| workflow.desk_shown().known.clone());
    let summary = format!("resolve {} as {:?}, says {}", order.payout_id, resolution.verdict, resolution.operator);
    let token = WorkflowCancellationToken::new();
    let queue = venue_queue(ctx.task_queue(), &venue);
    let options = venue_options(&queue, Some(RESOLVE_TIMEOUT), &summary, &token);
    let done = ctx
        .execute_activity(VenueActivities::resolve, Resolve { order: order.clone(), known, resolution }, options)
        .await;
    let receipt = done.map_err(|error| match classify(&error) {
        StepFailure::Refused(refusal) => format!("{}: {refusal}", refusal.kind.name()),
        failure => failure.to_string(),
    })?;
    ctx.state_mut(|workflow| workflow.desk().resolved = Some(receipt.clone()));
    Ok(Some(receipt))
}
