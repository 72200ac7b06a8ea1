//! Two worker processes that serve all venues, and what is done to them.

use std::time::Duration;

use backstop::stack::Service;
use nix::sys::signal::Signal;
use tokio::{process::Command, sync::watch};

use super::{Options, Stage};
use crate::{
    matrix::dice::Dice,
    servers::{TEMPORAL_ADDRESS, setting},
    world::{DEADLINE, program},
};

/// Two, so that one serves while the other is down.
const WORKERS: [&str; 2] = ["first", "second"];

pub(super) struct Fleet {
    workers: Vec<Service>,
    dice: Dice,
    kill_every: Duration,
    kills: usize,
    kills_max: usize,
}

impl Fleet {
    pub(super) async fn start(stage: &Stage, options: &Options) -> Self {
        let mut workers = Vec::new();
        for name in WORKERS {
            workers.push(spawn(stage, name).await);
        }
        let Options { seed, kill_every, kills_max, .. } = *options;
        Self { workers, dice: Dice::new("kills", seed), kill_every, kills: 0, kills_max }
    }

    /// Kills one after the other with SIGKILL, and starts it again, until `ended` says that there is no more to do,
    /// or it was often enough.
    pub(super) async fn harass(&mut self, stage: &Stage, mut ended: watch::Receiver<bool>) {
        for turn in (0..WORKERS.len()).cycle().take(self.kills_max) {
            let percent = u32::try_from(50 + self.dice.below(101)).unwrap();
            let pause = self.kill_every * percent / 100;
            if tokio::time::timeout(pause, ended.wait_for(|ended| *ended)).await.is_ok() {
                return;
            }
            self.workers[turn].signal(Signal::SIGKILL).unwrap();
            self.workers[turn].wait().await.unwrap();
            self.kills += 1;
            self.workers[turn] = spawn(stage, WORKERS[turn]).await;
        }
    }

    /// Stops both as operators do. Says how many were killed.
    pub(super) async fn stop(self) -> usize {
        for worker in self.workers {
            worker.stop(Signal::SIGTERM).await.unwrap();
        }
        self.kills
    }
}

/// Starts a worker that serves all venues, and waits until it does.
async fn spawn(stage: &Stage, name: &str) -> Service {
    let ready = stage.directory.join(format!("{name}.ready"));
    let _ = std::fs::remove_file(&ready);
    let mut command = Command::new(program("backstop"));
    command.arg("worker").arg("--ready-file").arg(&ready);
    command.env("TEMPORAL_ADDRESS", setting(TEMPORAL_ADDRESS)).env("DATABASE_URL", stage.database.url());
    command.env("BACKSTOP_TASK_QUEUE", &stage.queue);
    let names: Vec<&str> = stage.venues.iter().map(|venue| venue.name).collect();
    command.env("BACKSTOP_VENUES", names.join(","));
    for venue in &stage.venues {
        let prefix = format!("BACKSTOP_VENUE_{}", venue.name.to_uppercase().replace('-', "_"));
        command.env(format!("{prefix}_URL"), venue.exchange.url());
        command.env(format!("{prefix}_KEY"), "test-key").env(format!("{prefix}_SECRET"), "test-secret");
    }
    // Venues that are quick to forget, as those of the other tests; and they are watched.
    command.env("BACKSTOP_VENUE_RECEIVE_WINDOW_MS", "1500").env("BACKSTOP_VENUE_CLOCK_SKEW_MS", "200");
    command.env("BACKSTOP_VENUE_VISIBILITY_LAG_MS", "1300").env("BACKSTOP_VENUE_ANSWER_TIMEOUT_MS", "3000");
    command.env("BACKSTOP_VENUE_POLL_MAX_MS", "1000").env("BACKSTOP_WATCH_EVERY_MS", "10000");
    let mut worker = Service::start(name, &stage.directory, command).unwrap();
    worker.wait_ready(DEADLINE, async || ready.metadata().is_ok_and(|file| file.len() > 0)).await.unwrap();
    worker
}
