use std::{path::PathBuf, time::Duration};

use backstop::{
    serve::connect_temporal,
    stack::{Service, free_port, wait_until},
};
use backstop_domain::payout::PayoutReceipt;
use backstop_workflows::{Progress, RawInput, Refund};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions,
    WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowStartOptions, errors::WorkflowGetResultError,
};
use temporalio_common::{error::IncomingError, search_attributes::SearchAttributes};
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    Database, Exchange, Verdict, custody,
    servers::{Own, Servers, tools},
};

/// How long anything may take that is waited for. Never a sleep: every wait ends as soon as its condition holds.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// What every user has at first, in BTC.
pub const FUNDS: &str = "1";

/// One test's own world: books, exchange, task queues, and a worker process that can be killed.
pub struct World {
    /// The books.
    pub database: Database,
    /// The exchange.
    pub exchange: Exchange,
    /// The client that starts and asks workflows.
    pub client: Client,
    /// The servers it stands on.
    pub servers: Servers,
    /// How long after its timestamp the venue takes a request, as the next worker is told.
    pub receive_window_ms: u32,
    pub(crate) worker: Option<Service>,
    /// A second worker process, with failpoints of its own.
    pub(crate) second: Option<Service>,
    /// How many failpoints had been passed when the worker was started.
    pub(crate) passed_before: usize,
    pub(crate) directory: PathBuf,
    pub(crate) queue: String,
    venue_url: Option<String>,
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    kept: bool,
}

/// How a workflow ended.
#[derive(Debug)]
pub enum Ended {
    /// With a receipt.
    Receipt(Box<PayoutReceipt>),
    /// Failed, with this type and message.
    Failed(String, String),
    /// Cancelled.
    Cancelled,
    /// Terminated.
    Terminated,
}

impl Ended {
    /// The failure's type, or how it ended otherwise.
    pub fn kind(&self) -> &str {
        match self {
            Self::Receipt(receipt) => receipt.state.name(),
            Self::Failed(kind, _) => kind,
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
        }
    }

    /// The receipt.
    pub fn receipt(self) -> PayoutReceipt {
        match self {
            Self::Receipt(receipt) => *receipt,
            other => panic!("no receipt: {other:?}"),
        }
    }
}

/// The payout's id, which is the workflow's too.
pub fn payout_id(refund: &Value) -> String {
    format!("refund/{}", refund["refund_id"].as_str().unwrap())
}

impl World {
    /// A refund of a quarter bitcoin, with an id of its own, to a user of its own who has one.
    pub async fn refund(&self) -> Value {
        let id = Uuid::now_v7();
        let user = format!("u-{id}");
        let deposit = sqlx::query("SELECT deposit_credit('binance', $1, $2, 'BTC', $3::numeric)");
        deposit.bind(id.to_string()).bind(&user).bind(FUNDS).execute(&mut self.database.worker().await).await.unwrap();
        json!({
            "refund_id": format!("r-{id}"), "user_id": user, "asset_id": "BTC", "amount": "0.25",
            "destination": {"network": "BTC", "address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"},
            "reason": "order cancelled",
        })
    }

    /// Everything but the worker.
    pub async fn without_worker() -> Self {
        Self::without_worker_on(Own::default()).await
    }

