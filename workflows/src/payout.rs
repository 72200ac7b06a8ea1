//! How a payout is paid: open → (pivot) attempt and submit → confirm → settle, or the money comes back, or a person is
//! called. Shared by every workflow that pays out.

use std::time::{Duration, SystemTime};

use backstop_activities::payouts::{
    Abandon, Confirm, Escalate, KnownAttempts, LedgerActivities, Return, Settle, VenueActivities,
};
use backstop_domain::{
    machine::PayoutState,
    payout::{Answer, Confirmed, PayoutOrder, PayoutReceipt, PayoutRef, Submitted},
};
use futures::FutureExt;
use temporalio_common::ActivityDefinition;
use temporalio_sdk::{CancellableFuture, WorkflowCancellationToken, WorkflowContext, WorkflowTermination};

use crate::{
    call::venue_options,
    desk::{Payer, answer},
    failure::{StepFailure, classify},
    progress::Tracked,
    saga::{DeclaredStep, Past, Pivot, Saga, Unwound, all_are_answered, update, wait_for_operator},
    search,
    timer::wait_at_most,
    venue_queue,
};

/// A send that vanished without a trace is repeated this often in all, then the money comes back.
const SENDS_MAX: u32 = 5;
/// How long the venue is looked at when its time is over already, as after a long absence of all workers.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Between two looks for a payout whose end can't be booked.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// The first step of every payout: `activity` writes its row, and the row's undo is the one that knows of the pivot.
pub(crate) fn begin<'a, W: Tracked, A>(
    saga: &'a mut Saga<W>,
    title: &str,
    activity: &A,
    order: &PayoutOrder,
) -> DeclaredStep<'a, W, PayoutOrder, PayoutReceipt>
where
    A: ActivityDefinition<Input = PayoutOrder, Output = PayoutReceipt>,
{
    let abandon = Abandon { order: order.clone(), reason: format!("undone by workflow {}", order.holder) };
    saga.step(title, activity, order.clone()).undo("abandon payout", &LedgerActivities::abandon, &abandon)
}

/// Carries a payout from its opening, however that went, to its end: exactly once or not at all.
pub(crate) async fn carry<W: Payer>(
    saga: Saga<W>,
    order: PayoutOrder,
    opened: Result<PayoutReceipt, StepFailure>,
    confirm_timeout: Duration,
) -> Result<PayoutReceipt, WorkflowTermination> {
    let ctx = &saga.ctx().clone();
    let journey = Journey::new(ctx, order, confirm_timeout);
    let ended = match opened {
        Ok(receipt) if receipt.state.is_final() => Ok(receipt),
        Ok(receipt) if receipt.state == PayoutState::Opened => {
            show_state(ctx, &receipt);
            let queue = venue_queue(ctx.task_queue(), &receipt.venue);
            let options =
                venue_options(&queue, Some(confirm_timeout), &journey.says("submit"), &ctx.cancellation_token());
            match saga.pivot("submit to the venue", VenueActivities::submit, journey.order.clone(), options).await {
                Pivot::Crossed(past, sent) => {
                    Ok(journey.forward(past, receipt, Sent::of(sent, KnownAttempts::default())).await)
                }
                Pivot::Undone(failure) => Err(failure),
            }
        }
        Ok(receipt) => Ok(journey.forward(saga.already_past(), receipt, Sent::unheard(0)).await),
        Err(failure) => match saga.unwind(failure).await {
            Unwound::Undone(failure) => Err(failure),
            Unwound::TooLate(past) => {
                let receipt = journey.read(&past).await;
                Ok(journey.forward(past, receipt, Sent::unheard(1)).await)
            }
        },
    };
    if let Ok(receipt) = &ended {
        show_state(ctx, receipt);
    }
    // An operator's update that is still on its way gets its answer first.
    all_are_answered(ctx).await;
    ended.map_err(|failure| undone(ctx, failure))
}

fn undone<W: Tracked>(ctx: &WorkflowContext<W>, failure: StepFailure) -> WorkflowTermination {
    show(ctx, "undone");
    // Whatever failed first: who asked for an end and got it is told so.
    if ctx.cancellation_token().is_cancelled() { WorkflowTermination::cancelled() } else { failure.into() }
}

/// What is known of the last send, and of all there were.
#[derive(PartialEq)]
enum Sent {
    /// The send came back.
    Heard(Submitted),
    /// Nobody heard how it went.
    Unheard(KnownAttempts),
    /// The venue took nothing within the time for sending, or asked for more time than there is; or the books let nothing
    /// more be sent.
    GaveUp(KnownAttempts),
}

impl Sent {
    /// Reads how a send ended, before which so much was known.
    fn of(result: Result<Submitted, StepFailure>, before: KnownAttempts) -> Self {
        match result {
            Ok(submitted) => Self::Heard(submitted),
            Err(StepFailure::Expired(_) | StepFailure::Refused(_)) => Self::GaveUp(before),
            Err(_) => Self::Unheard(before),
        }
    }

