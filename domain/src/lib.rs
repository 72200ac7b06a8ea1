//! The vocabulary of Backstop: amounts, ids, requests, states and their transitions, refusals and outcomes.
//! Pure: no I/O, no clock, no async.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod amount;
pub mod funding;
mod ids;
mod input;
mod intent;
pub mod machine;
mod market;
pub mod market_making;
mod pause;
pub mod payout;
mod receipt;
pub mod reconcile;
mod refund;
mod refusal;
mod resolve;
pub mod reward;
pub mod strategy;
mod withdraw;

pub use amount::Amount;
pub use funding::{FundRequest, FundingStatus};
pub use ids::{BusinessId, PayoutId};
pub use input::{Fields, InvalidInput};
pub use intent::{IntentAction, IntentRequest, LimitOrder, TimeInForce};
pub use market::{Filters, Pair, Side};
pub use pause::{PauseRequest, PauseStatus};
pub use receipt::{Claim, IntentReceipt};
pub use refund::{Destination, RefundRequest};
pub use refusal::{Refusal, RefusalKind};
pub use resolve::{Resolution, Verdict};
pub use reward::{RewardReceipt, RewardRequest};
pub use withdraw::{Decision, WithdrawRequest};
