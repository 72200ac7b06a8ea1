use std::path::Path;

use anyhow::{Context, Result};
use backstop_activities::books::{Books, Endpoint, MIGRATIONS};
use backstop_workflows::{MAIN_QUEUE, RawInput, RunStrategy};
use clap::Args;
use reqwest::Url;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use temporalio_client::{Client, WorkflowIdConflictPolicy, WorkflowStartOptions};

use crate::config::database;

const DEMO: &str = include_str!("demo.sql");

/// Brings the books to this version, lets the worker's role log in, and makes the demo world.
///
/// # Errors
/// When the books refuse.
pub async fn prepare_books(owner: &PgConnectOptions, database: &str) -> Result<()> {
    let mut connection = PgConnection::connect_with(&owner.clone().database("postgres")).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(database)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        let statement = format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""));
        connection.execute(sqlx::AssertSqlSafe(statement)).await.context("creating the database")?;
    }
    let mut connection = PgConnection::connect_with(&owner.clone().database(database)).await?;
    MIGRATIONS.run(&mut connection).await.context("migrating the books")?;
    connection.execute("ALTER ROLE backstop_worker LOGIN").await?;
    connection.execute(DEMO).await.context("making the demo world")?;
    Ok(())
}

/// The settings of `backstop demo-world`.
#[derive(Args, Clone, Debug)]
pub struct DemoWorld {
    /// The books, as their owner
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The paper exchange's admin API
    #[arg(long, env = "BACKSTOP_SIM_ADMIN_URL", default_value = "http://127.0.0.1:7101")]
    exchange_admin: Url,
}

/// Makes the demo world: its assets, networks and users in books that are there, and their deposits at the paper exchange.
/// Again, it changes nothing.
///
/// # Errors
/// When the books refuse, or the exchange does not answer.
pub async fn make_demo_world(config: &DemoWorld) -> Result<()> {
    let owner = database(&config.database_url)?;
    let mut books = PgConnection::connect_with(&owner).await.context("connecting to the books")?;
    books.execute(DEMO).await.context("making the demo world")?;
    open_demo_desk(&owner).await?;
    make_demo_deposits(&owner, config.exchange_admin.as_str()).await
}

/// Has every event written to a file, also those that were there before; to another one, when the state has moved.
///
/// # Errors
/// When the books refuse.
pub(super) async fn publish_to_file(owner: &PgConnectOptions, file: &Path) -> Result<()> {
    const NAME: &str = "file";
    let url = Url::from_file_path(file).map_err(|()| anyhow::anyhow!("no absolute path: {}", file.display()))?;
    let endpoint = Endpoint { name: NAME.into(), url: url.into(), kinds: vec!["*".into()], from_beginning: true };
    let books = Books::connect(owner.clone(), 1).await?;
    let known = books.endpoints().await?.into_iter().find(|known| known.name == NAME);
    if known.as_ref() == Some(&endpoint) {
        return Ok(());
    }
    if known.is_some() {
        books.endpoint_remove(NAME, "demo", "the state is elsewhere").await?;
    }
    books.endpoint_add(&endpoint, "demo", "somewhere to look at events").await?;
    Ok(())
}

/// Fills the demo pool of rewards, as an operator does: with a deposit that came in for nobody. Again, it changes nothing.
///
/// # Errors
/// When the books refuse.
pub(super) async fn fill_demo_pool(books: &PgConnectOptions) -> Result<()> {
    let mut books = PgConnection::connect_with(books).await?;
    let fill = "SELECT backstop.deposit_credit('binance', 'demo-rewards', NULL, 'USDT', 5000);
                SELECT backstop.deposit_assign('binance', 'demo-rewards', '~rewards:season-1', 'demo', 'rewards of the demo')";
    books.execute(fill).await.context("filling the demo pool of rewards")?;
    Ok(())
}

/// The demo strategy.
pub(super) const STRATEGY: &str = "alice-mm";

