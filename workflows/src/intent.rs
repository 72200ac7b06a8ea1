//! `ExecuteIntent`: places or cancels one order in a strategy's name, once, in the order of the strategy's tickets.

use std::time::Duration;

use backstop_activities::{
    intents::{AbandonIntent, Because, FinishIntent, GateActivities, HeldIntent, IntentActivities, VoidIntent},
    orders::{Found, Market, OrderActivities, Placed},
};
use backstop_domain::{Claim, IntentReceipt, IntentRequest, InvalidInput, LimitOrder, machine::IntentState};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::{
    call::{Named, gate_options, ledger, venue_options},
    failure::{StepFailure, classify, typed},
    gates_queue,
    input::{RawInput, refuse},
    progress::{Progress, StepState, Tracked},
    saga::{Past, Pivot, Saga, Unwound, begin, note, update},
    search, venue_queue,
};

/// How long the venue may take to tell its rules.
const RULES_WITHIN: Duration = Duration::from_secs(30);
/// How long an order may wait for its turn, and until the venue takes it. Its sends are counted by the activity.
const SEND_WITHIN: Duration = Duration::from_secs(180);
/// How long the venue may take to end an order that is cancelled.
const CANCEL_WITHIN: Duration = Duration::from_secs(60);
/// How often an order is looked up of which the books and the venue keep saying different things.
const LOOKS_MAX: u32 = 20;

/// Executes an intent: exactly once, or nothing was sent and the money is free.
#[workflow]
pub struct ExecuteIntent {
    request: Result<IntentRequest, InvalidInput>,
    progress: Progress,
}

#[workflow_methods]
impl ExecuteIntent {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        Self { request: input.read(IntentRequest::read), progress: Progress::default() }
    }

    /// Check the input, also against the venue's rules → take a ticket → pass the gates → set the funds aside → place the
    /// order → record it. Gives the receipt.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<IntentReceipt> {
        let request = ctx.state(|intent| intent.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        ctx.upsert_search_attributes([
            search::USER_ID.value_set(request.user_id.to_string()),
            search::VENUE.value_set(request.venue.to_string()),
            search::STRATEGY_KEY.value_set(request.strategy_key.to_string()),
        ]);
        let words = format!("intent {}: {}", request.intent_id, request.in_words());
        update(ctx, |progress| progress.operation.clone_from(&words));
        let venue_queue = venue_queue(ctx.task_queue(), request.venue.as_str());
        let intent = Intent { held: HeldIntent { request, holder: ctx.workflow_id().to_owned() }, words, venue_queue };
        let receipt = intent.execute(ctx).await?;
        show(ctx, receipt.state.name());
        Ok(receipt)
    }

    /// How the intent stands, step by step.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

type Ctx = WorkflowContext<ExecuteIntent>;
type Ended = Result<IntentReceipt, WorkflowTermination>;

struct Intent {
    held: HeldIntent,
    words: String,
    venue_queue: String,
}

impl Intent {
    /// From wherever the books say that the intent is, to its end.
    async fn execute(&self, ctx: &Ctx) -> Ended {
        let mut saga = Saga::new(ctx);
        let known = saga
            .step("look into the books", &IntentActivities::check, self.held.clone())
            .no_undo("nothing changes")
            .run(&format!("look for {}", self.words))
            .await?;
        if known.state.is_final() {
            return Ok(known);
        }
        if let (IntentState::Absent, Some(order)) = (known.state, self.held.request.order()) {
            // Of one that is on its way the venue has the last word.
            self.check_rules(ctx, order).await?;
        }
        let opened = saga
            .step("take a ticket", &IntentActivities::open, self.held.clone())
            .undo("end the intent", &IntentActivities::abandon, &self.abandon())
            .run(&format!("take a ticket for {}", self.words))
            .await;
        match opened {
            Ok(receipt) if receipt.state.is_final() => return Ok(receipt),
            Ok(receipt) => show(ctx, receipt.state.name()),
            Err(failure) => return self.undo(saga, failure).await,
        }
        match self.pass_the_gates(ctx).await {
            Ok(claim) if claim.claimed => show(ctx, claim.state.name()),
            Ok(claim) => return self.read(ctx).await.unwrap_or_else(|| Err(typed("Failed", claim.to_string()))),
            Err(failure) => return self.undo(saga, failure).await,
        }
        match self.held.request.order() {
            Some(_) => self.place(saga).await,
            None => self.cancel(saga).await,
        }
    }