    /// Everything but the worker, some of it on servers of its own.
    pub async fn without_worker_on(own: Own) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = Uuid::now_v7().simple().to_string();
        let directory = std::env::temp_dir().join(format!("backstop-world-{name}"));
        std::fs::create_dir_all(directory.join("failpoints")).unwrap();
        let servers = Servers::start(own, &directory).await;
        let database =
            if own.postgres { Database::of_own_server(servers.postgres_port()) } else { Database::create().await };
        let mut exchange = Exchange::start(&directory).await;
        custody::agree(&database, &mut exchange).await;
        Self {
            database,
            exchange,
            client: connect_temporal(servers.temporal_address(), "default").await.unwrap(),
            servers,
            receive_window_ms: 1_000,
            worker: None,
            second: None,
            passed_before: 0,
            queue: format!("{name}.backstop"),
            venue_url: None,
            settings: Vec::new(),
            kept: false,
            directory,
        }
    }

    /// Everything.
    pub async fn new() -> Self {
        let mut world = Self::without_worker().await;
        world.start_worker().await;
        world
    }

    /// Everything, and the venue is watched: deposits are read, and lost workflows started again.
    pub async fn watched() -> Self {
        Self::with(&[("BACKSTOP_WATCH_EVERY_MS", "300")]).await
    }

    /// Everything, with settings of the worker's own.
    pub async fn with(settings: &[(&'static str, &'static str)]) -> Self {
        let mut world = Self::without_worker().await;
        world.settings = settings.to_vec();
        world.start_worker().await;
        world
    }

    /// Has the next worker watch the venue, as [`World::watched`] does.
    pub fn watch(&mut self) {
        self.settings.push(("BACKSTOP_WATCH_EVERY_MS", "300"));
    }

    /// The main task queue of this world.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Starts the worker process, and waits until it serves.
    pub async fn start_worker(&mut self) {
        self.passed_before = self.passed().len();
        self.worker = Some(self.spawn_worker("worker", "failpoints").await);
    }

    pub(crate) async fn spawn_worker(&self, name: &str, failpoints: &str) -> Service {
        let ready = self.directory.join(format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let failpoints = self.directory.join(failpoints);
        std::fs::create_dir_all(&failpoints).unwrap();
        let mut command = Command::new(program("backstop"));
        command.arg("worker").arg("--ready-file").arg(&ready);
        command.env("TEMPORAL_ADDRESS", self.servers.temporal_address()).env("DATABASE_URL", self.database.url());
        command.env("BACKSTOP_DATABASE_CONNECTIONS", "8").env("BACKSTOP_TASK_QUEUE", &self.queue);
        command.env("BACKSTOP_FAILPOINTS", failpoints);
        command.env("BACKSTOP_VENUE_URL", self.venue_url.clone().unwrap_or_else(|| self.exchange.url()));
        command.env("BACKSTOP_VENUE_KEY", "test-key").env("BACKSTOP_VENUE_SECRET", "test-secret");
        // A venue that is quick to forget: an attempt is void 1.5 s after the window, at first 2.5 s after it was signed.
        command.env("BACKSTOP_VENUE_RECEIVE_WINDOW_MS", self.receive_window_ms.to_string());
        command.env("BACKSTOP_VENUE_CLOCK_SKEW_MS", "200");
        command.env("BACKSTOP_VENUE_VISIBILITY_LAG_MS", "1300").env("BACKSTOP_VENUE_ANSWER_TIMEOUT_MS", "1500");
        command.env("BACKSTOP_VENUE_POLL_MAX_MS", "400").env("BACKSTOP_ADOPT_AFTER_MS", "500");
        command.env("BACKSTOP_WATCH_EVERY_MS", "0").env("BACKSTOP_PUBLISH_EVERY_MS", "0");
        command.envs(self.settings.iter().copied());
        let mut worker = Service::start(name, &self.directory, command).unwrap();
        worker.wait_ready(DEADLINE, async || ready.metadata().is_ok_and(|file| file.len() > 0)).await.unwrap();
        worker
    }

    /// Kills the worker process with SIGKILL.
    pub async fn kill_worker(&mut self) {
        let mut worker = self.worker.take().unwrap();
        worker.signal(Signal::SIGKILL).unwrap();
        worker.wait().await.unwrap();
    }

    /// Asks the worker process to stop, as an operator does.
    pub async fn stop_worker(&mut self) {
        self.worker.take().unwrap().stop(Signal::SIGTERM).await.unwrap();
    }

    /// Waits until the worker has died at a failpoint.
    pub async fn worker_dies(&mut self) {
        let mut worker = self.worker.take().unwrap();
        tokio::time::timeout(DEADLINE, worker.wait()).await.expect("the failpoint was not reached").unwrap();
    }

    /// Starts the worker again if it has ended by itself, as whoever keeps it running does.
    pub async fn keep_worker(&mut self) {
        let ended = match &mut self.worker {
            Some(worker) => worker.ended().unwrap().is_some(),
            None => true,
        };
        if ended {
            self.start_worker().await;
        }
    }

    /// Where it keeps its state and its logs.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Starts the worker again with a venue that refuses connections.
    pub async fn lose_the_venue(&mut self) {
        self.kill_worker().await;
        self.venue_url = Some(format!("http://127.0.0.1:{}", free_port().unwrap()));
        self.start_worker().await;
    }

    /// Starts the worker again with the venue as it should be.
    pub async fn find_the_venue(&mut self) {
        self.kill_worker().await;
        self.venue_url = None;
        self.start_worker().await;
    }

    /// Waits until a pending activity of the workflow shows a failure with this text, as a person would see it.
    pub async fn shows_failure(&self, workflow_id: &str, text: &str) {
        let held = wait_until(DEADLINE, async || {
            let described = self.temporal(&["workflow", "describe", "-w", workflow_id, "-o", "json"]).await;
            String::from_utf8_lossy(&described.stdout).contains(text)
        });
        assert!(held.await, "{workflow_id} does not show {text:?}");
    }

    /// Starts a refund under its own id.
    pub async fn start(&self, refund: &Value) -> String {
        let id = payout_id(refund);
        self.start_as(&id, refund).await;
        id
    }

    /// Starts a refund under any workflow id.
    pub async fn start_as(&self, workflow_id: &str, refund: &Value) {
        let options = WorkflowStartOptions::new(&self.queue, workflow_id).build();
        self.client.start_workflow(Refund::run, RawInput::of(refund.clone()), options).await.unwrap();
    }

    /// Waits for a workflow's end.
    pub async fn ended(&self, workflow_id: &str) -> Ended {
        let handle = self.client.get_workflow_handle::<Refund>(workflow_id);
        let result = tokio::time::timeout(DEADLINE, handle.get_result(WorkflowGetResultOptions::default())).await;
        match result.unwrap_or_else(|_| panic!("{workflow_id} did not end within {DEADLINE:?}")) {
            Ok(receipt) => Ended::Receipt(Box::new(receipt)),
            Err(WorkflowGetResultError::Failed(error)) => match *error {
                IncomingError::Application(error) => {
                    Ended::Failed(error.type_name().unwrap_or_default().to_owned(), error.to_string())
                }
                other => Ended::Failed("?".into(), other.to_string()),
            },
            Err(WorkflowGetResultError::Cancelled { .. }) => Ended::Cancelled,
            Err(WorkflowGetResultError::Terminated { .. }) => Ended::Terminated,
            Err(other) => panic!("{workflow_id}: {other}"),
        }
    }

    /// Runs a refund to its end.
    pub async fn run(&self, refund: &Value) -> Ended {
        let id = self.start(refund).await;
        self.ended(&id).await
    }

    /// Asks a workflow how it stands.
    pub async fn status(&self, workflow_id: &str) -> Progress {
        let handle = self.client.get_workflow_handle::<Refund>(workflow_id);
        handle.query(Refund::status, (), WorkflowQueryOptions::default()).await.unwrap()
    }

    /// The search attributes that a workflow carries.
    pub async fn search_attributes(&self, workflow_id: &str) -> SearchAttributes {
        let handle = self.client.get_workflow_handle::<Refund>(workflow_id);
        handle.describe(WorkflowDescribeOptions::default()).await.unwrap().search_attributes()
    }

    /// What the history's activities and local activities say of themselves, in order.
    pub async fn summaries(&self, workflow_id: &str) -> Vec<String> {
        let handle = self.client.get_workflow_handle::<Refund>(workflow_id);
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
        let events = history.into_events().await.unwrap();
        let summaries = events.into_iter().filter_map(|event| event.user_metadata?.summary);
        summaries.map(|summary| serde_json::from_slice(&summary.data).unwrap()).collect()
    }

    /// Sends an operator's word.
    ///
    /// # Errors
    /// The refusal, as text.
    pub async fn resolve(&self, workflow_id: &str, input: Value) -> Result<Option<PayoutReceipt>, String> {
        let handle = self.client.get_workflow_handle::<Refund>(workflow_id);
        let options = WorkflowExecuteUpdateOptions::default();
        let answer = handle.execute_update(Refund::resolve, RawInput::of(input), options).await;
        answer.map_err(|error| {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        })
    }

    /// Waits until the payout is in a state of the books.
    pub async fn reaches(&self, payout_id: &str, state: &str) {
        let mut books = self.database.owner().await;
        let held = wait_until(DEADLINE, async || {
            let query = sqlx::query_scalar::<_, String>("SELECT state FROM payouts WHERE payout_id = $1");
            query.bind(payout_id).fetch_optional(&mut books).await.unwrap().as_deref() == Some(state)
        });
        assert!(held.await, "{payout_id} did not become {state}");
    }

    /// Compares both books about a refund's payout.
    pub async fn verdict(&self, payout_id: &str) -> Verdict {
        let verdict = Verdict::of(&mut self.database.owner().await, &self.exchange, payout_id).await;
        verdict.unwrap_or_else(|unlawful| panic!("{unlawful}"))
    }

    /// Keeps what a person needs to understand a failure: the logs, and the workflows' histories. Says where.
    pub async fn keep_evidence(&mut self, workflow_ids: &[String]) -> String {
        self.kept = true;
        for (number, id) in workflow_ids.iter().enumerate() {
            for what in ["show", "describe"] {
                let shown = self.temporal(&["workflow", what, "-w", id, "-o", "json"]).await;
                let file = self.directory.join(format!("{what}-{number}.json"));
                std::fs::write(file, [shown.stdout, shown.stderr].concat()).unwrap();
            }
        }
        format!("its logs and histories are in {}", self.directory.display())
    }

    /// Runs the real `temporal` command line against the server.
    pub async fn temporal(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new(tools().temporal);
        command.args(["--address", self.servers.temporal_address()]).args(words);
        command.output().await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.kept || std::env::var_os("BACKSTOP_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.directory.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A program of this workspace, as the build has left it.
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join(name)
}
