//! `backstop worker`: serves the main task queue, and that of each venue that is configured, until it is told to stop.

use std::{collections::HashMap, fmt::Display, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use backon::{ExponentialBuilder, Retryable};
use backstop_activities::{
    books::Books,
    failpoint,
    fundings::FundingActivities,
    intents::{GateActivities, IntentActivities},
    observations::ObservationActivities,
    orders::OrderActivities,
    outbox::Publisher,
    pacing::Lane,
    pauses::PauseActivities,
    payouts::{LedgerActivities, VenueActivities},
    reconcile::{CustodyActivities, MadeActivities, ReconcileActivities, VenueChecks},
    recovery::RecoveryActivities,
    rewards::RewardActivities,
    strategies::{StrategyActivities, TickActivities},
    trading::TradingActivities,
    venue::Binance,
};
use backstop_workflows::{
    DistributeReward, ExecuteIntent, FundOrder, MAIN_QUEUE, PauseAndWithdraw, Reconcile, Refund, RunStrategy, Watch,
    Withdraw, gates_queue, search, venue_queue,
};
use reqwest::Url;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, tonic};
use temporalio_common::protos::temporal::api::{
    enums::v1::IndexedValueType, operatorservice::v1::AddSearchAttributesRequest,
};
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    runtime::{
        RuntimeOptions,
        worker_tuner::{FixedSizeSlotSupplier, TunerHolder},
    },
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    config::{WorkerConfig, database},
    reconcile::Visibility,
    start::{ByClient, keep_watching},
    venues::Venue,
};

/// How long running activities may take to end after SIGTERM.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Connections to the books for publishing, beside those that move money.
const PUBLISHER_CONNECTIONS: u32 = 4;
/// How many intents wait at the gates in this process at once. They take turns with those beyond.
const WAITING_MAX: usize = 1_000;
/// How many activities of a venue wait for their turns in this process at once: a cancel comes into the process' queue, where
/// it goes first, only once there is room for it. Each of them heartbeats.
const CALLING_MAX: usize = 400;
/// How soon a workflow that waits moves to another worker after its own has died.
const STICKY_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When Temporal or the books can't be reached, or a worker ends by itself.
pub async fn serve(config: WorkerConfig) -> Result<()> {
    anyhow::ensure!(
        config.task_queue.ends_with(MAIN_QUEUE),
        "BACKSTOP_TASK_QUEUE: expected a name that ends with {MAIN_QUEUE:?}, got {:?}",
        config.task_queue
    );
    if let Some(directory) = config.failpoints.clone() {
        failpoint::watch(directory);
    }
    // Of a process before this one, as in a container that is started again.
    if let Some(file) = &config.ready_file {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("removing the ready file of an earlier process");
            }
            _ => {}
        }
    }
    let venues = config.venue.served(|name| std::env::var(name).ok())?;
    let options = database(&config.database_url)?;
    let connect = || Books::connect(options.clone(), config.database_connections);
    let books = connect.retry(patiently()).notify(told_once("the books")).await.context("connecting to the books")?;
    let client = connect_temporal(&config.temporal_address, &config.temporal_namespace).await?;
    register_search_attributes(&client, &config.temporal_namespace).await?;

    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let memory = Arc::new(Visibility { client: client.clone(), task_queue: config.task_queue.clone() });
    let starter = Arc::new(ByClient { client: client.clone(), task_queue: config.task_queue.clone() });
    let quiet = Duration::from_millis(config.adopt_after_ms.into());
    let options = WorkerOptions::new(&config.task_queue)
        .register_workflow::<Refund>()?
        .register_workflow::<Withdraw>()?
        .register_workflow::<PauseAndWithdraw>()?
        .register_workflow::<FundOrder>()?
        .register_workflow::<ExecuteIntent>()?
        .register_workflow::<RunStrategy>()?
        .register_workflow::<DistributeReward>()?
        .register_workflow::<Watch>()?
        .register_workflow::<Reconcile>()?
        .register_activities(LedgerActivities { books: books.clone() })
        .register_activities(PauseActivities { books: books.clone() })
        .register_activities(FundingActivities { books: books.clone() })
        .register_activities(IntentActivities { books: books.clone() })
        .register_activities(StrategyActivities { books: books.clone() })
        .register_activities(RewardActivities { books: books.clone() })
        .register_activities(RecoveryActivities { books: books.clone(), starter, quiet })
        .register_activities(ReconcileActivities { books: books.clone(), memory })
        .register_activities(CustodyActivities { books: books.clone() })
        .register_activities(MadeActivities { books: books.clone() })
        .activity_inbound_interceptor(Failpoints)
        .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT)
        .graceful_shutdown_period(SHUTDOWN_GRACE)
        .build();
    let gates = WorkerOptions::new(gates_queue(&config.task_queue))
        .register_activities(GateActivities::new(books.clone()))
        .tuner(room_for(WAITING_MAX))
        .activity_inbound_interceptor(Failpoints)
        .graceful_shutdown_period(SHUTDOWN_GRACE)
        .build();
    let mut workers =
        vec![Worker::new(&runtime, client.clone(), options)?, Worker::new(&runtime, client.clone(), gates)?];
    for venue in venues {
        let name = venue.name.clone();
        let options = venue_options(&config, &books, venue)?;
        workers.push(Worker::new(&runtime, client.clone(), options)?);
        tokio::spawn(keep_watching(client.clone(), config.clone(), name));
    }
    let queues: Vec<&str> = workers.iter().map(Worker::task_queue).collect();
    tracing::info!(?queues, "serving");
    if let Some(file) = &config.ready_file {
        std::fs::write(file, std::process::id().to_string()).context("writing the ready file")?;
    }
    let (stop, stopped) = watch::channel(false);
    let publishing = publish(&config, stopped).await?;
    let shutdowns: Vec<_> = workers.iter().map(Worker::shutdown_handle).collect();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping");
        let _ = stop.send(true);
        for shutdown in shutdowns {
            shutdown();
        }
    });
    futures::future::try_join_all(workers.iter_mut().map(Worker::run)).await?;
    // What it is in the middle of may end, as activities may.
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, publishing).await;
    Ok(())
}

