//! Who starts the workflows, and waits for what they say.

use std::time::{Duration, Instant};

use backstop_workflows::{ExecuteIntent, RawInput};
use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use temporalio_client::{
    WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowStartOptions, errors::WorkflowGetResultError,
};
use temporalio_common::error::IncomingError;

use super::{
    Stage,
    jobs::{Job, Starts, Wants},
};
use crate::intents::{intent_workflow, order_of};

/// How many starters there are.
const STARTERS: usize = 4;
/// How long a workflow may take, which waits for others at the gates.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so long a workflow task of a dead worker is given to the other. Temporal's own 10 s, during which a claim is
/// kept, would be most of what is measured here.
const TASK_TIMEOUT: Duration = Duration::from_secs(2);

/// An intent that was executed, and what its workflows said.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) intent: Value,
    pub(super) job: Job,
    pub(super) said: Vec<Said>,
    pub(super) took: Duration,
}

/// How a workflow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// With a receipt, whose state is this.
    State(String),
    /// Another workflow had the intent in its hands.
    Held,
    /// Otherwise, which it should not.
    Wrong(String),
}

/// Executes all jobs, a few at a time.
pub(super) async fn execute(stage: &Stage, jobs: Vec<Job>, at_a_time: usize) -> Vec<Done> {
    let mut shares: Vec<Vec<Job>> = vec![Vec::new(); STARTERS];
    for job in jobs {
        shares[job.number % STARTERS].push(job);
    }
    let starters = shares.into_iter().map(async |jobs| {
        let work = stream::iter(jobs).map(|job| one(stage, job));
        work.buffer_unordered(at_a_time.div_ceil(STARTERS)).concat().await
    });
    join_all(starters).await.into_iter().flatten().collect()
}

/// Places a job's order, and cancels it where that is wanted.
async fn one(stage: &Stage, job: Job) -> Vec<Done> {
    let placed = run(stage, &job, stage.place(&job)).await;
    if !job.cancels() {
        return vec![placed];
    }
    let is_done = placed.said.contains(&Said::State("done".into()));
    if is_done && job.wants == Wants::TradedAndCancelled {
        let exchange = &stage.venue_of(job.strategy).exchange;
        exchange.fill(&order_of(&placed.intent), json!({"qty": "0.0004"})).await;
    }
    let cancelled = run(stage, &job, stage.cancel(&job)).await;
    vec![placed, cancelled]
}

async fn run(stage: &Stage, job: &Job, intent: Value) -> Done {
    let (id, begun) = (intent_workflow(&intent), Instant::now());
    let said = match job.starts {
        Starts::Once => vec![start(stage, &id, &intent).await],
        Starts::Twice => join_all([start(stage, &id, &intent), start(stage, &id, &intent)]).await,
        Starts::UnderAnotherId => {
            let other = format!("again/{id}");
            join_all([start(stage, &id, &intent), start(stage, &other, &intent)]).await
        }
    };
    Done { intent, job: job.clone(), said, took: begun.elapsed() }
}

/// Starts a workflow, unless it runs, and waits for its end.
async fn start(stage: &Stage, id: &str, intent: &Value) -> Said {
    let options = WorkflowStartOptions::new(&stage.queue, id)
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .task_timeout(TASK_TIMEOUT)
        .build();
    let input = RawInput::of(intent.clone());
    if let Err(error) = stage.client.start_workflow(ExecuteIntent::run, input, options).await {
        return Said::Wrong(format!("{id} can't be started: {error}"));
    }
    let handle = stage.client.get_workflow_handle::<ExecuteIntent>(id);
    let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default())).await;
    match result {
        Err(_) => Said::Wrong(format!("{id} did not end within {PATIENCE:?}")),
        Ok(Ok(receipt)) => Said::State(receipt.state.name().to_owned()),
        Ok(Err(WorkflowGetResultError::Failed(error))) => match *error {
            IncomingError::Application(error) if error.type_name() == Some("Held") => Said::Held,
            other => Said::Wrong(format!("{id} failed: {other}")),
        },
        Ok(Err(error)) => Said::Wrong(format!("{id}: {error}")),
    }
}
