//! Every call of a venue takes its turn, whoever makes it; what is halted is not sent. Nothing here measures how fast
//! something is: no call comes before its slot, however slow the machine.
#![allow(clippy::unwrap_used)]

mod books;
mod cancels;
mod connector;
mod halt;
mod halt_orders;
mod lane;
mod processes;
mod slots;
