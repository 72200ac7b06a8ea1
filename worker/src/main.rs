//! The command line of `backstop`.

use std::{io::IsTerminal, process::ExitCode};

use anyhow::{Context, Result};
use backstop::{
    check,
    config::{WorkerConfig, database},
    gate::{GateConfig, set_gate},
    house::{self, House},
    operate, outbox,
    reconcile::{self, Schedules},
    serve::serve,
    stack::{
        DemoWorld,
        dev::{DevConfig, dev},
        make_demo_world,
    },
};
use backstop_activities::books::{Books, MIGRATIONS};
use clap::{Parser, Subcommand};
use sqlx::{Connection, PgConnection};
use tracing_subscriber::EnvFilter;

/// Durable, exactly-once movement of a trading service's money.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve Backstop's task queues
    Worker(Box<WorkerConfig>),
    /// Bring the books to this program's version, as their owner
    Migrate {
        /// The books, as their owner
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// Set how many intents may be in flight at once; those that are stay so
    Gate(GateConfig),
    /// Decide on orders that wait for their payments, or have got them
    #[command(subcommand)]
    Funding(FundingCommand),
    /// Send no more orders there, and with --payouts no payouts; cancels and lookups go on
    Halt(operate::Halt),
    /// Show the halts that are in force: of what, since when, by whom, and why
    Halts(operate::BooksAddress),
    /// Lift a halt
    Resume(operate::Resume),
    /// Show how venues are paced, or set it
    Pace(operate::SetPace),
    /// Show what is the house's own at the venues, or declare it
    House(House),
    /// Reconcile now: the books against themselves and the venues. Exit status 1: a critical finding is open
    Check(check::Check),
    /// What was found, and who answers for it
    Findings(check::Findings),
    /// Lift the freeze of an account
    Unfreeze(check::Unfreeze),
    /// Have reconciliation run by itself
    #[command(subcommand)]
    Schedules(Schedules),
    /// Endpoints that events are published to, and what they have not taken
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Make the demo world: assets, networks and users in the books, and their deposits at the paper exchange
    DemoWorld(DemoWorld),
    /// Run everything here: Temporal with its UI, Postgres, a paper exchange, a worker, demo users
    Dev(DevConfig),
}

#[derive(Subcommand)]
enum FundingCommand {
    /// Give what a funded order has set aside to its user, to trade with
    Release {
        /// Which order
        #[arg(long)]
        order: String,
        /// Who releases it
        #[arg(long)]
        by: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// The books, as a login that holds the role `backstop_worker`
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,backstop=info,backstop_activities=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // reqwest is built without a provider of its own, so that one serves the whole program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match Cli::parse().command {
        Command::Worker(config) => serve(*config).await,
        Command::Migrate { database_url } => migrate(&database_url).await,
        Command::Gate(config) => set_gate(&config).await,
        Command::Funding(FundingCommand::Release { order, by, reason, database_url }) => {
            release(&database_url, &order, &by, &reason).await
        }
        Command::Halt(options) => operate::halt(options).await.map(|text| print!("{text}")),
        Command::Halts(books) => operate::halts(&books).await.map(|text| print!("{text}")),
        Command::Resume(options) => operate::resume(options).await.map(|text| print!("{text}")),
        Command::Pace(options) => operate::pace(options).await.map(|text| print!("{text}")),
        Command::House(options) => house::house(options).await.map(|text| print!("{text}")),
        Command::Check(options) => match check::check(&options).await {
            Ok((text, status)) => {
                print!("{text}");
                return ExitCode::from(status);
            }
            // Not to be taken for a finding.
            Err(error) => {
                eprintln!("backstop: {error:#}");
                return ExitCode::from(2);
            }
        },
        Command::Findings(options) => check::findings(options).await.map(|text| print!("{text}")),
        Command::Unfreeze(options) => check::unfreeze(options).await.map(|text| print!("{text}")),
        Command::Schedules(Schedules::Apply(options)) => reconcile::apply(&options).await.map(|text| print!("{text}")),
        Command::Outbox(command) => outbox::run(command).await.map(|text| print!("{text}")),
        Command::DemoWorld(config) => make_demo_world(&config).await,
        Command::Dev(config) => dev(config).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backstop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn migrate(database_url: &str) -> Result<()> {
    let mut connection =
        PgConnection::connect_with(&database(database_url)?).await.context("connecting to the books")?;
    MIGRATIONS.run(&mut connection).await.context("migrating the books")
}

async fn release(database_url: &str, order: &str, by: &str, reason: &str) -> Result<()> {
    let books = Books::connect(database(database_url)?, 1).await.context("connecting to the books")?;
    let new = books.funding_release(order, by, reason).await?;
    let status = books.funding_status(order).await?;
    let what: Vec<String> = status.needs.iter().map(|need| format!("{} {}", need.reserved, need.asset_id)).collect();
    let when = if new { "is released now" } else { "was released before" };
    println!("order {order} {when}: {} of user {}", what.join(", "), status.user_id);
    Ok(())
}
