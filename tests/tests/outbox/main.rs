//! Goal: every event and every entry reaches everybody who has asked for it, at least once and in order within its
//! aggregate, whatever fails; and a consumer that asks `once` applies each exactly once.
#![allow(clippy::unwrap_used)]

mod cli;
mod dead;
mod faults;
mod files;
mod order;
mod processes;
mod receiver;
mod scene;
mod since;
