//! Reconciliation from outside: its schedule, a run by hand, and what earlier runs have said.

use std::time::Duration;

use anyhow::{Context, Result};
use backstop_activities::reconcile::Memory;
use backstop_domain::reconcile::{Report, Seal};
use backstop_workflows::{MAIN_QUEUE, RawInput, Reconcile, search};
use clap::{Args, Subcommand, value_parser};
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use serde_json::{Value, json};
use temporalio_client::{
    Client, WorkflowExecution, WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowListOptions,
    WorkflowStartOptions,
    schedules::{CreateScheduleOptions, ScheduleAction, ScheduleError, ScheduleOverlapPolicy, ScheduleSpec},
    tonic::Code,
};

use crate::serve::{connect_temporal, register_search_attributes};

/// From one reconciliation of all entries to the next, s: a day.
const FULL_EVERY_S: u64 = 86_400;
/// How many of the last runs are asked for their seal.
const RUNS_MAX: usize = 20;

/// How long a run by hand may take: a full pass, and the checks before it.
const RUN_MAX: Duration = Duration::from_secs(5 * 3_600);

/// Temporal's list of workflows, as a memory of what was sealed.
pub(crate) struct Visibility {
    pub(crate) client: Client,
    pub(crate) task_queue: String,
}

impl Memory for Visibility {
    fn last_seals(&self) -> BoxFuture<'_, Result<Vec<Seal>, String>> {
        async move {
            let query =
                format!("WorkflowType = 'Reconcile' AND TaskQueue = '{}' AND BooksSeal IS NOT NULL", self.task_queue);
            let options = WorkflowListOptions::builder().limit(RUNS_MAX).build();
            let runs: Vec<_> = self
                .client
                .list_workflows(query, options)
                .try_collect()
                .await
                .map_err(|error| format!("earlier runs could not be listed: {error}"))?;
            let said = |run: &WorkflowExecution| Seal::parse(&run.search_attributes().get(&search::BOOKS_SEAL)?);
            let newest = runs.iter().max_by_key(|run| run.start_time()).and_then(said);
            let mut seals: Vec<Seal> = runs.iter().filter_map(said).max_by_key(|seal| seal.seq).into_iter().collect();
            seals.extend(newest.filter(|newest| !seals.contains(newest)));
            Ok(seals)
        }
        .boxed()
    }
}

/// Where Temporal is.
#[derive(Args, Clone, Debug)]
pub struct TemporalAddress {
    /// Temporal's gRPC endpoint
    #[arg(long = "temporal-address", env = "TEMPORAL_ADDRESS", default_value = "http://127.0.0.1:7233")]
    address: String,
    /// Temporal's namespace
    #[arg(long = "temporal-namespace", env = "TEMPORAL_NAMESPACE", default_value = "default")]
    namespace: String,
    /// The main task queue; a prefix is allowed, as in `blue.backstop`
    #[arg(long, env = "BACKSTOP_TASK_QUEUE", default_value = MAIN_QUEUE)]
    task_queue: String,
}

impl TemporalAddress {
    async fn connect(&self) -> Result<Client> {
        let client = connect_temporal(&self.address, &self.namespace).await?;
        register_search_attributes(&client, &self.namespace).await?;
        Ok(client)
    }

    /// The run by hand that looks at so much: another queue's is another run.
    pub(crate) fn run_id(&self, input: &Value) -> String {
        format!("{}/{}{}", self.beside("reconcile-now"), self.task_queue, scope(input))
    }

    /// A name beside the main queue, with its prefix.
    fn beside(&self, name: &str) -> String {
        format!("{}{name}", self.task_queue.strip_suffix(MAIN_QUEUE).unwrap_or_default())
    }
}

/// What is done with the schedules.
#[derive(Subcommand)]
pub enum Schedules {
    /// Create or update them; again changes nothing, and a paused one stays paused
    Apply(Apply),
}

/// The settings of `backstop schedules apply`.
#[derive(Args, Clone, Debug)]
pub struct Apply {
    #[command(flatten)]
    pub(crate) temporal: TemporalAddress,
    /// From one reconciliation to the next, s
    #[arg(long, default_value_t = 300, value_parser = value_parser!(u64).range(1..=86_400))]
    pub(crate) every_s: u64,
}

impl Apply {
    /// For the local stack, where people look more often.
    pub(crate) fn local(address: String) -> Self {
        let namespace = "default".to_owned();
        Self { temporal: TemporalAddress { address, namespace, task_queue: MAIN_QUEUE.to_owned() }, every_s: 60 }
    }
}

/// Has `Reconcile` run at fixed times, never two of a schedule at once; and once a day another one of all entries, beside which
/// the others go on.
///
/// # Errors
/// When Temporal can't be reached, or refuses.
pub async fn apply(options: &Apply) -> Result<String> {
    let client = options.temporal.connect().await?;
    let all = json!({"checks": ["books"], "full": true});
    let looks = schedule(&client, options, "reconcile", options.every_s, json!({})).await?;
    Ok(looks + &schedule(&client, options, "reconcile-full", FULL_EVERY_S, all).await?)
}

async fn schedule(client: &Client, options: &Apply, name: &str, every_s: u64, input: Value) -> Result<String> {
    let id = options.temporal.beside(name);
    let spec = ScheduleSpec::from_interval(Duration::from_secs(every_s));
    let action = ScheduleAction::start_workflow(Reconcile::run, RawInput::of(input), &options.temporal.task_queue, &id);
    let create = CreateScheduleOptions::builder()
        .action(action.clone())
        .spec(spec.clone())
        .overlap_policy(ScheduleOverlapPolicy::Skip)
        // The first day is no exception.
        .trigger_immediately(true)
        .build();
    let done = match client.create_schedule(&id, create).await {
        Ok(_) => "is there now",
        Err(ScheduleError::Rpc(status)) if status.code() == Code::AlreadyExists => {
            let change = move |update: &mut temporalio_client::schedules::ScheduleUpdate| {
                update.set_spec(spec).set_action(action).set_overlap_policy(ScheduleOverlapPolicy::Skip);
            };
            let handle = client.get_schedule_handle(&id);
            handle.update(change, temporalio_client::RpcOptions::default()).await.context("updating the schedule")?;
            "was there before, and is up to date"
        }
        Err(error) => return Err(error).context("creating the schedule"),
    };
    Ok(format!("schedule {id}, every {every_s} s: {done}\n"))
}

/// Reconciles now, or takes part in a run by hand that is on its way, and waits for what it comes to.
///
/// # Errors
/// When Temporal can't be reached, no worker serves, or the run fails.
pub(crate) async fn run_now(temporal: &TemporalAddress, input: Value) -> Result<Report> {
    let client = temporal.connect().await?;
    let options = WorkflowStartOptions::new(&temporal.task_queue, temporal.run_id(&input))
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        // Nobody reads later what comes of it, as where no worker serves.
        .execution_timeout(RUN_MAX)
        .static_summary("reconcile, by hand")
        .build();
    let input = RawInput::of(input);
    let run = client.start_workflow(Reconcile::run, input, options).await.context("starting the reconciliation")?;
    run.get_result(WorkflowGetResultOptions::default()).await.context("waiting for the reconciliation")
}

/// What a run is limited to, for its id.
fn scope(input: &Value) -> String {
    let mut checks: Vec<&str> = input["checks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    checks.sort_unstable();
    let full = if input["full"] == true { "/full" } else { "" };
    checks.iter().fold(full.to_owned(), |scope, check| format!("{scope}/{check}"))
}
