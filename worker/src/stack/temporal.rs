use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::{Service, Tools, process::is_listening};

const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Temporal's dev server, with its state in a file.
#[derive(Debug)]
pub struct Temporal {
    service: Service,
    port: u16,
}

impl Temporal {
    /// Starts it on `port`, with its UI on `ui_port` if one is given.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(tools: &Tools, state: &Path, port: u16, ui_port: Option<u16>) -> Result<Self> {
        std::fs::create_dir_all(state).context("making the state directory")?;
        let mut command = Command::new(&tools.temporal);
        command.args(["server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"]);
        command.args(["--port", &port.to_string(), "--db-filename"]).arg(state.join("temporal.db"));
        // Two to three times the throughput of the default, and as durable when the process dies.
        command.args(["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]);
        match ui_port {
            Some(ui_port) => command.args(["--ui-port", &ui_port.to_string()]),
            None => command.arg("--headless"),
        };
        let mut service = Service::start("temporal", state, command)?;
        let ready = async || is_listening(port) && ui_port.is_none_or(is_listening);
        service.wait_ready(READY_DEADLINE, ready).await?;
        Ok(Self { service, port })
    }

    /// Its gRPC endpoint as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it won't end.
    pub async fn stop(self) -> Result<()> {
        self.service.stop(Signal::SIGTERM).await
    }
}
