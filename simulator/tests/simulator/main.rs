//! The paper exchange from outside: over its two listeners, and as a process.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod admin;
mod checks;
mod client;
mod endpoints;
mod faults;
mod faults_in_time;
mod history;
mod market;
mod order_faults;
mod order_refusals;
mod orders;
mod process;
mod restart;
mod third_party;
mod trading;
mod withdraw;
