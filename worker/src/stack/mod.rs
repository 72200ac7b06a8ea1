//! The local stack: real servers as child processes, with their state in one directory.

mod demo;
pub mod dev;
mod postgres;
mod process;
mod temporal;
mod tools;

pub use demo::{DemoWorld, demo_deposits, make_demo_world, prepare_books};
pub use postgres::Postgres;
pub use process::{Service, free_port, wait_until};
pub use temporal::Temporal;
pub use tools::Tools;
