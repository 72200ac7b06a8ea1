//! `FundOrder`: waits until an order's payments have come in, and sends back what the order does not take.

use std::time::{Duration, SystemTime};

use backstop_activities::{
    fundings::{AwaitFunding, ExpireFunding, FundingActivities, KeepRefused, OpenFunding},
    observations::{ObservationActivities, Observe},
};
use backstop_domain::{
    FundRequest, FundingStatus, InvalidInput, Refusal, funding::FundingRefund, machine::FundingState,
    payout::PayoutReceipt,
};
use futures::FutureExt;
use temporalio_common::WorkflowDefinition;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    StartedChildWorkflow, SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};

use crate::{
    call::{Named, books_options, ledger, venue_options},
    child::Child,
    failure::{StepFailure, classify},
    input::{RawInput, refuse},
    progress::{Progress, StepState, Tracked},
    saga::{begin, note, update},
    search,
    timer::wait_at_most,
    venue_queue,
};

/// How long the venue is asked for new deposits when somebody says that there are some.
const LOOK: Duration = Duration::from_secs(10);
/// The same before the order expires.
const LAST_LOOK: Duration = Duration::from_secs(30);
/// Between the end of a look that somebody asked for and the next: however many ask meanwhile, they get one.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// Waits for an order's payments: it is funded, or all that came goes back.
#[workflow]
pub struct FundOrder {
    request: Result<FundRequest, InvalidInput>,
    progress: Progress,
    woken: bool,
    looked_at: Option<SystemTime>,
}

#[workflow_methods]
impl FundOrder {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        Self { request: input.read(FundRequest::read), progress: Progress::default(), woken: false, looked_at: None }
    }

    /// Check the input → open the order → wait for its payments → refund what it does not take. Gives the order as it is.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<FundingStatus> {
        let request = ctx.state(|fund| fund.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        ctx.upsert_search_attributes([
            search::USER_ID.value_set(request.user_id.to_string()),
            search::VENUE.value_set(request.venue.to_string()),
        ]);
        update(ctx, |progress| progress.operation = format!("order {}: {}", request.order_id, request.in_words()));
        let funding = Funding { order_id: request.order_id.to_string(), holder: ctx.workflow_id().to_owned(), request };
        let mut status = funding.open(ctx).await?;
        let waiting = begin(ctx, "wait for payments", "what came in is refunded");
        let status = loop {
            funding.carry(ctx, status, waiting).await?;
            match funding.read(ctx).await {
                // The books have lost the order since: it is opened anew, and takes up what they have of it.
                Err(StepFailure::Refused(refusal)) if refusal.kind.may_be_lost_books() => {
                    status = funding.open(ctx).await?;
                }
                read => break read?,
            }
        };
        if status.state == FundingState::Expired {
            show(ctx, waiting, StepState::Undone, &status);
        }
        if ctx.cancellation_token().is_cancelled() && status.state == FundingState::Expired {
            return Err(WorkflowTermination::cancelled());
        }
        Ok(status)
    }

    /// Somebody says that a payment has come in. The venue's record decides; this only makes it be read now, or as soon as
    /// the last look is a moment past. What stands in the signal is of no account.
    #[signal]
    pub fn payment_received(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _input: RawInput) {
        self.woken = true;
    }

    /// How the order stands, step by step.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

/// What the waiting brought.
enum Next {
    Changed(FundingStatus),
    /// The books know of no such order any more: they were restored to a moment before it.
    Lost(Refusal),
    TimeIsUp,
    Cancelled,
}

/// The `Refund` workflow as a child.
struct RefundRun;

impl WorkflowDefinition for RefundRun {
    type Input = RawInput;
    type Output = PayoutReceipt;

    fn name(&self) -> &'static str {
        "Refund"
    }
}

/// A refund that was started, here or before.
struct Started {
    refund: FundingRefund,
    step: usize,
    run: Option<StartedChildWorkflow<RefundRun>>,
}

struct Funding {
    order_id: String,
    holder: String,
    request: FundRequest,
}

