//! What the end-to-end tests stand on: databases of their own on a shared server, workers as processes, a simulator, and
//! checkers that read both sides with queries of their own.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod books_checker;
pub mod corruption;
pub mod custody;
mod database;
pub mod exchange;
mod failpoints;
pub mod intents;
pub mod matrix;
pub mod operations;
mod outbox;
mod pacing;
pub mod rewards;
pub mod servers;
pub mod soak;
pub mod trading;
mod verdict;
pub mod world;

pub use database::{Database, drop_left};
pub use exchange::Exchange;
pub use operations::End;
pub use verdict::Verdict;
pub use world::{Ended, World};
