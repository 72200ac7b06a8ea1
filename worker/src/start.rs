//! Starting workflows from the worker: operations that have lost theirs, and the venue's watch.

use std::time::Duration;

use anyhow::{Context, Result};
use backstop_activities::{
    books::Unfinished,
    recovery::{Standing, Starter},
};
use backstop_workflows::{RawInput, Watch, watch_id};
use futures::{FutureExt, future::BoxFuture};
use serde_json::json;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowIdConflictPolicy, WorkflowStartOptions,
    errors::{WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

use crate::config::WorkerConfig;

/// Every so many rounds of the watch it is made sure that there is one.
const LOOK_EVERY: u32 = 4;

/// Starts workflows through the worker's own connection.
pub(crate) struct ByClient {
    pub(crate) client: Client,
    pub(crate) task_queue: String,
}

impl Starter for ByClient {
    fn standing<'a>(&'a self, operation: &'a Unfinished) -> BoxFuture<'a, Result<Standing, String>> {
        async move {
            let handle = self.client.get_workflow_handle::<UntypedWorkflow>(&operation.holder);
            match handle.describe(WorkflowDescribeOptions::default()).await {
                Ok(known) if known.close_time().is_none() => Ok(Standing::Runs),
                Ok(known) => Ok(Standing::Closed(known.run_id().to_owned())),
                Err(WorkflowInteractionError::NotFound(_)) => Ok(Standing::Unknown),
                Err(error) => Err(format!("{} could not be looked up: {error}", operation.holder)),
            }
        }
        .boxed()
    }

    fn start<'a>(&'a self, operation: &'a Unfinished) -> BoxFuture<'a, Result<bool, String>> {
        async move {
            let input = RawValue::from_value(&RawInput::of(operation.input.clone()), &PayloadConverter::default());
            let options = WorkflowStartOptions::new(&self.task_queue, &operation.holder)
                .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
                .static_summary("started again: its workflow was gone")
                .build();
            let workflow = UntypedWorkflow::new(&operation.workflow);
            match self.client.start_workflow(workflow, input, options).await {
                Ok(_) => Ok(true),
                Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
                Err(error) => Err(format!("{} could not be started: {error}", operation.holder)),
            }
        }
        .boxed()
    }
}

/// Makes sure that the venue is watched: once, however many workers serve it, and again should Temporal have lost it.
pub(crate) async fn keep_watching(client: Client, config: WorkerConfig, venue: String) {
    if config.watch_every_ms == 0 {
        return;
    }
    let mut pace = tokio::time::interval(Duration::from_millis(config.watch_every_ms.into()) * LOOK_EVERY);
    loop {
        pace.tick().await;
        if let Err(error) = watch(&client, &config, &venue).await {
            tracing::warn!(venue, "the venue may not be watched: {error:#}");
        }
    }
}

async fn watch(client: &Client, config: &WorkerConfig, venue: &str) -> Result<()> {
    let input = json!({"venue": venue, "pause_ms": config.watch_every_ms});
    let options = WorkflowStartOptions::new(&config.task_queue, watch_id(&config.task_queue, venue))
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .static_summary(format!("watch {venue}: deposits, ended payouts, lost workflows"))
        .build();
    client.start_workflow(Watch::run, RawInput::of(input), options).await.context("starting the venue's watch")?;
    Ok(())
}
