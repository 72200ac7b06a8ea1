//! The Binance client says what an answer means: only a closed list of answers is a refusal, only proof makes "not
//! sent", and a history that was not read to its end is never an empty one. Every answer here came over real HTTP.
#![allow(clippy::unwrap_used)]

mod client;
mod exchange;
mod trading;
mod wire;

mod accepted;
mod account;
mod filters;
mod listing;
mod lookup;
mod not_sent;
mod order_answers;
mod order_lookups;
mod orders;
mod rejections;
mod secrets;
mod spans;
mod unknown;
mod window;
