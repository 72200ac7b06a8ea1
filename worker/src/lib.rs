//! The `backstop` program: serves Backstop's task queues, migrates the books, and runs the local stack.

pub mod check;
pub mod config;
pub mod gate;
pub mod house;
pub mod operate;
pub mod outbox;
pub mod reconcile;
pub mod serve;
pub mod stack;
mod start;
pub mod venues;
