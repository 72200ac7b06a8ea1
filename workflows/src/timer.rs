//! Timers that live through a cancellation.
//!
//! A timer of the SDK (1.1.1) that hangs on the workflow's own cancellation token is ended as soon as the activation's job
//! "cancel" is applied. Should a later job of the same activation fire that timer, as after a moment without a worker, the
//! workflow panics, in every replay again, until it is terminated. So each timer gets a token of its own here, which is
//! cancelled only when the workflow's code runs: by then every job of the activation has been applied.

use std::time::Duration;

use futures::future::{FusedFuture, pending};
use temporalio_sdk::{TimerOptions, WorkflowCancellationToken, WorkflowContext};

/// Waits so long, unless something else comes first, which is then given; the timer ends with the wait. A wait that is to
/// end when the workflow is cancelled needs an `unless` that does.
#[allow(clippy::disallowed_methods)] // the one place for it
pub(crate) async fn wait_at_most<W, T>(
    ctx: &WorkflowContext<W>,
    length: Duration,
    unless: impl FusedFuture<Output = T>,
) -> Option<T> {
    let token = WorkflowCancellationToken::new();
    let options = TimerOptions::builder(length).cancellation_token(token.clone()).build();
    let mut unless = std::pin::pin!(unless);
    let mut over = std::pin::pin!(ctx.timer(options));
    temporalio_sdk::workflows::select! {
        came = unless => {
            token.cancel();
            Some(came)
        }
        _ = over => None,
    }
}

/// Waits so long, whoever cancels the workflow meanwhile.
pub(crate) async fn wait_out<W>(ctx: &WorkflowContext<W>, length: Duration) {
    wait_at_most(ctx, length, pending::<()>()).await;
}
