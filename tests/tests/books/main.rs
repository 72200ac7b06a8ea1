//! The books on a real Postgres: every transition, every refusal, every right, and what happens when everything happens
//! at once.
#![allow(clippy::unwrap_used)]

mod adjustments;
mod adoption;
mod attempting;
mod checker;
mod contention;
mod deposits;
mod desk;
mod ending;
mod findings;
mod freezing;
mod fundings;
mod gates;
mod histories;
mod intents;
mod machines;
mod opening;
mod orders;
mod outbox;
mod pauses;
mod recovery;
mod releases;
mod reservations;
mod rewards;
mod rights;
mod seals;
mod stock;
mod strategies;
mod stuck;
mod suspended;
mod tampering;
mod withdrawals;
