//! `PauseAndWithdraw`: stops a strategy, waits until all its money is free, and pays some of it out.

use std::time::Duration;

use backstop_activities::{
    pauses::{Drained, EndPause, OpenPause, PauseActivities, PauseEnd, StopStrategy},
    payouts::{Abandon, LedgerActivities},
    trading::{Drain, TradingActivities},
};
use backstop_domain::{
    InvalidInput, PauseRequest, PauseStatus, RefusalKind, WithdrawRequest,
    machine::{PauseState, PayoutState},
    payout::{PayoutOrder, PayoutReceipt},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::{
    call::{Named, ledger, venue_options},
    child::{Child, End},
    failure::{StepFailure, classify, typed},
    input::{RawInput, refuse},
    progress::{Progress, StepState, Tracked},
    saga::{Saga, begin, note, update},
    search,
    timer::wait_out,
    venue_queue,
    withdraw::Withdraw,
};

/// How often an operation is taken up anew that the books have lost, as by a restore.
const TRIES_MAX: u32 = 5;
/// Between two tries to call a withdrawal off that failed in a way that no retry policy covers.
const ABANDON_PAUSE: Duration = Duration::from_secs(10);
const FORWARD: &str = "started again, the operation goes on";

/// Stops a strategy and withdraws: one result, however often it is started.
#[workflow]
pub struct PauseAndWithdraw {
    request: Result<PauseRequest, InvalidInput>,
    progress: Progress,
}

#[workflow_methods]
impl PauseAndWithdraw {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        Self { request: input.read(PauseRequest::read), progress: Progress::default() }
    }

    /// Check the input → take the operation up → stop the strategy → drain its orders → withdraw. Gives the operation as
    /// it is.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PauseStatus> {
        let request = ctx.state(|pause| pause.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        ctx.upsert_search_attributes([
            search::USER_ID.value_set(request.user_id.to_string()),
            search::ASSET_ID.value_set(request.asset_id.to_string()),
            search::STRATEGY_KEY.value_set(request.strategy_key.to_string()),
        ]);
        let pause = Pause { holder: ctx.workflow_id().to_owned(), request };
        update(ctx, |progress| progress.operation = pause.in_words());
        let mut known = None;
        for _ in 0..TRIES_MAX {
            match pause.run(ctx, &mut known).await {
                Err(Ended::Lost) => tracing::warn!(operation = %pause.request.operation_id, "lost by the books"),
                Err(Ended::With(termination)) => return Err(termination),
                Ok(status) => return Ok(status),
            }
        }
        let lost = StepFailure::Failed("the books lose the operation again and again".into());
        match pause.block(ctx, lost).await {
            Err(Ended::Lost) => Err(typed("NotFound", "the books have lost the operation".into())),
            Err(Ended::With(termination)) => Err(termination),
            Ok(status) => Ok(status),
        }
    }

    /// How the operation stands, step by step.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

/// How the withdrawal ended.
type Withdrawn = Result<PayoutReceipt, StepFailure>;

/// Why the operation has no result.
enum Ended {
    /// The books were restored to a moment before what has happened: taken up anew, it goes on.
    Lost,
    /// For good, or until somebody starts it again.
    With(WorkflowTermination),
}

impl From<StepFailure> for Ended {
    fn from(failure: StepFailure) -> Self {
        match failure {
            StepFailure::Refused(refusal) if refusal.kind.may_be_lost_books() => Self::Lost,
            failure => Self::With(failure.into()),
        }
    }
}

struct Pause {
    holder: String,
    request: PauseRequest,
}

impl Pause {
    /// From wherever the books say that the operation is, to its end. `known` is how the withdrawal has ended: once that is
    /// known, it is not started again, whatever the books have lost.
    async fn run(
        &self,
        ctx: &WorkflowContext<PauseAndWithdraw>,
        known: &mut Option<Withdrawn>,
    ) -> Result<PauseStatus, Ended> {
        // What is not there at all is no operation that was lost.
        let mut status = self.open(ctx).await.map_err(|failure| Ended::With(failure.into()))?;
        show(ctx, &status);
        if status.state == PauseState::Draining {
            status = match self.stop_and_drain(ctx, &status.venue).await {
                Ok(status) => status,
                Err(StepFailure::Refused(refusal)) if refusal.kind.may_be_lost_books() => return Err(Ended::Lost),
                Err(failure) => self.block(ctx, failure).await?,
            };
            show(ctx, &status);
        }
        if status.state == PauseState::Withdrawing {
            status = self.withdraw(ctx, known).await?;
            show(ctx, &status);
        }
        Ok(status)
    }

    fn in_words(&self) -> String {
        let request = &self.request;
        format!(
            "stop {} and withdraw {} {} of user {}",
            request.strategy_key, request.amount, request.asset_id, request.user_id
        )
    }

    async fn open(&self, ctx: &WorkflowContext<PauseAndWithdraw>) -> Result<PauseStatus, StepFailure> {
        let input = OpenPause { request: self.request.clone(), holder: self.holder.clone() };
        let opening = format!("open operation {}: {}", self.request.operation_id, self.in_words());
        // Not cancelled half-way, here and where it is drained: what may have been committed has to be ended.
        Saga::new(ctx)
            .step("open operation", &PauseActivities::open, input)
            .no_undo(FORWARD)
            .detached()
            .run(&opening)
            .await
    }

    /// Nothing here moves money: whatever goes wrong leaves every reservation as true as it was.
    async fn stop_and_drain(
        &self,
        ctx: &WorkflowContext<PauseAndWithdraw>,
        venue: &str,
    ) -> Result<PauseStatus, StepFailure> {
        let strategy_key = self.request.strategy_key.to_string();
        let mut saga = Saga::new(ctx);
        let halt = StopStrategy {
            strategy_key: strategy_key.clone(),
            by: self.request.requested_by.to_string(),
            reason: format!("operation {}", self.request.operation_id),
        };
        saga.step("stop strategy", &PauseActivities::stop, halt)
            .no_undo("starting it again is for its owner to decide")
            .run(&format!("stop strategy {strategy_key}"))
            .await?;
        let step = begin(ctx, "drain orders", "none: a cancelled order stays cancelled");
        let options = venue_options(
            &venue_queue(ctx.task_queue(), venue),
            Some(self.request.drain_timeout),
            &format!("cancel the orders of strategy {strategy_key}, book their fills, and end them"),
            &ctx.cancellation_token(),
        );
        let drain = Drain { strategy_key, asked: Vec::new() };
        match ctx.execute_activity(TradingActivities::drain, drain, options).await.map_err(|error| classify(&error)) {
            Ok(report) => note(ctx, step, StepState::Done, &report.to_string()),
            Err(failure) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                return Err(failure);
            }
        }
        let drained = Drained { operation_id: self.request.operation_id.to_string(), holder: self.holder.clone() };
        saga.step("all money is free", &PauseActivities::drained, drained)
            .no_undo(FORWARD)
            .detached()
            .run(&format!("strategy {} holds no reservation", self.request.strategy_key))
            .await
    }

    /// Records that the drain did not come to its end, and ends the workflow so. Started again, it goes on. Gives the
    /// operation where the books say that it had come further.
    async fn block(&self, ctx: &WorkflowContext<PauseAndWithdraw>, failure: StepFailure) -> Result<PauseStatus, Ended> {
        let why = match &failure {
            StepFailure::Cancelled => "cancelled before the strategy was drained".to_owned(),
            StepFailure::Expired(open) => format!("not drained in time: {open}"),
            other => other.to_string(),
        };
        let status = self.end(ctx, PauseEnd::Block, &why).await?;
        show(ctx, &status);
        match failure {
            // Another run of it had drained the strategy: it is no longer this drain that it hangs on.
            _ if status.state != PauseState::Blocked => Ok(status),
            StepFailure::Expired(_) => Err(Ended::With(typed("NotDrained", why))),
            other => Err(Ended::With(other.into())),
        }
    }

    async fn withdraw(
        &self,
        ctx: &WorkflowContext<PauseAndWithdraw>,
        known: &mut Option<Withdrawn>,
    ) -> Result<PauseStatus, Ended> {
        let ended = match known.take() {
            Some(ended) => ended,
            None => self.run_withdrawal(ctx).await,
        };
        let (end, why) = match &ended {
            Ok(receipt) if receipt.state == PayoutState::Settled => (PauseEnd::Complete, String::new()),
            Ok(receipt) => (PauseEnd::Fail, receipt.reason.clone().unwrap_or_else(|| receipt.state.name().into())),
            Err(failure) => (PauseEnd::Fail, failure.to_string()),
        };
        *known = Some(ended.clone());
        let status = self.end(ctx, end, &why).await?;
        match ended {
            Err(StepFailure::Cancelled) => {
                show(ctx, &status);
                Err(Ended::With(WorkflowTermination::cancelled()))
            }
            _ => Ok(status),
        }
    }

    async fn run_withdrawal(&self, ctx: &WorkflowContext<PauseAndWithdraw>) -> Withdrawn {
        let id = format!("withdrawal/{}", self.request.operation_id);
        let step = begin(ctx, "withdraw", "the withdrawal's own");
        let input = || RawInput::of(self.request.withdrawal());
        let summary = format!("withdraw {} {}", self.request.amount, self.request.asset_id);
        let (token, detached) = (ctx.cancellation_token(), WorkflowCancellationToken::new());
        let child = |token| Child { id: &id, summary: &summary, input, token };
        let mut end = child(&token).run(ctx, || Withdraw::run).await;
        if end.is_none() {
            end = self.abandon(ctx, &id, &detached).await;
        }
        if end.is_none() {
            end = child(&detached).follow(ctx, || Withdraw::run, None).await;
        }
        let ended = end.unwrap_or_else(|| Err(StepFailure::Failed("its end is not known".into())));
        match &ended {
            Ok(receipt) if receipt.state == PayoutState::Settled => note(ctx, step, StepState::Done, "settled"),
            Ok(receipt) => {
                note(ctx, step, StepState::Failed, receipt.reason.as_deref().unwrap_or(receipt.state.name()));
            }
            Err(failure) => note(ctx, step, StepState::Failed, &failure.to_string()),
        }
        ended
    }

    /// Ends a withdrawal in the books that was called off, whether any workflow is at it or not. Nothing when only its own
    /// end tells whether it is paid: it may have been sent, or is in the hands of another workflow.
    async fn abandon(
        &self,
        ctx: &WorkflowContext<PauseAndWithdraw>,
        id: &str,
        token: &WorkflowCancellationToken,
    ) -> End {
        let request = match WithdrawRequest::read(self.request.withdrawal()) {
            Ok(request) => request,
            Err(invalid) => return Some(Err(StepFailure::Refused(invalid.into()))),
        };
        let order = PayoutOrder::of_withdrawal(&request, id);
        let input = Abandon { order, reason: format!("operation {} was cancelled", self.request.operation_id) };
        let step = begin(ctx, "call the withdrawal off", "none: it is one");
        let summary = format!("abandon {id}");
        loop {
            let abandon = Named::of(&LedgerActivities::abandon);
            match ledger(ctx, abandon, input.clone(), &summary, token).await {
                Ok(receipt) => {
                    note(ctx, step, StepState::Done, receipt.state.name());
                    // It can't pay any more; this only spares it waiting for an approval. It need not run.
                    let _ = ctx.external_workflow(id, None).cancel(None).await;
                    let is_ours = receipt.state == PayoutState::Abandoned;
                    return Some(if is_ours { Err(StepFailure::Cancelled) } else { Ok(receipt) });
                }
                Err(StepFailure::Refused(refusal)) => {
                    note(ctx, step, StepState::Failed, &refusal.message);
                    let is_anothers = matches!(refusal.kind, RefusalKind::Conflict | RefusalKind::InvalidInput);
                    return is_anothers.then_some(Err(StepFailure::Refused(refusal)));
                }
                Err(failure) => {
                    tracing::warn!(%failure, id, "it is tried again to call the withdrawal off");
                    wait_out(ctx, ABANDON_PAUSE).await;
                }
            }
        }
    }

    async fn end(
        &self,
        ctx: &WorkflowContext<PauseAndWithdraw>,
        end: PauseEnd,
        reason: &str,
    ) -> Result<PauseStatus, StepFailure> {
        let title = match end {
            PauseEnd::Block => "block operation",
            PauseEnd::Complete => "complete operation",
            PauseEnd::Fail => "fail operation",
        };
        let step = begin(ctx, title, "none: it says what happened");
        let input = EndPause {
            operation_id: self.request.operation_id.to_string(),
            holder: self.holder.clone(),
            end,
            reason: reason.to_owned(),
        };
        let summary = format!("{title} {}", self.request.operation_id);
        let token = WorkflowCancellationToken::new();
        let result = ledger(ctx, Named::of(&PauseActivities::end), input, &summary, &token).await;
        match &result {
            Ok(_) => note(ctx, step, StepState::Done, reason),
            Err(failure) => note(ctx, step, StepState::Failed, &failure.to_string()),
        }
        result
    }
}

fn show(ctx: &WorkflowContext<PauseAndWithdraw>, status: &PauseStatus) {
    ctx.upsert_search_attributes([
        search::VENUE.value_set(status.venue.clone()),
        search::OPERATION_STATE.value_set(status.state.name().to_owned()),
    ]);
    update(ctx, |progress| status.state.name().clone_into(&mut progress.state));
}

impl Tracked for PauseAndWithdraw {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
