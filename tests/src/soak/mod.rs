//! The soak: many intents of many strategies at three venues, through two worker processes of which one is killed and
//! started again every few seconds. At the end both sides are read by queries of their own, and nothing may be twice,
//! lost, or out of bounds.
//!
//! What is asked for stands in `jobs.rs`, the ground it happens on in `stage.rs`, the worker processes in `fleet.rs`, who
//! starts the workflows in `starters.rs`, and what must hold in `judge.rs`.

mod fleet;
mod jobs;
mod judge;
mod report;
mod stage;
mod starters;

use std::time::{Duration, Instant};

use fleet::Fleet;
pub use report::Report;
pub use stage::Stage;
use tokio::sync::watch;

/// How much, and how rough.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many intents are executed.
    pub intents: usize,
    /// Of how many strategies. Each trades at one venue, and two share a user's money.
    pub strategies: usize,
    /// Chooses what the intents want, and when workers are killed.
    pub seed: u64,
    /// From one kill to the next, on average.
    pub kill_every: Duration,
    /// How many kills there are at most.
    pub kills_max: usize,
    /// How many workflows are started ahead of those that have ended.
    pub started_ahead: usize,
    /// How many intents may be in flight at a venue.
    pub venue_gate: usize,
    /// How many may be in flight of all.
    pub global_gate: usize,
    /// How long a venue takes to place an order.
    pub venue_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            intents: 10_000,
            strategies: 50,
            seed: 1,
            kill_every: Duration::from_secs(6),
            kills_max: usize::MAX,
            started_ahead: 120,
            venue_gate: 8,
            global_gate: 20,
            venue_delay: Duration::from_millis(40),
        }
    }
}

impl Options {
    /// What `make test` runs.
    pub fn small() -> Self {
        Self {
            intents: 150,
            strategies: 15,
            // Whoever waits at the gates with a worker that dies is given to the other after 5 s: where that is slow
            // anyway, it would be killed again before.
            kill_every: Duration::from_secs(1),
            kills_max: 4,
            started_ahead: 60,
            venue_gate: 3,
            global_gate: 7,
            ..Self::default()
        }
    }
}

/// Runs it on a stage of its own, and judges.
pub async fn run(options: &Options) -> (Stage, Report) {
    let stage = Stage::set(options).await;
    let mut fleet = Fleet::start(&stage, options).await;
    let (over, ended) = watch::channel(false);
    let begun = Instant::now();
    let work = async {
        let done = starters::execute(&stage, jobs::of(options), options.started_ahead).await;
        over.send_replace(true);
        done
    };
    let (done, ()) = tokio::join!(work, fleet.harass(&stage, ended));
    let took = begun.elapsed();
    let kills = fleet.stop().await;
    let report = judge::judge(&stage, options, &done, took, kills).await;
    (stage, report)
}
