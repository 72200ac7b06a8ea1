//! The saga engine by itself: a toy workflow on a real Temporal, whose activities do as each test says.
#![allow(clippy::unwrap_used)]

mod classify;
mod toy;
mod unwind;
