//! The paper exchange as a program: see the library for what it is.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use backstop_simulator::{Config, Simulator};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// A paper exchange speaking the Binance Spot and Wallet REST dialect, with faults on demand.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address of the public API; port 0 picks a free one
    #[arg(long, env = "BACKSTOP_SIM_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address of the admin API, which asks for no credentials; port 0 picks a free one
    #[arg(long, env = "BACKSTOP_SIM_ADMIN_LISTEN", default_value = "127.0.0.1:0")]
    admin_listen: SocketAddr,
    /// The journal that keeps all records over a restart
    #[arg(long, env = "BACKSTOP_SIM_STATE")]
    state: PathBuf,
    /// The account's API key
    #[arg(long, env = "BACKSTOP_SIM_API_KEY", default_value = "demo-key")]
    api_key: String,
    /// The account's secret
    #[arg(long, env = "BACKSTOP_SIM_API_SECRET", default_value = "demo-secret", hide_env_values = true)]
    api_secret: String,
    /// End when standard input reaches its end
    #[arg(long)]
    exit_with_parent: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = Simulator::start(Config {
        listen: arguments.listen,
        admin_listen: arguments.admin_listen,
        state: arguments.state,
        api_key: arguments.api_key,
        api_secret: arguments.api_secret,
    })
    .await?;
    let mut stdout = std::io::stdout().lock();
    let (api, admin) = (running.api_url(), running.admin_url());
    writeln!(stdout, "listening api={api} admin={admin}")?;
    stdout.flush()?;
    drop(stdout);

    let orphaned = watch_parent(arguments.exit_with_parent);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = orphaned => {}
    }
    running.stop().await;
    Ok(())
}

/// Waits for the end of standard input, which a supervisor holds open while it lives; forever when not
/// asked to.
async fn watch_parent(asked: bool) {
    if !asked {
        return std::future::pending().await;
    }
    let (gone, parent) = oneshot::channel();
    // A thread of its own: a read from a terminal cannot be cancelled, and must not keep the runtime
    // from shutting down.
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut sink), Ok(read) if read > 0) {}
        let _ = gone.send(());
    });
    drop(parent.await);
}
