//! Venues: what Backstop asks of an exchange, and what an answer can mean.

mod binance;
mod spot;

use std::time::Duration;

pub use binance::{Binance, BinanceConfig};
use futures::future::BoxFuture;
pub use spot::{NewOrder, OrderEnding, OrderKind, OrderRecord, OrderState, Side, Spot, TimeInForce, TradeRecord};

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

/// What payouts need of a venue. Times are ms since 1970 and come from the caller, so that every process signs by one
/// clock.
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
}
