//! `backstop dev`: everything on this machine with one command, and all of it stopped again by Ctrl-C.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    Postgres, Service, Temporal, Tools,
    demo::{
        DESK, STRATEGY, demo_strategy, fill_demo_pool, let_prices_wander, make_demo_deposits, open_demo_desk,
        prepare_books, publish_to_file, start_demo_strategy,
    },
    process::{end_leftovers, is_listening},
};
use crate::{
    reconcile::{Apply, apply},
    serve::{connect_temporal, register_search_attributes, stop_signal},
};

const DATABASE: &str = "backstop";
const KEY: &str = "demo-key";
const SECRET: &str = "demo-secret";
const WEBHOOK_SECRET: &str = "demo-webhook-secret";
/// Where events go, unless somebody says otherwise.
const EVENTS: &str = "events.jsonl";
const READY_DEADLINE: Duration = Duration::from_secs(30);
const WORKER_PAUSE: Duration = Duration::from_millis(500);

/// The settings of `backstop dev`.
#[derive(Args, Clone, Debug)]
pub struct DevConfig {
    /// Where the state is kept
    #[arg(long, env = "BACKSTOP_STATE_DIR", default_value = ".backstop")]
    state_dir: PathBuf,
    /// Where `make tools` has put the servers
    #[arg(long, env = "BACKSTOP_ROOT", default_value = ".")]
    root: PathBuf,
    /// Temporal's gRPC port
    #[arg(long, env = "BACKSTOP_TEMPORAL_PORT", default_value_t = 7233)]
    temporal_port: u16,
    /// The port of Temporal's UI
    #[arg(long, env = "BACKSTOP_UI_PORT", default_value_t = 8233)]
    ui_port: u16,
    /// Postgres's port
    #[arg(long, env = "BACKSTOP_POSTGRES_PORT", default_value_t = 7432)]
    postgres_port: u16,
    /// The port of the paper exchange
    #[arg(long, env = "BACKSTOP_SIMULATOR_PORT", default_value_t = 7100)]
    simulator_port: u16,
    /// The port of its admin API
    #[arg(long, env = "BACKSTOP_SIMULATOR_ADMIN_PORT", default_value_t = 7101)]
    simulator_admin_port: u16,
}

/// Starts everything, says where it is, and stops it on Ctrl-C or SIGTERM.
///
/// # Errors
/// When something can't be started, or a server ends by itself.
pub async fn dev(mut config: DevConfig) -> Result<()> {
    let tools = Tools::find(&config.root)?;
    fs::create_dir_all(&config.state_dir).context("making the state directory")?;
    config.state_dir = config.state_dir.canonicalize()?;
    let lock = File::create(config.state_dir.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("already running with the state in {}", config.state_dir.display());
    }
    end_leftovers(&config.state_dir).await?;
    config.check_ports()?;
    let mut stack = Stack::default();
    let stopped = tokio::select! {
        up = stack.start(&config, &tools) => match up {
            Ok(()) => {
                config.say_hello(&tools);
                tokio::select! {
                    watched = stack.watch(&config) => watched,
                    () = stop_signal() => Ok(()),
                }
            }
            Err(error) => Err(error),
        },
        () = stop_signal() => Ok(()),
    };
    println!("stopping");
    stack.stop().await?;
    stopped
}

impl DevConfig {
    fn ports(&self) -> [(&'static str, u16, &'static str); 5] {
        [
            ("Temporal", self.temporal_port, "--temporal-port"),
            ("the Temporal UI", self.ui_port, "--ui-port"),
            ("Postgres", self.postgres_port, "--postgres-port"),
            ("the simulator", self.simulator_port, "--simulator-port"),
            ("the simulator's admin API", self.simulator_admin_port, "--simulator-admin-port"),
        ]
    }

    fn check_ports(&self) -> Result<()> {
        match self.ports().into_iter().find(|(_, port, _)| is_listening(*port)) {
            None => Ok(()),
            Some((name, port, flag)) => bail!("port {port} for {name} is taken; choose another with {flag}"),
        }
    }