    /// An attempt of which nothing else is known.
    fn unheard(count: u32) -> Self {
        Self::Unheard(KnownAttempts { count, accepted_as: None })
    }

    /// What there was, at least. Books that know of less have lost some.
    fn known(&self) -> KnownAttempts {
        match self {
            Self::Heard(Submitted { attempt, outcome }) => KnownAttempts {
                count: *attempt,
                accepted_as: match outcome {
                    Answer::Accepted { venue_reference } => Some(venue_reference.clone()),
                    Answer::Rejected { .. } | Answer::Unknown { .. } => None,
                },
            },
            Self::Unheard(known) | Self::GaveUp(known) => known.clone(),
        }
    }
}

/// A payout past its pivot, on its way to the venue's true answer.
struct Journey {
    order: PayoutOrder,
    payout: PayoutRef,
    give_up_at: Option<SystemTime>,
}

impl Journey {
    fn new<W>(ctx: &WorkflowContext<W>, order: PayoutOrder, confirm_timeout: Duration) -> Self {
        let payout = order.as_ref();
        Self { order, payout, give_up_at: ctx.workflow_time().map(|now| now + confirm_timeout) }
    }

    fn says(&self, verb: &str) -> String {
        format!("{verb} {}: {}", self.payout.payout_id, self.order.in_words())
    }

    /// What is left of the time the venue has, if anything.
    fn remaining<W>(&self, ctx: &WorkflowContext<W>) -> Option<Duration> {
        let remaining = self.give_up_at?.duration_since(ctx.workflow_time()?).ok()?;
        (!remaining.is_zero()).then_some(remaining)
    }

    /// Follows the payout to its end. What goes wrong here is never undone: it becomes a question to an operator.
    async fn forward<W: Payer>(&self, past: Past<W>, receipt: PayoutReceipt, mut sent: Sent) -> PayoutReceipt {
        let ctx = past.ctx();
        show(ctx, PayoutState::Attempted.name());
        ctx.state_mut(|workflow| receipt.venue.clone_into(&mut workflow.desk().venue));
        let queue = venue_queue(ctx.task_queue(), &receipt.venue);
        let ended = match receipt.state {
            PayoutState::NeedsOperator => Err(StepFailure::Failed(receipt.reason.unwrap_or_default())),
            _ => self.follow(&past, &queue, &mut sent).await,
        };
        match ended {
            Ok(receipt) => receipt,
            Err(failure) => self.ask_an_operator(&past, &queue, failure, sent.known()).await,
        }
    }

    async fn follow<W: Payer>(
        &self,
        past: &Past<W>,
        queue: &str,
        sent: &mut Sent,
    ) -> Result<PayoutReceipt, StepFailure> {
        for round in 1..=SENDS_MAX {
            if let Sent::Heard(Submitted { outcome: Answer::Rejected { reason }, .. }) = &*sent {
                return self.give_back(past, format!("rejected by the venue: {reason}"), None).await;
            }
            let within = self.remaining(past.ctx()).unwrap_or(LAST_LOOK);
            let options = venue_options(queue, Some(within), &self.says("confirm"), &WorkflowCancellationToken::new());
            let input = Confirm { order: self.order.clone(), known: sent.known(), slowly: false };
            let confirmed = past.venue("confirm with the venue", VenueActivities::confirm, input, options).await?;
            let gave_up = matches!(sent, Sent::GaveUp(_));
            let may_send = confirmed == Confirmed::Absent && !gave_up && round < SENDS_MAX;
            match self.remaining(past.ctx()) {
                Some(within) if may_send => *sent = self.send_again(past, queue, within, sent.known()).await,
                _ => match self.end(past, confirmed).await {
                    // Not what the venue says, but what the books have lost meanwhile: looked up again, it comes back.
                    Err(StepFailure::Refused(refusal)) if refusal.kind.may_be_lost_books() && round < SENDS_MAX => {}
                    ended => return ended,
                },
            }
        }
        self.end(past, Confirmed::Absent).await
    }

    async fn send_again<W: Payer>(&self, past: &Past<W>, queue: &str, within: Duration, before: KnownAttempts) -> Sent {
        let options = venue_options(queue, Some(within), &self.says("send again"), &WorkflowCancellationToken::new());
        Sent::of(past.venue("send again", VenueActivities::submit, self.order.clone(), options).await, before)
    }

    /// Reads the payout again where its opening's answer was lost.
    async fn read<W: Payer>(&self, past: &Past<W>) -> PayoutReceipt {
        loop {
            match past.ledger("read payout", &LedgerActivities::open, self.order.clone(), &self.says("read")).await {
                Ok(receipt) => return receipt,
                Err(failure) => {
                    let id = &self.payout.payout_id;
                    let question = format!("{id} can't be read: {failure}. Remove the cause, then resolve.");
                    wait_for_operator(past.ctx(), question).await;
                }
            }
        }
    }

