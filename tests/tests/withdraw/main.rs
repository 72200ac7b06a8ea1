//! The withdrawal, end to end: a real Temporal, a real Postgres, the exchange over HTTP, and a worker process.
#![allow(clippy::unwrap_used)]

mod approval;
mod destination;
mod input;
mod once;
