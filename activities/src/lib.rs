//! Every side effect of Backstop: the books in Postgres, calls to venues. One module per neighbour, and the Temporal
//! activities that workflows run on them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod books;
pub mod failpoint;
mod failure;
pub mod payouts;
pub mod venue;
