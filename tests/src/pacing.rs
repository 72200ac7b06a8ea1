//! What the tests of pacing need of a world: a second worker process, the venue's pace, and the operator's command line.

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::world::{World, program};

/// Where the second worker's failpoints are, none of which is ever armed.
const SECOND_FAILPOINTS: &str = "failpoints.second";

impl World {
    /// Starts a second worker process beside the first, and waits until it serves.
    pub async fn start_second_worker(&mut self) {
        self.second = Some(self.spawn_worker("second", SECOND_FAILPOINTS).await);
    }

    /// Whether the second worker has passed a failpoint.
    pub fn second_has_passed(&self, failpoint: &str) -> bool {
        let passed = std::fs::read_to_string(self.directory.join(SECOND_FAILPOINTS).join("passed"));
        passed.unwrap_or_default().lines().any(|name| name == failpoint)
    }

    /// Sends the worker process a signal.
    pub fn signal_worker(&mut self, signal: Signal) {
        self.worker.as_mut().unwrap().signal(signal).unwrap();
    }

    /// Sets how long it is from one call of the exchange to the next.
    pub async fn pace(&self, min_interval_ms: i32) {
        self.database.books(1).await.venue_pace_set("binance", min_interval_ms).await.unwrap();
    }

    /// Runs the real `backstop` command line as an operator does. Returns what it says; its error, if it fails.
    ///
    /// # Errors
    /// What it says when it fails.
    pub async fn backstop(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program("backstop"));
        let output = command.args(words).env("DATABASE_URL", self.database.url()).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}
