//! Workflows by the name of their type, whatever they are.

use std::time::Duration;

use backstop::stack::wait_until;
use backstop_workflows::{Progress, RawInput};
use serde_json::{Value, json};
use temporalio_client::{
    Client, UntypedQuery, UntypedSignal, UntypedUpdate, WorkflowCancelOptions, WorkflowExecuteUpdateOptions,
    WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowHandle, WorkflowQueryOptions, WorkflowSignalOptions,
    WorkflowStartOptions, WorkflowTerminateOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::{
    HasWorkflowDefinition, WorkflowDefinition,
    data_converters::{PayloadConverter, RawValue},
    error::IncomingError,
    protos::temporal::api::{enums::v1::EventType, history::v1::HistoryEvent},
};

use uuid::Uuid;

use super::operation::{Operation, Order};
use crate::{World, world::DEADLINE};

/// A workflow type by its name.
#[derive(Debug)]
pub(super) struct Flow(&'static str);

impl WorkflowDefinition for Flow {
    type Input = RawInput;
    type Output = Value;

    fn name(&self) -> &str {
        self.0
    }
}

impl HasWorkflowDefinition for Flow {
    type Run = Self;
}

fn handle(client: &Client, id: &str) -> WorkflowHandle<Client, Flow> {
    client.get_workflow_handle::<Flow>(id)
}

/// Starts an operation under any workflow id and sends its signals, each of them `times`.
pub(super) async fn start(world: &World, operation: &dyn Operation, id: &str, order: &Order, times: usize) {
    let options = WorkflowStartOptions::new(world.queue(), id).build();
    let input = RawInput::of(order.input.clone());
    match world.client.start_workflow(Flow(operation.workflow()), input, options).await {
        // The watch may have been quicker.
        Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => {}
        Err(error) => panic!("{id} can't be started: {error}"),
    }
    for (name, value) in operation.signals(order) {
        for _ in 0..times {
            let input = RawValue::from_value(&value, &PayloadConverter::default());
            let sent = handle(&world.client, id)
                .signal(UntypedSignal::new(name), input, WorkflowSignalOptions::default())
                .await;
            // One that was refused as the second of two is over before it can be signalled.
            match sent {
                Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => {}
                Err(error) => panic!("{id} can't be signalled: {error}"),
            }
        }
    }
}

/// Reconciles the books with the exchange, as the schedule does.
pub(super) async fn reconcile(world: &World) {
    let id = format!("reconcile/{}", Uuid::now_v7());
    let options = WorkflowStartOptions::new(world.queue(), &id).build();
    let input = RawInput::of(json!({"checks": ["venues"]}));
    world.client.start_workflow(Flow("Reconcile"), input, options).await.unwrap();
    assert_eq!(ended(&world.client, &id).await, "completed");
}

/// Asks it to end, as `temporal workflow cancel` does.
pub(super) async fn cancel(world: &World, id: &str) {
    handle(&world.client, id).cancel(WorkflowCancelOptions::default()).await.unwrap();
}

/// Whether it has answered to being cancelled, or is in the middle of a task and will see it after that.
pub(super) async fn has_seen_cancel(world: &World, id: &str) -> bool {
    let handle = handle(&world.client, id);
    let history = handle.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await.unwrap();
    let mut since = history
        .iter()
        .map(HistoryEvent::event_type)
        .skip_while(|kind| *kind != EventType::WorkflowExecutionCancelRequested)
        .peekable();
    since.peek().is_none() || since.any(|kind| kind == EventType::WorkflowTaskCompleted)
}

/// Sends an update, and waits for the answer.
pub(super) async fn update(client: &Client, id: &str, name: &str, input: Value) -> Result<(), String> {
    let input = RawValue::from_value(&RawInput::of(input), &PayloadConverter::default());
    let options = WorkflowExecuteUpdateOptions::default();
    let answer = handle(client, id).execute_update(UntypedUpdate::new(name), input, options).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// Ends it where it is.
pub(super) async fn terminate(world: &World, id: &str) {
    handle(&world.client, id).terminate(WorkflowTerminateOptions::default()).await.unwrap();
}

/// What a person has to answer, as far as the workflow can be asked.
pub(super) async fn waiting_for(world: &World, id: &str) -> Option<String> {
    let query = UntypedQuery::new("status");
    let handle = handle(&world.client, id);
    let asked = handle.query(query, RawValue::new(Vec::new()), WorkflowQueryOptions::default());
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
    answer.to_value::<Progress>(&PayloadConverter::default()).waiting_for
}

/// How it ended: the state of its result, the type of its failure, or `cancelled`, `terminated`. Waits for that, also
/// while the server is away.
pub(super) async fn ended(client: &Client, id: &str) -> String {
    let mut end = None;
    let over = wait_until(DEADLINE, async || {
        end = end_now(client, id).await;
        end.is_some()
    });
    assert!(over.await, "{id} did not end within {DEADLINE:?}");
    end.unwrap_or_default()
}

/// The same, unless the server can't be asked.
async fn end_now(client: &Client, id: &str) -> Option<String> {
    Some(match handle(client, id).get_result(WorkflowGetResultOptions::default()).await {
        Ok(result) => result["state"].as_str().unwrap_or("completed").to_owned(),
        Err(WorkflowGetResultError::Failed(error)) => match *error {
            IncomingError::Application(error) => error.type_name().unwrap_or("failed without a type").to_owned(),
            other => other.to_string(),
        },
        Err(WorkflowGetResultError::Cancelled { .. }) => "cancelled".into(),
        Err(WorkflowGetResultError::Terminated { .. }) => "terminated".into(),
        Err(_) => return None,
    })
}
