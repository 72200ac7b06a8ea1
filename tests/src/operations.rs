//! Starting, asking and ending any workflow by its name, as people do.

use backstop::stack::wait_until;
use backstop_workflows::{Progress, RawInput, Refund};
use serde_json::{Value, json};
use temporalio_client::{
    UntypedQuery, UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowExecuteUpdateOptions,
    WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowSignalOptions,
    WorkflowStartOptions, errors::WorkflowGetResultError,
};
use temporalio_common::{
    data_converters::{PayloadConverter, RawValue},
    error::IncomingError,
    protos::temporal::api::{enums::v1::EventType, history::v1::HistoryEvent},
};
use uuid::Uuid;

use crate::world::{DEADLINE, FUNDS, World};

/// The address that every user here may withdraw bitcoin to.
pub const ADDRESS: &str = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With a result.
    Result(Value),
    /// Failed, with this type and message.
    Failed(String, String),
    /// Cancelled.
    Cancelled,
    /// Terminated.
    Terminated,
}

impl End {
    /// The result's state, the failure's type, or how it ended otherwise.
    pub fn kind(&self) -> &str {
        match self {
            Self::Result(result) => result["state"].as_str().unwrap_or("result"),
            Self::Failed(kind, _) => kind,
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
        }
    }
}

fn raw(value: Value) -> RawValue {
    RawValue::from_value(&RawInput::of(value), &PayloadConverter::default())
}

