//! Goal: every call of a venue takes its turn, whoever makes it; what is halted is not sent. Nothing here demands that something is
//! fast: no call comes before its slot, and none comes much closer to the one before it, however slow the machine.
#![allow(clippy::unwrap_used)]

mod books;
mod cancels;
mod connector;
mod halt;
mod halt_orders;
mod lane;
mod processes;
mod slots;
