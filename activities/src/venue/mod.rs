//! Venues: what Backstop asks of an exchange, and what an answer can mean.

mod binance;
mod shared;
mod spot;

use std::time::Duration;

pub use binance::{Binance, BinanceConfig};
use futures::future::BoxFuture;
pub use shared::{Question, SharedHistory, Sighting};
pub use spot::{
    Balance, NewOrder, OrderEnding, OrderKind, OrderRecord, OrderState, Side, Spot, TimeInForce, Top, TradeRecord,
};

/// How one send ended. Only a closed list of answers means "no effect"; whatever is not on it is `Unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The venue took it and gave its id.
    Done(String),
    /// The venue refused it, by a code that means that nothing happened. Never sent again.
    Rejected(String),
    /// It certainly did not take effect, and may be sent again, not before `after`.
    NotSent {
        /// Why.
        reason: String,
        /// The venue's `Retry-After`.
        after: Option<Duration>,
    },
    /// Nobody knows.
    Unknown(String),
}

/// A lookup that did not give a complete answer. Proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LookupFailed {
    /// Why.
    pub reason: String,
    /// The venue's `Retry-After`.
    pub after: Option<Duration>,
}

/// How a withdrawal stands in the venue's own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Still on its way.
    Pending,
    /// Paid.
    Completed,
    /// Ended without paying; the venue has the money.
    Failed,
}

/// The venue's own record of a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawalRecord {
    /// The venue's id.
    pub id: String,
    /// The client's id of it; none for one that was made by hand.
    pub client_id: Option<String>,
    /// How it stands.
    pub state: RecordState,
    /// What reaches the destination, a decimal string.
    pub received: String,
    /// What the network takes, a decimal string.
    pub network_fee: String,
    /// The transaction on the network.
    pub tx_id: Option<String>,
    /// The venue's remark, for failures.
    pub info: String,
    /// When it was completed, by the venue's clock, as `YYYY-MM-DD HH:MM:SS` in UTC; where the venue says so.
    pub completed_at: Option<String>,
}

/// How a deposit stands in the venue's own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepositState {
    /// Seen, and not ours to use yet.
    Pending,
    /// On the account, and may be traded with, but not be withdrawn yet.
    Locked,
    /// On the account for good.
    Final,
    /// The venue does not credit it.
    Rejected,
}

/// The venue's own record of a deposit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepositRecord {
    /// The venue's id.
    pub id: String,
    /// What came in.
    pub asset: String,
    /// The network that carried it.
    pub network: String,
    /// How much, a decimal string.
    pub amount: String,
    /// The address that it was sent to.
    pub address: String,
    /// The memo or destination tag that it was sent with.
    pub tag: Option<String>,
    /// The transaction on the network.
    pub tx_id: Option<String>,
    /// How it stands.
    pub state: DepositState,
    /// When the venue saw it first, ms since 1970 by the venue's clock.
    pub inserted_at_ms: i64,
}

/// A row of the venue's listing of deposits that says what nobody here understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableDeposit {
    /// The venue's id where one can be made out, or else a name made of what the row says.
    pub id: String,
    /// What it says, as JSON.
    pub row: String,
    /// What is wrong with it.
    pub why: String,
    /// When the venue saw it first, where that can be made out, ms since 1970 by the venue's clock.
    pub inserted_at_ms: Option<i64>,
}

/// What the venue has to say of the deposits of some time. One that can't be read keeps no other from being booked: each
/// is a fact of its own, and absence proves nothing of a deposit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DepositListing {
    /// Those that can be read.
    pub records: Vec<DepositRecord>,
    /// Those that can't.
    pub unreadable: Vec<UnreadableDeposit>,
}

/// A withdrawal to ask for.
#[derive(Clone, Debug)]
pub struct Withdrawal<'a> {
    /// Our id of it, the same for every attempt.
    pub client_id: &'a str,
    /// What is paid.
    pub asset: &'a str,
    /// What leaves our balance, a decimal string; the network fee is taken out of it.
    pub amount: &'a str,
    /// The network that carries it.
    pub network: &'a str,
    /// The receiving address.
    pub address: &'a str,
    /// The memo or destination tag.
    pub tag: Option<&'a str>,
}

/// What payouts need of a venue. Times are ms since 1970 and come from the caller, or from the slot that a paced connector
/// waits for, so that every process signs by one clock. Who submits a withdrawal has taken its slot already.
pub trait PayoutVenue: Send + Sync {
    /// Asks for a withdrawal, once. The venue refuses it when it arrives past `signed_at_ms` plus the receive window.
    fn submit<'a>(&'a self, withdrawal: Withdrawal<'a>, signed_at_ms: i64) -> BoxFuture<'a, SendOutcome>;

    /// Every record with this client id that was made from `from_ms` to `until_ms`. Complete, or an error.
    fn withdrawals<'a>(
        &'a self,
        client_id: &'a str,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<WithdrawalRecord>, LookupFailed>>;

    /// Every withdrawal of the account that was made from `from_ms` to `until_ms`, whoever asked for it. Complete, or an
    /// error. Heavy: see [`SharedHistory`].
    fn history(
        &self,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<WithdrawalRecord>, LookupFailed>>;

    /// Every deposit to the account that the venue saw first from `from_ms` to `until_ms`, readable or not. Complete, or
    /// an error.
    fn deposits(&self, from_ms: i64, until_ms: i64, now_ms: i64)
    -> BoxFuture<'_, Result<DepositListing, LookupFailed>>;
}