impl Funding {
    async fn open(&self, ctx: &WorkflowContext<FundOrder>) -> Result<FundingStatus, StepFailure> {
        let step = begin(ctx, "open order", "none: it holds nothing yet, and what comes in goes back");
        let input = OpenFunding { request: self.request.clone(), holder: self.holder.clone() };
        let summary = format!("open order {}: {}", self.order_id, self.request.in_words());
        // Not cancelled half-way: what may be open has to be expired.
        let token = WorkflowCancellationToken::new();
        let opened = ledger(ctx, Named::of(&FundingActivities::open), input, &summary, &token).await;
        match opened {
            Ok(status) => {
                note(ctx, step, StepState::Done, &format!("deposit tag {}", self.request.deposit_tag));
                Ok(status)
            }
            Err(failure) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                Err(failure)
            }
        }
    }

    /// Waits for the payments, and follows the refunds to their ends.
    async fn carry(
        &self,
        ctx: &WorkflowContext<FundOrder>,
        mut status: FundingStatus,
        waiting: usize,
    ) -> Result<(), StepFailure> {
        let mut refunds = Vec::new();
        while status.state == FundingState::Awaiting {
            self.start_refunds(ctx, &status, &mut refunds).await;
            show(ctx, waiting, StepState::Running, &status);
            let next = match self.next(ctx, &status, &refunds).await {
                Next::Changed(status) => Ok(status),
                Next::Lost(refusal) => Err(StepFailure::Refused(refusal)),
                Next::TimeIsUp => self.expire(ctx, "not paid in time").await,
                Next::Cancelled => self.expire(ctx, "cancelled").await,
            };
            status = match next {
                Err(StepFailure::Refused(refusal)) if refusal.kind.may_be_lost_books() => self.open(ctx).await?,
                next => next?,
            };
        }
        let taken = matches!(status.state, FundingState::Funded | FundingState::Released);
        let step = if taken { StepState::Done } else { StepState::Undoing };
        show(ctx, waiting, step, &status);
        self.start_refunds(ctx, &status, &mut refunds).await;
        for refund in refunds {
            self.follow(ctx, refund).await;
        }
        Ok(())
    }

    /// Waits until the books have news, the time is up, or the workflow is cancelled. A signal has the venue read at once.
    async fn next(&self, ctx: &WorkflowContext<FundOrder>, status: &FundingStatus, refunds: &[Started]) -> Next {
        let remaining = Duration::from_millis(status.remaining_ms);
        if ctx.cancellation_token().is_cancelled() {
            return Next::Cancelled;
        }
        if remaining.is_zero() {
            self.look(ctx, LAST_LOOK).await;
            return Next::TimeIsUp;
        }
        let refunds = refunds.iter().map(|started| started.refund.refund_id.clone()).collect();
        let input = AwaitFunding { order_id: self.order_id.clone(), refunds };
        let options = books_options(
            remaining,
            &format!("wait for the payments of order {}", self.order_id),
            &ctx.cancellation_token(),
        );
        let mut waiting = std::pin::pin!(ctx.execute_activity(FundingActivities::wait, input, options));
        loop {
            let mut woken = std::pin::pin!(asked(ctx).fuse());
            temporalio_sdk::workflows::select! {
                news = waiting => return match news.map_err(|error| classify(&error)) {
                    Ok(status) => Next::Changed(status),
                    Err(StepFailure::Cancelled) => Next::Cancelled,
                    Err(StepFailure::Refused(refusal)) => Next::Lost(refusal),
                    Err(_) => {
                        self.look(ctx, LAST_LOOK).await;
                        Next::TimeIsUp
                    }
                },
                () = woken => {
                    if ctx.cancellation_token().is_cancelled() {
                        return Next::Cancelled;
                    }
                    ctx.state_mut(|fund| fund.woken = false);
                    self.look(ctx, LOOK).await;
                    ctx.state_mut(|fund| fund.looked_at = ctx.workflow_time());
                }
            }
        }
    }

    /// Has the venue's deposits read now. What it can't tell now, the watcher reads later.
    async fn look(&self, ctx: &WorkflowContext<FundOrder>, within: Duration) {
        let queue = venue_queue(ctx.task_queue(), self.request.venue.as_str());
        let summary = format!("read the deposits of {}", self.request.venue);
        let options = venue_options(&queue, Some(within), &summary, &WorkflowCancellationToken::new());
        let input = Observe { venue: self.request.venue.to_string() };
        if let Err(error) = ctx.execute_activity(ObservationActivities::deposits, input, options).await {
            tracing::info!(order = self.order_id, %error, "the deposits can't be read now");
        }
    }

    async fn expire(&self, ctx: &WorkflowContext<FundOrder>, reason: &str) -> Result<FundingStatus, StepFailure> {
        let input =
            ExpireFunding { order_id: self.order_id.clone(), holder: self.holder.clone(), reason: reason.to_owned() };
        let summary = format!("expire order {}: {reason}", self.order_id);
        let token = WorkflowCancellationToken::new();
        ledger(ctx, Named::of(&FundingActivities::expire), input, &summary, &token).await
    }

    async fn read(&self, ctx: &WorkflowContext<FundOrder>) -> Result<FundingStatus, StepFailure> {
        let summary = format!("read order {}", self.order_id);
        let token = WorkflowCancellationToken::new();
        ledger(ctx, Named::of(&FundingActivities::status), self.order_id.clone(), &summary, &token).await
    }

    /// Starts the refunds that were not started yet, each once. They run beside the waiting.
    async fn start_refunds(
        &self,
        ctx: &WorkflowContext<FundOrder>,
        status: &FundingStatus,
        started: &mut Vec<Started>,
    ) {
        for refund in &status.refunds {
            if started.iter().any(|known| known.refund.refund_id == refund.refund_id) {
                continue;
            }
            let step = begin(ctx, &format!("refund {}", in_words(refund)), "none: it is a refund");
            let (id, token) = (format!("refund/{}", refund.refund_id), WorkflowCancellationToken::new());
            // One that can't be started now is started again when its end is waited for.
            let run = child(&id, refund, &token).start(ctx, RefundRun).await.ok().flatten();
            started.push(Started { refund: refund.clone(), step, run });
        }
    }

    /// Waits for a refund's end. Should it not be sent back, the deposit stays with the user, and the books say why: also
    /// where the refund was refused before there was anything of it in the books.
    async fn follow(&self, ctx: &WorkflowContext<FundOrder>, started: Started) {
        let Started { refund, step, run } = started;
        let (id, token) = (format!("refund/{}", refund.refund_id), WorkflowCancellationToken::new());
        let end = child(&id, &refund, &token).follow(ctx, || RefundRun, run).await;
        match end.unwrap_or(Err(StepFailure::Cancelled)) {
            Ok(receipt) => note(ctx, step, StepState::Done, receipt.state.name()),
            Err(failure) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                if let StepFailure::Refused(refusal) = failure {
                    self.keep(ctx, refund.refund_id, refusal.message).await;
                }
            }
        }
    }

    /// Leaves a deposit with the user whose refund was refused, unless the books have that refund: they answer for it.
    async fn keep(&self, ctx: &WorkflowContext<FundOrder>, refund_id: String, reason: String) {
        let summary = format!("keep what can't be sent back: {refund_id}");
        let input = KeepRefused { order_id: self.order_id.clone(), refund_id, reason };
        let token = WorkflowCancellationToken::new();
        if let Err(failure) = ledger(ctx, Named::of(&FundingActivities::keep_refused), input, &summary, &token).await {
            tracing::warn!(order = self.order_id, %failure, "what can't be sent back can't be kept either");
        }
    }
}

