//! What the tests of pacing need of a world: a second worker process, the venue's pace, and the operator's command line.

use backstop::stack::wait_until;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::world::{DEADLINE, World, program};

/// Where the worker's failpoints are, and the second worker's.
const FAILPOINTS: &str = "failpoints";
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

    /// Makes both worker processes wait at a failpoint.
    pub fn hold_both(&self, failpoint: &str) {
        for directory in [FAILPOINTS, SECOND_FAILPOINTS] {
            let _ = std::fs::remove_file(self.directory.join(directory).join(format!("{failpoint}.fired")));
            std::fs::write(self.directory.join(directory).join(failpoint), "hang").unwrap();
        }
    }

    /// Waits until one of them waits there.
    pub async fn one_is_held_at(&self, failpoint: &str) {
        let fired = |directory| self.directory.join(directory).join(format!("{failpoint}.fired")).exists();
        let held = wait_until(DEADLINE, async || fired(FAILPOINTS) || fired(SECOND_FAILPOINTS));
        assert!(held.await, "{failpoint} was never reached");
    }

    /// Lets both go on.
    pub fn let_both_go(&self, failpoint: &str) {
        for directory in [FAILPOINTS, SECOND_FAILPOINTS] {
            std::fs::remove_file(self.directory.join(directory).join(failpoint)).unwrap();
        }
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
