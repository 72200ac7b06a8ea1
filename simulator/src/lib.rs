//! A paper exchange that speaks the Binance Spot and Wallet REST dialect over real HTTP.
//!
//! Money moves on paper only, but everything that makes moving money hard is real: an answer may be
//! lost after the withdrawal was executed, a request may be held back past its window, the same
//! withdrawal may be executed twice, a lookup may not see a record yet. Every such fault is asked for
//! through a second, administrative listener.
//!
//! Two listeners are served by one process:
//!
//! * the **public API** ([Spot](https://developers.binance.com/docs/binance-spot-api-docs/rest-api) and
//!   [Wallet](https://developers.binance.com/docs/wallet/introduction) endpoints under `/api` and `/sapi`);
//! * the **admin API**, which sets balances and faults and reads what really happened.
//!
//! Records survive a kill of the process: see [`Config::state`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod answer;
mod api;
mod app;
mod auth;
mod clock;
mod faults;
mod fields;
mod journal;
mod ledger;
mod model;
mod params;
mod pipeline;
mod refusal;
mod request_log;
mod server;
mod settings;
mod spot;
mod traffic;
mod weights;
mod world;

pub use server::{Config, Running, Simulator};
