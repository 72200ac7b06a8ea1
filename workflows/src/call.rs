//! How activities are called: ledger transitions locally first, venue calls on the venue's queue.

use std::{marker::PhantomData, time::Duration};

use temporalio_common::{
    ActivityCloseTimeouts, ActivityDefinition, RetryPolicy,
    data_converters::{TemporalDeserializable, TemporalSerializable},
};
use temporalio_sdk::{ActivityOptions, LocalActivityOptions, WorkflowCancellationToken, WorkflowContext};

use crate::failure::{StepFailure, classify};

/// An activity by its name and types, which unlike the macro's own markers can be called again.
pub(crate) struct Named<I, O> {
    name: String,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Named<I, O> {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), types: PhantomData }
    }

    pub(crate) fn of<A: ActivityDefinition<Input = I, Output = O>>(activity: &A) -> Self {
        Self::new(activity.name())
    }
}

impl<I, O> Clone for Named<I, O> {
    fn clone(&self) -> Self {
        Self::new(self.name.clone())
    }
}

impl<I, O> ActivityDefinition for Named<I, O>
where
    I: TemporalDeserializable + TemporalSerializable + 'static,
    O: TemporalDeserializable + TemporalSerializable + 'static,
{
    type Input = I;
    type Output = O;

    fn name(&self) -> &str {
        &self.name
    }
}

const LEDGER_TIMEOUT: Duration = Duration::from_secs(10);
const LOCAL_ATTEMPTS_MAX: u32 = 4;
/// Everything that a venue activity waits for has a time of its own, and a dead worker is noticed by its heartbeats: this
/// only bounds what nobody thought of.
const VENUE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How soon the server notices that a worker died in the middle of a venue call.
const VENUE_HEARTBEAT: Duration = Duration::from_millis(1_500);
/// Venue activities say themselves when they want to be tried again; this is for those that could not say anything.
const VENUE_RETRY: Duration = Duration::from_millis(100);
/// How long it may take to look for the workflows of all operations that are not over.
const ADOPT: Duration = Duration::from_secs(600);
const ADOPT_ATTEMPTS_MAX: u32 = 5;
/// A wait at the gates steps aside by itself before this.
const GATE_TIMEOUT: Duration = Duration::from_secs(15);
/// How soon the server notices that a worker died while it waited there. Seldom: those who wait may be many.
const GATE_HEARTBEAT: Duration = Duration::from_secs(5);

/// Runs a ledger transition: a few times as a local activity, which costs least, then as a regular one, whose retries add
/// nothing to the history and show as pending with their last failure. Ends with a result, a refusal or a cancellation.
pub(crate) async fn ledger<W, I, O>(
    ctx: &WorkflowContext<W>,
    activity: Named<I, O>,
    input: I,
    summary: &str,
    token: &WorkflowCancellationToken,
) -> Result<O, StepFailure>
where
    I: TemporalDeserializable + TemporalSerializable + Clone + 'static,
    O: TemporalDeserializable + TemporalSerializable + 'static,
{
    if token.is_cancelled() {
        return Err(StepFailure::Cancelled);
    }
    let local_retries =
        RetryPolicy::builder().initial_interval(Duration::from_millis(50)).maximum_attempts(LOCAL_ATTEMPTS_MAX).build();
    let local = LocalActivityOptions::builder()
        .start_to_close_timeout(LEDGER_TIMEOUT)
        .schedule_to_close_timeout(LEDGER_TIMEOUT * (LOCAL_ATTEMPTS_MAX + 1))
        .retry_policy(local_retries)
        // It is over soon. The SDK (1.1.1) may fail the task where it is cancelled in the moment it ends.
        .cancellation_token(WorkflowCancellationToken::new())
        .summary(summary.to_owned())
        .build();
    let failure = match ctx.execute_local_activity(activity.clone(), input.clone(), local).await {
        Ok(output) => return Ok(output),
        Err(error) => classify(&error),
    };
    if matches!(failure, StepFailure::Refused(_)) {
        return Err(failure);
    }
    if token.is_cancelled() {
        return Err(StepFailure::Cancelled);
    }
    let retries = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(500))
        .maximum_interval(Duration::from_secs(10))
        .build();
    let regular = ActivityOptions::with_start_to_close_timeout(LEDGER_TIMEOUT)
        .retry_policy(retries)
        .cancellation_token(token.clone())
        .summary(summary.to_owned())
        .build();
    ctx.execute_activity(activity, input, regular).await.map_err(|error| classify(&error))
}

/// The options of a look at the books that is tried again until it has something to tell, or `within` is over.
pub(crate) fn books_options(within: Duration, summary: &str, token: &WorkflowCancellationToken) -> ActivityOptions {
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: within,
        start_to_close: LEDGER_TIMEOUT.min(within),
    };
    let retries = RetryPolicy::builder().initial_interval(VENUE_RETRY).backoff_coefficient(1.0).build();
    ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retries)
        .cancellation_token(token.clone())
        .summary(summary)
        .build()
}

/// The options of a check of the books: the same, and it heartbeats, so that a dead worker is noticed.
pub(crate) fn check_options(within: Duration, summary: &str, token: &WorkflowCancellationToken) -> ActivityOptions {
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose { schedule_to_close: within, start_to_close: within };
    ActivityOptions::with_close_timeouts(timeouts)
        .heartbeat_timeout(VENUE_HEARTBEAT)
        .retry_policy(RetryPolicy::builder().initial_interval(VENUE_RETRY).backoff_coefficient(1.0).build())
        .cancellation_token(token.clone())
        .summary(summary)
        .build()
}

/// The options of starting operations again: so many take their time, and each try goes on where the last one was. What can't
/// be started now is left to the next round.
pub(crate) fn adopt_options(summary: &str, token: &WorkflowCancellationToken) -> ActivityOptions {
    let mut options = check_options(ADOPT, summary, token);
    let few = RetryPolicy::builder().initial_interval(VENUE_RETRY).backoff_coefficient(1.0);
    options.retry_policy = Some(few.maximum_attempts(ADOPT_ATTEMPTS_MAX).build());
    options
}

/// The options of a venue call: on the venue's queue, tried again until `within` is over (for ever without it).
pub(crate) fn venue_options(
    queue: &str,
    within: Option<Duration>,
    summary: &str,
    token: &WorkflowCancellationToken,
) -> ActivityOptions {
    let retries = RetryPolicy::builder().initial_interval(VENUE_RETRY).backoff_coefficient(1.0).build();
    let timeouts = match within {
        None => ActivityCloseTimeouts::StartToClose(VENUE_TIMEOUT),
        Some(within) => ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close: within,
            start_to_close: VENUE_TIMEOUT.min(within),
        },
    };
    ActivityOptions::with_close_timeouts(timeouts)
        .task_queue(queue)
        .heartbeat_timeout(VENUE_HEARTBEAT)
        .retry_policy(retries)
        .cancellation_token(token.clone())
        .summary(summary)
        .build()
}

/// The options of a wait at the gates, which ends when it is over: it is tried again for ever, at no cost of history.
pub(crate) fn gate_options(queue: &str, summary: &str, token: &WorkflowCancellationToken) -> ActivityOptions {
    let retries = RetryPolicy::builder().initial_interval(VENUE_RETRY).backoff_coefficient(1.0).build();
    ActivityOptions::with_start_to_close_timeout(GATE_TIMEOUT)
        .task_queue(queue)
        .heartbeat_timeout(GATE_HEARTBEAT)
        .retry_policy(retries)
        .cancellation_token(token.clone())
        .summary(summary)
        .build()
}
