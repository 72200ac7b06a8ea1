//! The refund, end to end: a real Temporal, a real Postgres, the exchange over HTTP, and a worker process.
#![allow(clippy::unwrap_used)]

mod cancel;
mod faults;
mod input;
mod kills;
mod lookups;
mod once;
mod operator;
mod restart;
mod restored;
mod watch;
