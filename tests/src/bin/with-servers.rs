//! Runs a command (the tests) with a Postgres and a Temporal of its own, on free ports and in a directory of its own, and
//! ends as the command ends.

use std::{convert::Infallible, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use backstop::{
    serve::{connect_temporal, register_search_attributes, stop_signal},
    stack::{Postgres, Temporal, Tools, free_port, prepare_books},
};
use backstop_tests::{
    drop_left,
    servers::{CLUSTER, POSTGRES_PORT, TEMPLATE, TEMPORAL_ADDRESS, copy_cluster},
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::Command;

/// How often the databases of ended tests are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("usage: with-servers COMMAND [ARG ...]")?;
    let tools = Tools::find(Path::new("."))?;
    let state = std::env::temp_dir().join(format!("backstop-test-{}", std::process::id()));
    let port = free_port()?;
    // Durability against a crash of the machine is not what these tests are about; their workers crash, not the server.
    let settings = ["fsync=off", "max_connections=500"];
    let postgres = Postgres::start(&tools, &state, port, &settings).await?;
    prepare_books(&postgres.owner(TEMPLATE), TEMPLATE).await?;
    // Worlds are not paced, unless a test asks for it.
    let mut template = PgConnection::connect_with(&postgres.owner(TEMPLATE)).await?;
    template.execute("UPDATE backstop.venues SET min_interval_ms = 0").await?;
    template.close().await?;
    // What tests that restart or restore a Postgres of their own start from.
    postgres.stop().await?;
    let cluster = state.join("cluster");
    copy_cluster(&state.join("postgres"), &cluster).await?;
    let postgres = Postgres::start(&tools, &state, port, &settings).await?;
    let temporal = Temporal::start(&tools, &state, free_port()?, None).await?;
    let client = connect_temporal(&temporal.address(), "default").await?;
    register_search_attributes(&client, "default").await?;
    let mut command = Command::new(program);
    command.args(words).env(POSTGRES_PORT, port.to_string()).env(TEMPORAL_ADDRESS, temporal.address());
    command.env(CLUSTER, cluster);
    let mut command = command.kill_on_drop(true).spawn().context("starting the command")?;
    let code = tokio::select! {
        status = command.wait() => status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        () = stop_signal() => 130,
        never = tidy(&postgres) => match never {},
    };
    temporal.stop().await?;
    postgres.stop().await?;
    std::fs::remove_dir_all(&state).context("removing the servers' state")?;
    Ok(ExitCode::from(code))
}

/// Drops the databases that tests have left, for as long as they run, so that all of them need little room.
async fn tidy(postgres: &Postgres) -> Infallible {
    let mut unused = Vec::new();
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        match drop_left(&postgres.owner("postgres"), &unused).await {
            Ok(now) => unused = now,
            // Somebody has connected to one meanwhile, say.
            Err(error) => eprintln!("with-servers: databases of ended tests are left for now: {error}"),
        }
    }
}
