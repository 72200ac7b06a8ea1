//! What the end-to-end tests stand on: databases of their own on a shared server, workers as processes, a simulator, and
//! checkers that read both sides with queries of their own.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod database;
pub mod servers;

pub use database::Database;