/// Waits until somebody asks for a look, and the last one is a moment past.
async fn asked(ctx: &WorkflowContext<FundOrder>) {
    let _ = ctx.wait_condition(|fund| fund.woken).await;
    let due = ctx.state(|fund| fund.looked_at).map(|at| at + LOOK_PAUSE);
    let early = due.and_then(|due| due.duration_since(ctx.workflow_time()?).ok());
    if let Some(early) = early.filter(|early| !early.is_zero()) {
        wait_at_most(ctx, early, ctx.cancelled()).await;
    }
}

/// A refund is sent back also when the order was called off: its token is its own.
fn child<'a>(
    id: &'a str,
    refund: &'a FundingRefund,
    token: &'a WorkflowCancellationToken,
) -> Child<'a, impl Fn() -> RawInput> {
    Child { id, summary: "refund of what an order does not take", input: || RawInput::of(refund.input.clone()), token }
}

fn in_words(refund: &FundingRefund) -> String {
    let text = |field: &str| refund.input[field].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("amount"), text("asset_id"))
}

fn show(ctx: &WorkflowContext<FundOrder>, step: usize, state: StepState, status: &FundingStatus) {
    ctx.upsert_search_attributes([search::OPERATION_STATE.value_set(status.state.name().to_owned())]);
    note(ctx, step, state, &status.in_words());
    update(ctx, |progress| status.state.name().clone_into(&mut progress.state));
}

impl Tracked for FundOrder {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
