//! Every decision of Backstop: one file per workflow, and what they share. No SQL and no HTTP here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod call;
mod child;
mod desk;
mod failure;
mod fund;
mod input;
mod intent;
mod json;
mod pause;
mod payout;
mod progress;
mod reconcile;
mod refund;
mod reward;
mod saga;
pub mod search;
mod strategy;
mod timer;
mod watch;
mod withdraw;

pub use failure::{StepFailure, classify};
pub use fund::FundOrder;
pub use input::RawInput;
pub use intent::ExecuteIntent;
pub use pause::PauseAndWithdraw;
pub use progress::{Progress, StepState, StepStatus, Tracked};
pub use reconcile::Reconcile;
pub use refund::Refund;
pub use reward::DistributeReward;
pub use saga::{Past, Pivot, Saga, Unwound};
pub use strategy::RunStrategy;
pub use watch::Watch;
pub use withdraw::Withdraw;

/// The task queue of workflows and ledger activities.
pub const MAIN_QUEUE: &str = "backstop";

/// The task queue of a venue's activities, beside the main queue `main` (which may carry a prefix).
pub fn venue_queue(main: &str, venue: &str) -> String {
    let prefix = main.strip_suffix(MAIN_QUEUE).unwrap_or_default();
    format!("{prefix}venue-{venue}")
}

/// The task queue of those who wait at the gates, beside the main queue `main`. Of its own: they may be many, and do nothing.
pub fn gates_queue(main: &str) -> String {
    let prefix = main.strip_suffix(MAIN_QUEUE).unwrap_or_default();
    format!("{prefix}gates")
}

/// The id of the workflow that watches a venue.
pub fn watch_id(main: &str, venue: &str) -> String {
    format!("watch/{}", venue_queue(main, venue))
}
