//! The command line of `backstop`.

use std::{io::IsTerminal, process::ExitCode};

use anyhow::{Context, Result};
use backstop::{
    config::{WorkerConfig, database},
    operate,
    serve::serve,
    stack::dev::{DevConfig, dev},
};
use backstop_activities::books::MIGRATIONS;
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
    /// Send no more orders, and perhaps no payouts, there; cancels and lookups go on
    Halt(operate::Halt),
    /// Lift a halt
    Resume(operate::Resume),
    /// Show how venues are paced, or set it
    Pace(operate::SetPace),
    /// Run everything here: Temporal with its UI, Postgres, a paper exchange, a worker, demo users
    Dev(DevConfig),
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
        Command::Halt(options) => operate::halt(options).await.map(|text| print!("{text}")),
        Command::Resume(options) => operate::resume(options).await.map(|text| print!("{text}")),
        Command::Pace(options) => operate::pace(options).await.map(|text| print!("{text}")),
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