    /// Holds the order against the venue's own rules.
    async fn check_rules(&self, ctx: &Ctx, order: &LimitOrder) -> Result<(), WorkflowTermination> {
        let request = &self.held.request;
        let step = begin(ctx, "read the venue's rules", "none: nothing changes");
        let summary = format!("read the rules of {} on {}", request.pair, request.venue);
        let options = venue_options(&self.venue_queue, Some(RULES_WITHIN), &summary, &ctx.cancellation_token());
        let input = Market { pair: request.pair.clone() };
        let checked = match ctx.execute_activity(OrderActivities::filters, input, options).await {
            Ok(filters) => filters.check(order.price, order.quantity).map_err(|bad| StepFailure::Refused(bad.into())),
            Err(error) => Err(classify(&error)),
        };
        match checked {
            Ok(()) => note(ctx, step, StepState::Done, "the order keeps to them"),
            Err(failure) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                return Err(failure.into());
            }
        }
        Ok(())
    }

    /// Waits until the intent may be executed. The claim ends with the intent, and needs no undo of its own.
    async fn pass_the_gates(&self, ctx: &Ctx) -> Result<Claim, StepFailure> {
        let step = begin(ctx, "pass the gates", "none: ends with the intent");
        let queue = gates_queue(ctx.task_queue());
        let options = gate_options(&queue, &format!("pass the gates with {}", self.words), &ctx.cancellation_token());
        let passed = ctx.execute_activity(GateActivities::wait, self.held.clone(), options).await;
        let passed = passed.map_err(|error| classify(&error));
        match &passed {
            Ok(claim) => note(ctx, step, StepState::Done, &claim.to_string()),
            Err(failure) => note(ctx, step, StepState::Failed, &failure.to_string()),
        }
        passed
    }

    async fn place(&self, mut saga: Saga<ExecuteIntent>) -> Ended {
        let reserved = saga
            .step("set the funds aside", &IntentActivities::reserve, self.held.clone())
            .undo("release the funds", &IntentActivities::release, &self.abandon())
            .run(&format!("set aside what is needed to {}", self.held.request.in_words()))
            .await;
        match reserved {
            Ok(receipt) if receipt.state.is_final() => return Ok(receipt),
            Ok(_) => {}
            Err(failure) => return self.undo(saga, failure).await,
        }
        let (ctx, summary) = (saga.ctx().clone(), self.held.request.in_words());
        let token = ctx.cancellation_token();
        let options = venue_options(&self.venue_queue, Some(SEND_WITHIN), &summary, &token);
        match saga.pivot("place the order", OrderActivities::place, self.held.clone(), options).await {
            Pivot::Crossed(past, placed) => self.forward(past, placed).await,
            Pivot::Undone(failure) => self.undone(&ctx, failure).await,
        }
    }

    /// Past the pivot: to the venue's true answer, and into the books with it.
    async fn forward(&self, past: Past<ExecuteIntent>, placed: Result<Placed, StepFailure>) -> Ended {
        match placed {
            Ok(Placed::Accepted { venue_order_id }) => return self.finish(&past, venue_order_id).await,
            Ok(Placed::Rejected { reason }) => {
                let receipt = self.void(&past, format!("rejected by the venue: {reason}"), 0, true).await?;
                if receipt.state.is_final() {
                    return Ok(receipt);
                }
            }
            Ok(Placed::Unknown { .. }) | Err(_) => {}
        }
        for _ in 0..LOOKS_MAX {
            let summary = format!("find out whether the venue has order {}", self.held.request.order_id());
            let options = venue_options(&self.venue_queue, None, &summary, &WorkflowCancellationToken::new());
            match past.venue("look the order up", OrderActivities::find, self.held.clone(), options).await? {
                Found::Placed { venue_order_id } => return self.finish(&past, venue_order_id).await,
                Found::Absent { looked_at_ms, reason } => {
                    let receipt = self.void(&past, reason, looked_at_ms, false).await?;
                    if receipt.state.is_final() {
                        return Ok(receipt);
                    }
                }
            }
        }
        Err(typed("Failed", "the books and the venue keep saying different things of the order".into()))
    }

    async fn finish(&self, past: &Past<ExecuteIntent>, venue_order_id: String) -> Ended {
        let summary = format!("record that the venue has order {venue_order_id}");
        let input = FinishIntent { intent: self.held.clone(), venue_order_id: Some(venue_order_id), reason: None };
        Ok(past.ledger("record the order", &IntentActivities::finish, input, &summary).await?)
    }

    async fn void(&self, past: &Past<ExecuteIntent>, reason: String, looked_at_ms: i64, rejected: bool) -> Ended {
        let summary = format!("release the funds of {}", self.words);
        let input = VoidIntent { intent: self.held.clone(), looked_at_ms, rejected, reason };
        Ok(past.ledger("release the funds", &IntentActivities::void, input, &summary).await?)
    }

    /// Cancelling can be repeated, and leaves an order that does not end in time as it is.
    async fn cancel(&self, saga: Saga<ExecuteIntent>) -> Ended {
        let ctx = &saga.ctx().clone();
        let step = begin(ctx, "cancel the order", "none: a cancelled order stays cancelled");
        let summary = self.held.request.in_words();
        let options = venue_options(&self.venue_queue, Some(CANCEL_WITHIN), &summary, &ctx.cancellation_token());
        match ctx.execute_activity(OrderActivities::cancel, self.held.clone(), options).await {
            Ok(cancelled) => {
                note(ctx, step, StepState::Done, &cancelled.to_string());
                let input = FinishIntent {
                    intent: self.held.clone(),
                    venue_order_id: None,
                    reason: Some(cancelled.to_string()),
                };
                let past = saga.already_past();
                Ok(past.ledger("mark as processed", &IntentActivities::finish, input, &self.words).await?)
            }
            Err(error) => {
                let failure = classify(&error);
                note(ctx, step, StepState::Failed, &failure.to_string());
                self.undo(saga, failure).await
            }
        }
    }

    fn abandon(&self) -> AbandonIntent {
        AbandonIntent { intent: self.held.clone(), because: Because::default() }
    }

    async fn undo(&self, saga: Saga<ExecuteIntent>, failure: StepFailure) -> Ended {
        let ctx = saga.ctx().clone();
        match saga.unwind(failure.clone()).await {
            Unwound::Undone(failure) => self.undone(&ctx, failure).await,
            Unwound::TooLate(past) => self.forward(past, Err(failure)).await,
        }
    }

    /// Whoever asked for an end and got it is told so. Otherwise the books tell how the intent ended, if they have it.
    async fn undone(&self, ctx: &Ctx, failure: StepFailure) -> Ended {
        if ctx.cancellation_token().is_cancelled() {
            show(ctx, IntentState::Cancelled.name());
            return Err(WorkflowTermination::cancelled());
        }
        self.read(ctx).await.unwrap_or_else(|| Err(failure.into()))
    }

    /// The receipt of an intent that is over.
    async fn read(&self, ctx: &Ctx) -> Option<Ended> {
        let check = Named::of(&IntentActivities::check);
        let token = WorkflowCancellationToken::new();
        let read = ledger(ctx, check, self.held.clone(), &format!("read {}", self.words), &token).await;
        read.ok().filter(|receipt: &IntentReceipt| receipt.state.is_final()).map(Ok)
    }
}

fn show(ctx: &Ctx, state: &str) {
    ctx.upsert_search_attributes([search::OPERATION_STATE.value_set(state.to_owned())]);
    update(ctx, |progress| state.clone_into(&mut progress.state));
}

impl Tracked for ExecuteIntent {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