    fn say_hello(&self, tools: &Tools) {
        let temporal = format!("{} --address 127.0.0.1:{}", tools.temporal.display(), self.temporal_port);
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        println!(
            "\nBackstop is up. State is kept in {state}; Ctrl-C stops everything.\n\n\
             \x20 Temporal UI  http://localhost:{ui}\n\
             \x20 Postgres     postgres://backstop_worker@127.0.0.1:{postgres}/{DATABASE}\n\
             \x20 simulator    http://127.0.0.1:{simulator}   (faults and records: http://127.0.0.1:{admin})\n\
             \x20 events       {state}/{EVENTS}   (a CloudEvent a line; webhooks: backstop outbox endpoint add)\n\
             \x20 logs         {state}/logs\n\n\
             Paste one of these, and look at it in the UI. alice and bob have balances; alice's strategy {STRATEGY}\n\
             makes a market until it is stopped: strategy/{STRATEGY} in the UI shows its ticks.\n",
            state = self.state_dir.display(),
            ui = self.ui_port,
            postgres = self.postgres_port,
            simulator = self.simulator_port,
            admin = self.simulator_admin_port,
        );
        let withdrawal = format!("w-{stamp}");
        for (workflow, id, summary, input) in samples(stamp, &withdrawal) {
            println!(
                "  {temporal} workflow start --fail-existing --task-queue backstop --type {workflow} \
                 --workflow-id {id} --static-summary '{summary}' --input '{input}'\n"
            );
        }
        println!(
            "  {temporal} workflow update execute -w withdrawal/{withdrawal} --name approve --input \
             '{{\"operator\":\"ann\",\"evidence\":\"called bob back\"}}'\n"
        );
    }
}

/// What runs, in the order it was started.
#[derive(Default)]
struct Stack {
    postgres: Option<Postgres>,
    temporal: Option<Temporal>,
    simulator: Option<Service>,
    worker: Option<Service>,
}

impl Stack {
    async fn start(&mut self, config: &DevConfig, tools: &Tools) -> Result<()> {
        let state = &config.state_dir;
        step("Postgres");
        let postgres = self.postgres.insert(Postgres::start(tools, state, config.postgres_port, &[]).await?);
        step("the books");
        let owner = postgres.owner(DATABASE);
        prepare_books(&owner, DATABASE).await?;
        publish_to_file(&owner, &state.join(EVENTS)).await?;
        fill_demo_pool(&owner).await?;
        open_demo_desk(&owner).await?;
        step("Temporal");
        let temporal = Temporal::start(tools, state, config.temporal_port, Some(config.ui_port)).await?;
        let temporal_address = self.temporal.insert(temporal).address();
        let client = connect_temporal(&temporal_address, "default").await?;
        register_search_attributes(&client, "default").await?;
        step("the simulator");
        self.simulator = Some(start_simulator(config).await?);
        make_demo_deposits(&owner, &format!("http://127.0.0.1:{}", config.simulator_admin_port)).await?;
        let_prices_wander(config.simulator_admin_port).await?;
        step("the worker");
        self.worker = Some(start_worker(config).await?);
        step("the schedules");
        apply(&Apply::local(temporal_address)).await?;
        step("a strategy");
        start_demo_strategy(&client).await?;
        Ok(())
    }

    /// Starts the worker again whenever it dies; any other death ends the stack.
    async fn watch(&mut self, config: &DevConfig) -> Result<()> {
        let (Some(postgres), Some(temporal), Some(simulator), Some(worker)) =
            (&mut self.postgres, &mut self.temporal, &mut self.simulator, &mut self.worker)
        else {
            bail!("the stack is not complete");
        };
        loop {
            let (name, status) = tokio::select! {
                status = worker.wait() => ("the worker", status?),
                status = postgres.service().wait() => ("Postgres", status?),
                status = temporal.service().wait() => ("Temporal", status?),
                status = simulator.wait() => ("the simulator", status?),
            };
            if name != "the worker" {
                bail!("{name} ended by itself ({status}); its log is in {}/logs", config.state_dir.display());
            }
            println!("the worker died ({status}); starting it again");
            tokio::time::sleep(WORKER_PAUSE).await;
            *worker = start_worker(config).await?;
            println!("the worker is back (process {})", worker.pid());
        }
    }

