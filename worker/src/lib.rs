//! The `backstop` program: serves Backstop's task queues, migrates the books, and runs the local stack.

pub mod config;
pub mod gate;
pub mod operate;
pub mod outbox;
pub mod serve;
pub mod stack;
mod start;
