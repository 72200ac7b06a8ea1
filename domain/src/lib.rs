//! The vocabulary of Backstop: amounts, ids, requests, states and their transitions, refusals and outcomes.
//! Pure: no I/O, no clock, no async.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod amount;
mod ids;
mod input;
pub mod machine;
pub mod payout;
mod refund;
mod refusal;
mod resolve;

pub use amount::Amount;
pub use ids::{BusinessId, PayoutId};
pub use input::{Fields, InvalidInput};
pub use refund::{Destination, RefundRequest};
pub use refusal::{Refusal, RefusalKind};
pub use resolve::{Resolution, Verdict};