/// Bob's, which nothing runs: for orders by hand, which alice's market maker would cancel.
pub(super) const DESK: &str = "bob-desk";

/// Starts bob's desk, once: one that was stopped stays so.
///
/// # Errors
/// When the books refuse.
pub(super) async fn open_demo_desk(books: &PgConnectOptions) -> Result<()> {
    let mut books = PgConnection::connect_with(books).await?;
    let open = "SELECT backstop.strategy_start($1, 'bob', 'binance', 'BTC', 'USDT', '{}', 'demo')
                 WHERE NOT EXISTS (SELECT FROM backstop.strategies WHERE strategy_key = $1)";
    sqlx::query(open).bind(DESK).execute(&mut books).await.context("opening bob's desk")?;
    Ok(())
}

/// The input that runs alice's market maker. Its quotes are narrow enough for the paper exchange's wandering prices to meet some of
/// them every minute.
pub(super) fn demo_strategy(start_id: &str) -> Value {
    json!({
        "start_id": start_id, "strategy_key": STRATEGY, "user_id": "alice", "venue": "binance", "pair": "BTC/USDT",
        "requested_by": "alice", "tick_ms": 2_000,
        "parameters": {"spread_bps": 8, "order_size": "0.02", "layers": 2, "layer_step_bps": 10,
                       "refresh_tolerance_bps": 3},
    })
}

/// Starts alice's market maker, once: this start of it has an id, and one that was stopped stays so.
///
/// # Errors
/// When Temporal refuses.
pub(super) async fn start_demo_strategy(client: &Client) -> Result<()> {
    let input = demo_strategy("demo");
    let options = WorkflowStartOptions::new(MAIN_QUEUE, format!("strategy/{STRATEGY}"))
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .static_summary("make a market in BTC/USDT with alice's money")
        .build();
    client.start_workflow(RunStrategy::run, RawInput::of(input), options).await.context("starting alice's strategy")?;
    Ok(())
}

/// The demo users' deposits, in the words of the paper exchange's admin API: it holds what the books owe.
///
/// # Errors
/// When the books can't be read.
pub async fn demo_deposits(books: &mut PgConnection) -> Result<Vec<Value>> {
    let deposits = sqlx::query_scalar(
        "SELECT jsonb_build_object('id', d.deposit_id, 'coin', a.asset, 'amount', trim_scale(d.amount)::text,
                    'address', 'house', 'tx_id', d.deposit_id,
                    'insert_time_ms', floor(extract(epoch FROM d.at) * 1000)::bigint)
           FROM backstop.deposits AS d JOIN backstop.accounts AS a ON a.id = d.account
          WHERE d.venue = 'binance' AND d.deposit_id LIKE 'demo-%' ORDER BY d.deposit_id",
    );
    Ok(deposits.fetch_all(books).await?)
}

/// Lets the demo users' deposits come in. Again, it changes nothing.
///
/// # Errors
/// When the exchange does not answer, or the books can't be read.
pub(super) async fn make_demo_deposits(owner: &PgConnectOptions, admin: &str) -> Result<()> {
    let mut books = PgConnection::connect_with(owner).await?;
    for deposit in demo_deposits(&mut books).await? {
        let url = format!("{}/deposits", admin.trim_end_matches('/'));
        let request =
            reqwest::Client::new().post(url).header("content-type", "application/json").body(deposit.to_string());
        request.send().await?.error_for_status().context("making the demo deposits")?;
    }
    Ok(())
}

/// Lets the paper exchange's prices wander, so that quotes have something to follow.
///
/// # Errors
/// When the exchange does not answer.
pub(super) async fn let_prices_wander(admin_port: u16) -> Result<()> {
    let url = format!("http://127.0.0.1:{admin_port}/settings");
    let body = json!({"price_volatility": "0.03"}).to_string();
    let request = reqwest::Client::new().put(url).header("content-type", "application/json").body(body);
    request.send().await?.error_for_status().context("letting the prices wander")?;
    Ok(())
}
