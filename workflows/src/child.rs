//! Workflows that another one starts, and payouts that it waits for. They outlive it, and the books answer whoever starts
//! one again.

use std::time::Duration;

use backstop_activities::payouts::LedgerActivities;
use backstop_domain::{PayoutId, RefusalKind, payout::PayoutReceipt};
use temporalio_common::{WorkflowDefinition, data_converters::TemporalDeserializable};
use temporalio_sdk::{
    CancellableFuture, ChildWorkflowExecutionError, ChildWorkflowOptions, ChildWorkflowStartError, ParentClosePolicy,
    StartChildWorkflowExecutionFailedCause, StartedChildWorkflow, WorkflowCancellationToken, WorkflowContext,
};

use crate::{
    call::books_options,
    failure::{StepFailure, classify, classify_child},
    input::RawInput,
    timer::wait_out,
};

/// Before a payout whose workflow was ended by force is started again.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the books are waited for before it is looked whether a payout that was not started by this run still has its
/// workflow: at first, and at most. The books are asked all the while, at no cost to the history.
const WATCH_FIRST: Duration = Duration::from_secs(4);
const WATCH_MAX: Duration = Duration::from_secs(600);

/// The workflow of an operation that another one needs, by the operation's own id.
pub(crate) struct Child<'a, I> {
    pub(crate) id: &'a str,
    pub(crate) summary: &'a str,
    /// Made anew for every start.
    pub(crate) input: I,
    /// Whether it is asked to end when its parent is.
    pub(crate) token: &'a WorkflowCancellationToken,
}

/// How a payout ended. Nothing when it was called off while none of its workflows was started by this run and could be told
/// so: one may be at work all the same, and pay.
pub(crate) type End = Option<Result<PayoutReceipt, StepFailure>>;

impl<I: Fn() -> RawInput> Child<'_, I> {
    /// Starts it. `None` when it is running already.
    ///
    /// # Errors
    /// When it can't be started, or the token was cancelled before it was.
    pub(crate) async fn start<W, C>(
        &self,
        ctx: &WorkflowContext<W>,
        workflow: C,
    ) -> Result<Option<StartedChildWorkflow<C>>, StepFailure>
    where
        C: WorkflowDefinition<Input = RawInput> + 'static,
        C::Output: TemporalDeserializable + 'static,
    {
        if self.token.is_cancelled() {
            return Err(StepFailure::Cancelled);
        }
        // A token of its own: see `result`. One that is cancelled while it starts is asked to end once it has.
        let options = ChildWorkflowOptions::builder()
            .workflow_id(self.id.to_owned())
            .static_summary(self.summary.to_owned())
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        match ctx.start_child_workflow(workflow, (self.input)(), options).await {
            Ok(started) => Ok(Some(started)),
            Err(ChildWorkflowStartError::StartFailed {
                cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
                ..
            }) => Ok(None),
            Err(ChildWorkflowStartError::Cancelled(_)) => Err(StepFailure::Cancelled),
            Err(error) => Err(StepFailure::Failed(error.to_string())),
        }
    }

    /// Starts it, and follows it to its end.
    pub(crate) async fn run<W, C>(&self, ctx: &WorkflowContext<W>, workflow: impl Fn() -> C) -> End
    where
        C: WorkflowDefinition<Input = RawInput, Output = PayoutReceipt> + 'static,
    {
        match self.start(ctx, workflow()).await {
            Ok(started) => self.follow(ctx, workflow, started).await,
            // What has not begun says nothing of what others have begun.
            Err(StepFailure::Cancelled) => None,
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Follows it to its end. One that was not started here, as after a restart of its parent, is followed in the books; one
    /// that was ended by force is started again, because its operation is not over. Cancelling the token asks one that was
    /// started here to end, and waits for what it makes of that.
    pub(crate) async fn follow<W, C>(
        &self,
        ctx: &WorkflowContext<W>,
        workflow: impl Fn() -> C,
        mut started: Option<StartedChildWorkflow<C>>,
    ) -> End
    where
        C: WorkflowDefinition<Input = RawInput, Output = PayoutReceipt> + 'static,
    {
        let mut watch = WATCH_FIRST;
        loop {
            let is_running = match started {
                None => true,
                Some(started) => match self.result(started).await {
                    Ok(receipt) => return Some(Ok(receipt)),
                    Err(error) => match classify_child(&error) {
                        // Another workflow carries it: that one's end is its end.
                        Some(StepFailure::Refused(refusal)) if refusal.kind == RefusalKind::Held => true,
                        Some(failure) => return Some(Err(failure)),
                        None => false,
                    },
                },
            };
            if is_running {
                match self.wait_for_books(ctx, watch).await {
                    Ok(receipt) => return Some(Ok(receipt)),
                    Err(StepFailure::Cancelled) => return None,
                    Err(_) => watch = WATCH_MAX.min(watch * 2),
                }
            } else {
                tracing::info!(id = self.id, "ended by force; it is started again");
                // Untouched by cancellation: what was started is not left before its end is known.
                wait_out(ctx, PAUSE).await;
            }
            started = match self.start(ctx, workflow()).await {
                Ok(started) => started,
                Err(StepFailure::Cancelled) => return None,
                Err(failure) => return Some(Err(failure)),
            };
        }
    }

    /// Waits for the end of one that was started here, and asks it to end when the token is cancelled: by a command of this
    /// code, not by the SDK's own hand. That would send it while it reads the task (1.1.1), and should the same task bring the
    /// child's termination, the parent would be stuck for ever; for a child that is just being started it would be lost.
    async fn result<C>(&self, started: StartedChildWorkflow<C>) -> Result<C::Output, ChildWorkflowExecutionError>
    where
        C: WorkflowDefinition<Input = RawInput, Output = PayoutReceipt> + 'static,
    {
        let mut end = std::pin::pin!(started.result());
        let mut called_off = std::pin::pin!(self.token.cancelled());
        temporalio_sdk::workflows::select! {
            end = end => end,
            () = called_off => {
                end.cancel();
                end.await
            }
        }
    }

    /// Waits until the books say that the payout is over.
    async fn wait_for_books<W>(
        &self,
        ctx: &WorkflowContext<W>,
        within: Duration,
    ) -> Result<PayoutReceipt, StepFailure> {
        let options = books_options(within, &format!("wait for the end of {}", self.id), self.token);
        ctx.execute_activity(LedgerActivities::ended, PayoutId::from_books(self.id), options)
            .await
            .map_err(|error| classify(&error))
    }
}