    /// Books what the venue's record finally says.
    async fn end<W: Payer>(&self, past: &Past<W>, confirmed: Confirmed) -> Result<PayoutReceipt, StepFailure> {
        match confirmed {
            Confirmed::Paid(paid) => {
                let input = Settle { payout: self.payout.clone(), paid };
                past.ledger("settle payout", &LedgerActivities::settle, input, &self.says("settle")).await
            }
            Confirmed::Failed { venue_reference, reason } => self.give_back(past, reason, Some(venue_reference)).await,
            Confirmed::Absent => self.give_back(past, "no attempt took effect at the venue".into(), None).await,
            Confirmed::Over(receipt) => Ok(*receipt),
        }
    }

    async fn give_back<W: Payer>(
        &self,
        past: &Past<W>,
        reason: String,
        failed_reference: Option<String>,
    ) -> Result<PayoutReceipt, StepFailure> {
        let input = Return { payout: self.payout.clone(), reason, failed_reference };
        past.ledger("return the money", &LedgerActivities::return_money, input, &self.says("return")).await
    }

    /// Calls an operator, goes on looking at a slower pace, and takes whichever answer comes first.
    async fn ask_an_operator<W: Payer>(
        &self,
        past: &Past<W>,
        queue: &str,
        mut failure: StepFailure,
        known: KnownAttempts,
    ) -> PayoutReceipt {
        let ctx = past.ctx();
        ctx.state_mut(|workflow| workflow.desk().known = known.clone());
        loop {
            let input = Escalate { payout: self.payout.clone(), evidence: failure.to_string() };
            match past.ledger("call an operator", &LedgerActivities::escalate, input, &self.says("escalate")).await {
                Ok(receipt) if receipt.state.is_final() => return receipt,
                _ => self.ask(ctx, &failure),
            }
            match self.look_or_hear(past, queue, &known).await {
                Ok(receipt) => {
                    update(ctx, |progress| progress.waiting_for = None);
                    return receipt;
                }
                Err(why) => failure = why,
            }
            // Whatever keeps the answer from being booked may pass: it is looked for again, unless an operator is first.
            self.ask(ctx, &failure);
            if let Some(receipt) = wait_at_most(ctx, LOOK_AGAIN, answer(ctx)).await {
                return receipt;
            }
        }
    }

    /// Looks at the venue's record until it tells something final, or an operator does.
    async fn look_or_hear<W: Payer>(
        &self,
        past: &Past<W>,
        queue: &str,
        known: &KnownAttempts,
    ) -> Result<PayoutReceipt, StepFailure> {
        let ctx = past.ctx();
        let token = WorkflowCancellationToken::new();
        let options = venue_options(queue, None, &self.says("keep looking for"), &token);
        let input = Confirm { order: self.order.clone(), known: known.clone(), slowly: true };
        let mut looking = std::pin::pin!(ctx.execute_activity(VenueActivities::confirm, input, options));
        let mut answered = std::pin::pin!(answer(ctx));
        let confirmed = temporalio_sdk::workflows::select! {
            receipt = answered => {
                // Should the venue's record have come at the same moment, it is booked, or found, all the same.
                match looking.as_mut().now_or_never() {
                    Some(Ok(paid @ Confirmed::Paid(_))) => drop(self.end(past, paid).await),
                    Some(_) => {}
                    None => looking.cancel(),
                }
                return Ok(receipt);
            }
            confirmed = looking => confirmed.map_err(|error| classify(&error))?,
        };
        self.end(past, confirmed).await
    }

    fn ask<W: Tracked>(&self, ctx: &WorkflowContext<W>, failure: &StepFailure) {
        let question = format!(
            "{} is not confirmed ({failure}). Was it paid? Answer with a resolve update.",
            self.payout.payout_id
        );
        update(ctx, |progress| progress.waiting_for = Some(question));
        show(ctx, PayoutState::NeedsOperator.name());
    }
}

pub(crate) fn show_state<W: Tracked>(ctx: &WorkflowContext<W>, receipt: &PayoutReceipt) {
    let state = receipt.state.name();
    ctx.upsert_search_attributes([
        search::VENUE.value_set(receipt.venue.clone()),
        search::OPERATION_STATE.value_set(state.to_owned()),
    ]);
    update(ctx, |progress| state.clone_into(&mut progress.state));
}

pub(crate) fn show<W: Tracked>(ctx: &WorkflowContext<W>, state: &str) {
    ctx.upsert_search_attributes([search::OPERATION_STATE.value_set(state.to_owned())]);
    update(ctx, |progress| state.clone_into(&mut progress.state));
}