    /// Stops what runs, users of a service before the service.
    async fn stop(self) -> Result<()> {
        for service in [self.worker, self.simulator].into_iter().flatten() {
            service.stop(Signal::SIGTERM).await?;
        }
        if let Some(temporal) = self.temporal {
            temporal.stop().await?;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }
}

/// Operations of the demo world to start, with ids that are new each time: workflow type and id, in words, and the input.
fn samples(stamp: u64, withdrawal: &str) -> [(&'static str, String, &'static str, Value); 6] {
    let bitcoin = json!({"network": "BTC", "address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"});
    let [refund, intent, reward, pause] = ["r", "i", "rw", "p"].map(|kind| format!("{kind}-{stamp}"));
    [
        (
            "Refund",
            format!("refund/{refund}"),
            "refund 0.25 BTC to bob",
            json!({
                "refund_id": refund, "user_id": "bob", "asset_id": "BTC", "amount": "0.25", "destination": bitcoin,
                "reason": "order cancelled",
            }),
        ),
        (
            "Withdraw",
            format!("withdrawal/{withdrawal}"),
            "withdraw 10 ETH of bob, which needs an approval",
            json!({
                "withdrawal_id": withdrawal, "user_id": "bob", "requested_by": "bob", "asset_id": "ETH", "amount": "10",
                "destination": {"network": "ETH", "address": "0x52908400098527886E0F7030069857D2E4169EE7"},
            }),
        ),
        (
            "ExecuteIntent",
            format!("intent/{intent}"),
            "offer 0.01 BTC of bob, in the name of bob-desk",
            json!({
                "intent_id": intent, "kind": "place_limit_order", "strategy_key": DESK, "user_id": "bob",
                "venue": "binance", "pair": "BTC/USDT", "side": "sell", "price": "130000", "qty": "0.01",
            }),
        ),
        (
            "DistributeReward",
            format!("reward/{reward}"),
            "100 USDT of the pool season-1 to alice and bob, of which the platform keeps 1 USDT",
            json!({
                "reward_id": reward, "pool": "season-1", "asset_id": "USDT", "amount": "100", "platform_fee_bps": 100,
                "shares": {"alice": "2", "bob": "1"}, "requested_by": "olga",
            }),
        ),
        (
            "PauseAndWithdraw",
            format!("pause/{pause}"),
            "stop alice-mm and withdraw 0.49 BTC",
            json!({
                "operation_id": pause, "strategy_key": STRATEGY, "user_id": "alice", "requested_by": "alice",
                "asset_id": "BTC", "amount": "0.49", "destination": bitcoin,
            }),
        ),
        (
            "RunStrategy",
            format!("strategy/{STRATEGY}"),
            "make a market again, once alice-mm is stopped",
            demo_strategy(&format!("s-{stamp}")),
        ),
    ]
}

fn step(what: &str) {
    println!("starting {what}");
}

/// A program that was built beside this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if !program.is_file() {
        bail!("there is no {}: build the whole workspace", program.display());
    }
    Ok(program)
}

async fn start_simulator(config: &DevConfig) -> Result<Service> {
    let mut command = Command::new(sibling("backstop-simulator")?);
    command.args(["--listen", &format!("127.0.0.1:{}", config.simulator_port)]);
    command.args(["--admin-listen", &format!("127.0.0.1:{}", config.simulator_admin_port)]);
    command.arg("--state").arg(config.state_dir.join("simulator.jsonl"));
    let mut simulator = Service::start("simulator", &config.state_dir, command)?;
    let ready = async || is_listening(config.simulator_port) && is_listening(config.simulator_admin_port);
    simulator.wait_ready(READY_DEADLINE, ready).await?;
    Ok(simulator)
}

async fn start_worker(config: &DevConfig) -> Result<Service> {
    let ready_file = config.state_dir.join("worker.ready");
    let _ = fs::remove_file(&ready_file);
    let mut command = Command::new(sibling("backstop")?);
    // What the shell says of another deployment is not meant for this one.
    for (name, _) in std::env::vars_os() {
        if ["BACKSTOP_", "TEMPORAL_", "DATABASE_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.arg("worker").arg("--ready-file").arg(&ready_file);
    command.env("TEMPORAL_ADDRESS", format!("127.0.0.1:{}", config.temporal_port));
    command.env("DATABASE_URL", format!("postgres://backstop_worker@127.0.0.1:{}/{DATABASE}", config.postgres_port));
    command.env("BACKSTOP_VENUE_URL", format!("http://127.0.0.1:{}", config.simulator_port));
    command.env("BACKSTOP_VENUE_KEY", KEY).env("BACKSTOP_VENUE_SECRET", SECRET);
    command.env("BACKSTOP_WEBHOOK_SECRET", WEBHOOK_SECRET);
    // The paper exchange is quick and honest about time: nobody should wait a minute to see a lost answer heal.
    command.env("BACKSTOP_VENUE_RECEIVE_WINDOW_MS", "2000").env("BACKSTOP_VENUE_CLOCK_SKEW_MS", "500");
    command.env("BACKSTOP_VENUE_VISIBILITY_LAG_MS", "2500").env("BACKSTOP_VENUE_POLL_MAX_MS", "1000");
    command.env("BACKSTOP_WATCH_EVERY_MS", "2000").env("BACKSTOP_ADOPT_AFTER_MS", "5000");
    let mut worker = Service::start("worker", &config.state_dir, command)?;
    worker.wait_ready(READY_DEADLINE, async || is_written(&ready_file)).await?;
    Ok(worker)
}

fn is_written(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0)
}
