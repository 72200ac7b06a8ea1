//! Every side effect of Backstop: the books in Postgres, calls to venues. One module per neighbour, and the Temporal
//! activities that workflows run on them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod beat;
pub mod books;
mod clock;
pub mod failpoint;
mod failure;
pub mod fundings;
pub mod intents;
pub mod observations;
pub mod orders;
pub mod outbox;
pub mod pacing;
pub mod pauses;
pub mod payouts;
pub mod reconcile;
pub mod recovery;
pub mod rewards;
pub mod strategies;
pub mod trading;
pub mod venue;