fn value(raw: &RawValue) -> Value {
    raw.payloads.first().map_or(Value::Null, |payload| serde_json::from_slice(&payload.data).unwrap_or_default())
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl World {
    /// A user of its own with one bitcoin, who may withdraw to [`ADDRESS`].
    pub async fn user(&self) -> String {
        let id = Uuid::now_v7();
        let user = format!("u-{id}");
        let mut owner = self.database.owner().await;
        let deposit = sqlx::query("SELECT deposit_credit('binance', $1, $2, 'BTC', $3::numeric)");
        deposit.bind(id.to_string()).bind(&user).bind(FUNDS).execute(&mut owner).await.unwrap();
        let allow = sqlx::query("SELECT destination_allow($1, 'BTC', 'BTC', $2, NULL, 'olga', 'ticket 1')");
        allow.bind(&user).bind(ADDRESS).execute(&mut owner).await.unwrap();
        user
    }

    /// A withdrawal of a user of its own, with an id of its own. From half a bitcoin on it needs an approval.
    pub async fn withdrawal(&self, amount: &str) -> Value {
        let user = self.user().await;
        json!({
            "withdrawal_id": format!("w-{}", Uuid::now_v7()), "user_id": user, "requested_by": "rita",
            "asset_id": "BTC", "amount": amount, "destination": {"network": "BTC", "address": ADDRESS},
        })
    }

    /// An order of a user of its own, which needs half a bitcoin and 1000 USDT.
    pub async fn funding(&self) -> Value {
        let user = self.user().await;
        json!({
            "order_id": format!("o-{}", Uuid::now_v7()), "user_id": user, "venue": "binance", "base_asset_id": "BTC",
            "base_amount": "0.5", "quote_asset_id": "USDT", "quote_amount": "1000",
            "refund_destination": {
                "BTC": {"network": "BTC", "address": ADDRESS},
                "USDT": {"network": "ETH", "address": "0x52908400098527886E0F7030069857D2E4169EE7"},
                "ETH": {"network": "ETH", "address": "0x52908400098527886E0F7030069857D2E4169EE7"},
            },
        })
    }

    /// Waits until a workflow of this id runs.
    pub async fn runs(&self, id: &str) {
        let held = wait_until(DEADLINE, async || {
            let described = self.temporal(&["workflow", "describe", "-w", id, "-o", "json"]).await;
            String::from_utf8_lossy(&described.stdout).contains("WORKFLOW_EXECUTION_STATUS_RUNNING")
        });
        assert!(held.await, "{id} does not run");
    }

    /// Whether the books have an operation of this workflow that is not over.
    pub async fn is_unfinished(&self, id: &str) -> bool {
        let sql = "SELECT EXISTS (SELECT FROM unfinished WHERE holder = $1)";
        sqlx::query_scalar(sql).bind(id).fetch_one(&mut self.database.owner().await).await.unwrap()
    }

    /// What a user has, as `available + locked`, of an asset.
    pub async fn holds(&self, user: &str, asset: &str) -> String {
        let sql = "SELECT trim_scale(available)::text || ' + ' || trim_scale(locked)::text FROM accounts
                    WHERE owner = $1 AND asset = $2";
        let holds = sqlx::query_scalar(sql).bind(user).bind(asset);
        holds.fetch_optional(&mut self.database.owner().await).await.unwrap().unwrap_or_else(|| "0 + 0".into())
    }

    /// Waits until a query of the books answers with this text.
    pub async fn books_say(&self, sql: &'static str, parameter: &str, text: &str) {
        let mut books = self.database.owner().await;
        let mut last = None;
        let held = wait_until(DEADLINE, async || {
            last = sqlx::query_scalar::<_, String>(sql).bind(parameter).fetch_optional(&mut books).await.unwrap();
            last.as_deref() == Some(text)
        });
        assert!(held.await, "{sql} of {parameter} does not say {text:?}, but {last:?}");
    }

    /// Starts a workflow of any type.
    pub async fn start_any(&self, workflow: &str, id: &str, input: &Value) {
        let options = WorkflowStartOptions::new(&self.queue, id).build();
        self.client.start_workflow(UntypedWorkflow::new(workflow), raw(input.clone()), options).await.unwrap();
    }

    /// Waits for a workflow's end.
    pub async fn end_of(&self, id: &str) -> End {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        let result = tokio::time::timeout(DEADLINE, handle.get_result(WorkflowGetResultOptions::default())).await;
        match result.unwrap_or_else(|_| panic!("{id} did not end within {DEADLINE:?}")) {
            Ok(result) => End::Result(value(&result)),
            Err(WorkflowGetResultError::Failed(error)) => match *error {
                IncomingError::Application(error) => {
                    End::Failed(error.type_name().unwrap_or_default().to_owned(), error.to_string())
                }
                other => End::Failed("?".into(), other.to_string()),
            },
            Err(WorkflowGetResultError::Cancelled { .. }) => End::Cancelled,
            Err(WorkflowGetResultError::Terminated { .. }) => End::Terminated,
            Err(other) => panic!("{id}: {other}"),
        }
    }

    /// Runs a workflow to its end.
    pub async fn run_any(&self, workflow: &str, id: &str, input: &Value) -> End {
        self.start_any(workflow, id, input).await;
        self.end_of(id).await
    }

    /// Asks a workflow how it stands.
    pub async fn status_of(&self, id: &str) -> Progress {
        // Every workflow's status query has the same name and shape.
        let handle = self.client.get_workflow_handle::<Refund>(id);
        handle.query(Refund::status, (), WorkflowQueryOptions::default()).await.unwrap()
    }

    /// Asks a workflow something by name.
    pub async fn query_of<T: serde::de::DeserializeOwned>(&self, id: &str, name: &str) -> T {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        let answer = handle.query(UntypedQuery::new(name), raw(Value::Null), WorkflowQueryOptions::default()).await;
        serde_json::from_value(value(&answer.unwrap())).unwrap()
    }

    /// The kinds of the events of a workflow's latest run, in order.
    pub async fn history(&self, id: &str) -> Vec<EventType> {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await.unwrap();
        history.iter().map(HistoryEvent::event_type).collect()
    }

    /// Cancels a workflow that waits for a timer, which then fires before a worker has heard of it: that worker hears of
    /// both at once.
    pub async fn cancel_as_its_timer_fires(&mut self, id: &str) {
        let waits = wait_until(DEADLINE, async || {
            let history = self.history(id).await;
            let count = |kind| history.iter().filter(|event| **event == kind).count();
            count(EventType::TimerStarted) > count(EventType::TimerFired) + count(EventType::TimerCanceled)
        });
        assert!(waits.await, "{id} waits for no timer");
        self.kill_worker().await;
        assert!(self.temporal(&["workflow", "cancel", "-w", id]).await.status.success());
        let fires = wait_until(DEADLINE, async || {
            let history = self.history(id).await;
            let since = history.iter().skip_while(|event| **event != EventType::WorkflowExecutionCancelRequested);
            since.filter(|event| **event == EventType::TimerFired).count() == 1
        });
        assert!(fires.await, "the timer of {id} did not fire after its cancellation: {:?}", self.history(id).await);
        self.start_worker().await;
    }

    /// Sends an update.
    ///
    /// # Errors
    /// The refusal, as text.
    pub async fn update(&self, id: &str, name: &str, input: Value) -> Result<Value, String> {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        let options = WorkflowExecuteUpdateOptions::default();
        let answer = handle.execute_update(UntypedUpdate::new(name), raw(input), options).await;
        answer.map(|answer| value(&answer)).map_err(|error| causes(&error))
    }

    /// Sends a signal.
    pub async fn signal(&self, id: &str, name: &str, input: Value) {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        handle.signal(UntypedSignal::new(name), raw(input), WorkflowSignalOptions::default()).await.unwrap();
    }
}