/// What serves a venue's queue, with one local queue for whatever this process asks of the venue.
fn venue_options(config: &WorkerConfig, books: &Books, venue: Venue) -> Result<WorkerOptions> {
    let Venue { name, account, patience, turn_wait } = venue;
    let lane = Arc::new(Lane::new(books.clone(), &name).waiting_at_most(turn_wait));
    let venue = Binance::new(account, lane.clone()).with_context(|| format!("setting up the HTTP client of {name}"))?;
    let (books, venue) = (books.clone(), Arc::new(venue));
    Ok(WorkerOptions::new(venue_queue(&config.task_queue, &name))
        .register_activities(VenueActivities::new(books.clone(), venue.clone(), lane.clone(), patience))
        .register_activities(ObservationActivities {
            books: books.clone(),
            venue: venue.clone(),
            market: venue.clone(),
            visibility: patience.visibility,
        })
        .register_activities(VenueChecks {
            books: books.clone(),
            venue: venue.clone(),
            market: venue.clone(),
            visibility: patience.visibility,
            watch_every: Duration::from_millis(config.watch_every_ms.into()),
        })
        .register_activities(OrderActivities::new(books.clone(), venue.clone(), lane.clone(), patience))
        .register_activities(TickActivities::new(books.clone(), venue.clone(), lane, patience))
        .register_activities(TradingActivities { books, venue, patience })
        .tuner(room_for(CALLING_MAX))
        .activity_inbound_interceptor(Failpoints)
        .graceful_shutdown_period(SHUTDOWN_GRACE)
        .build())
}

/// Publishes events beside the workers, whom it never ends and whose connections it does not take.
async fn publish(config: &WorkerConfig, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>> {
    let Some(settings) = config.publish.settings() else { return Ok(tokio::spawn(async {})) };
    let options = database(&config.database_url)?;
    let connect = || Books::connect(options.clone(), PUBLISHER_CONNECTIONS);
    let books = connect.retry(patiently()).notify(told_once("the books")).await.context("connecting to the books")?;
    let publisher = Publisher::new(books, settings).context("setting up the HTTP client of webhooks")?;
    Ok(tokio::spawn(publisher.run(stop)))
}

/// Room for so many activities at once, on a queue that has nothing else.
fn room_for(activities: usize) -> TunerHolder {
    let few = || FixedSizeSlotSupplier::new(2);
    TunerHolder::builder()
        .workflow_task_slot_supplier(few())
        .activity_task_slot_supplier(FixedSizeSlotSupplier::new(activities))
        .local_activity_task_slot_supplier(few())
        .nexus_task_slot_supplier(few())
        .build()
}

/// Connects to Temporal, for up to a minute while it starts.
///
/// # Errors
/// When the address is none, or nothing answers there.
pub async fn connect_temporal(address: &str, namespace: &str) -> Result<Client> {
    let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = Url::parse(&address).with_context(|| format!("TEMPORAL_ADDRESS: expected host:port, got {address:?}"))?;
    let connect = || Connection::connect(ConnectionOptions::new(url.clone()).identity(identity()).build());
    let connecting = connect.retry(patiently()).notify(told_once("Temporal"));
    let connection = connecting.await.with_context(|| format!("connecting to Temporal at {address}"))?;
    Ok(Client::new(connection, ClientOptions::new(namespace).build())?)
}

/// Makes the search attributes known. Doing it again changes nothing.
///
/// # Errors
/// When Temporal refuses.
pub async fn register_search_attributes(client: &Client, namespace: &str) -> Result<()> {
    let keyword = i32::from(IndexedValueType::Keyword);
    let search_attributes: HashMap<String, i32> =
        search::ALL.iter().map(|name| ((*name).to_owned(), keyword)).collect();
    let register = || async {
        let mut operator = client.connection().operator_service();
        let request = AddSearchAttributesRequest {
            search_attributes: search_attributes.clone(),
            namespace: namespace.to_owned(),
        };
        match operator.add_search_attributes(tonic::Request::new(request)).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
            // A managed Temporal leaves this to its operators, who may have done it.
            Err(status) if matches!(status.code(), tonic::Code::PermissionDenied | tonic::Code::Unimplemented) => {
                tracing::warn!(%status, "may not register search attributes; they must be there: {:?}", search::ALL);
                Ok(())
            }
            Err(status) => Err(status),
        }
    };
    register.retry(patiently()).await.context("registering the search attributes")
}

fn identity() -> String {
    format!("backstop-worker@{}", std::process::id())
}

fn patiently() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(Duration::from_secs(60)))
        .without_max_times()
}

/// Tells whoever waits for a connection why, once.
fn told_once<E: Display>(what: &str) -> impl FnMut(&E, Duration) {
    let mut told = false;
    move |error, _| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, "{what} can't be reached yet; it is tried for a minute");
        }
    }
}

/// Resolves on SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// A failpoint before and after every activity, local ones too: `<activity>.before`, `<activity>.after`.
struct Failpoints;

impl ActivityInboundInterceptor for Failpoints {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let name = input.activity_info().activity_type.clone();
        Box::pin(async move {
            failpoint::pass(&format!("{name}.before")).await;
            let result = next.run(input).await;
            failpoint::pass(&format!("{name}.after")).await;
            result
        })
    }
}
