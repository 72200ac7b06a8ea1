//! Workflows that another one starts and waits for. They outlive it, and the books answer whoever starts one again.

use std::time::Duration;

use temporalio_common::{WorkflowDefinition, data_converters::TemporalDeserializable};
use temporalio_sdk::{
    ChildWorkflowOptions, ChildWorkflowStartError, ParentClosePolicy, StartChildWorkflowExecutionFailedCause,
    StartedChildWorkflow, TimerOptions, WorkflowCancellationToken, WorkflowContext,
};

use crate::failure::{StepFailure, classify_child};

/// Between two looks at a workflow that was not started by this run, or was ended by force.
const PAUSE: Duration = Duration::from_secs(2);

/// A workflow that another one needs, by its own id.
pub(crate) struct Child<'a, I> {
    pub(crate) id: &'a str,
    pub(crate) summary: &'a str,
    /// Made anew for every start.
    pub(crate) input: I,
    /// Whether it is asked to end when its parent is.
    pub(crate) token: &'a WorkflowCancellationToken,
}

impl<I> Child<'_, I> {
    /// Starts it. `None` when it is running already.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) async fn start<W, C>(
        &self,
        ctx: &WorkflowContext<W>,
        workflow: C,
    ) -> Result<Option<StartedChildWorkflow<C>>, StepFailure>
    where
        C: WorkflowDefinition + 'static,
        C::Output: TemporalDeserializable + 'static,
        I: Fn() -> C::Input,
    {
        let options = ChildWorkflowOptions::builder()
            .workflow_id(self.id.to_owned())
            .static_summary(self.summary.to_owned())
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(self.token.clone())
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

    /// Follows it to its end. One that was not started here, as after a restart of its parent, is waited for; one that was
    /// ended by force is started again, because its operation is not over. Cancelling the token asks it to end, and waits
    /// for what it makes of that.
    ///
    /// # Errors
    /// The child's own, or when it can't be started.
    pub(crate) async fn follow<W, C>(
        &self,
        ctx: &WorkflowContext<W>,
        workflow: impl Fn() -> C,
        mut started: Option<StartedChildWorkflow<C>>,
    ) -> Result<C::Output, StepFailure>
    where
        C: WorkflowDefinition + 'static,
        C::Output: TemporalDeserializable + 'static,
        I: Fn() -> C::Input,
    {
        loop {
            if let Some(started) = started {
                match started.result().await {
                    Ok(output) => return Ok(output),
                    Err(error) => {
                        if let Some(failure) = classify_child(&error) {
                            return Err(failure);
                        }
                        tracing::info!(id = self.id, "ended by force; it is started again");
                    }
                }
            }
            // Untouched by cancellation: what was started is not left before its end is known.
            let pause = TimerOptions::builder(PAUSE).cancellation_token(WorkflowCancellationToken::new()).build();
            ctx.timer(pause).await;
            started = self.start(ctx, workflow()).await?;
        }
    }
}
