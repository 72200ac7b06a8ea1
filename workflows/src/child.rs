//! Workflows that another one starts and waits for. They outlive it, and the books answer whoever starts one again.

use std::time::Duration;

use temporalio_common::{WorkflowDefinition, data_converters::TemporalDeserializable};
use temporalio_sdk::{
    ChildWorkflowOptions, ChildWorkflowStartError, ParentClosePolicy, StartChildWorkflowExecutionFailedCause,
    TimerOptions, WorkflowCancellationToken, WorkflowContext,
};

use crate::failure::{StepFailure, classify_child};

/// Between two looks at a workflow that was not started by this run, or was ended by force.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs a workflow under its own id to its end. One that is running already, as after a restart of this one, is waited
/// for; one that was ended by force is started again, because its operation is not over. Cancelling
/// `token` asks it to end, and waits for what it makes of that.
pub(crate) async fn follow<W, C>(
    ctx: &WorkflowContext<W>,
    workflow: impl Fn() -> C,
    input: impl Fn() -> C::Input,
    id: &str,
    summary: &str,
    token: &WorkflowCancellationToken,
) -> Result<C::Output, StepFailure>
where
    W: 'static,
    C: WorkflowDefinition + 'static,
    C::Output: TemporalDeserializable + 'static,
{
    loop {
        let options = ChildWorkflowOptions::builder()
            .workflow_id(id.to_owned())
            .static_summary(summary.to_owned())
            .parent_close_policy(ParentClosePolicy::Abandon)
            .cancellation_token(token.clone())
            .build();
        match ctx.start_child_workflow(workflow(), input(), options).await {
            Ok(started) => match started.result().await {
                Ok(output) => return Ok(output),
                Err(error) => match classify_child(&error) {
                    Some(failure) => return Err(failure),
                    None => tracing::info!(id, "ended by force; it is started again"),
                },
            },
            Err(ChildWorkflowStartError::StartFailed {
                cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
                ..
            }) => {}
            Err(ChildWorkflowStartError::Cancelled(_)) => return Err(StepFailure::Cancelled),
            Err(error) => return Err(StepFailure::Failed(error.to_string())),
        }
        // Untouched by cancellation: what was started is not left before its end is known.
        let pause = TimerOptions::builder(PAUSE).cancellation_token(WorkflowCancellationToken::new()).build();
        ctx.timer(pause).await;
    }
}
