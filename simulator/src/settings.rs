//! Settings a test may change while the exchange runs. They are kept over a restart.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// What happens when a `withdrawOrderId` is used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OnRepeat {
    /// It is executed again. The default, as the API pages promise nothing else.
    #[default]
    #[serde(rename = "none")]
    Execute,
    /// The first withdrawal's id is answered; nothing is executed.
    #[serde(rename = "dedupe")]
    AnswerFirst,
    /// It is refused with -4105.
    #[serde(rename = "duplicate_error")]
    Refuse,
}

impl OnRepeat {
    /// Reads the name the admin API uses.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::Execute),
            "dedupe" => Some(Self::AnswerFirst),
            "duplicate_error" => Some(Self::Refuse),
            _ => None,
        }
    }
}

/// A tenth of a percent, the commission of `makerCommission: 10`.
const STANDARD_FEE: Decimal = Decimal::from_parts(1, 0, 0, false, 3);

/// All settings but the balances, which are part of the books.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) dedupe: OnRepeat,
    /// From execution to `processing`; for withdrawals executed from now on.
    pub(crate) processing_after_ms: Millis,
    /// From execution to `completed`; for withdrawals executed from now on.
    pub(crate) complete_after_ms: Millis,
    /// How far the server's clock is ahead of the machine's; may be negative.
    pub(crate) clock_offset_ms: Millis,
    /// Requests closer together are answered 429; 0 allows all.
    pub(crate) min_request_interval_ms: Millis,
    /// Until this moment of the machine's clock everything is answered 418; 0 is never.
    pub(crate) banned_until_ms: Millis,
    /// Networks closed for withdrawal, as `COIN/NETWORK`.
    pub(crate) withdraw_disabled: Vec<String>,
    /// Whether a cancelled order is known by the id of its cancel from then on.
    pub(crate) cancel_renames: bool,
    /// Middle prices that were set, by symbol; the others are the table's.
    pub(crate) prices: BTreeMap<String, Decimal>,
    /// How far prices wander from there at most, as a share of them; zero is a still market.
    pub(crate) price_volatility: Decimal,
    /// Which way they wander.
    pub(crate) price_seed: u64,
    /// How much of a resting order is filled in each step in which the market has crossed it, as a share of its size;
    /// zero leaves it to the admin API.
    pub(crate) fill_share: Decimal,
    /// What a trade costs, as a share of what it brings.
    pub(crate) maker_fee: Decimal,
    pub(crate) taker_fee: Decimal,
    /// The asset that fees are taken in while the balance covers them; none is what the trade brings.
    pub(crate) fee_asset: Option<String>,
    /// From a trade to its appearance in the list of trades; for orders that enter the market from now on.
    pub(crate) trade_delay_ms: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dedupe: OnRepeat::Execute,
            processing_after_ms: 200,
            complete_after_ms: 1_500,
            clock_offset_ms: 0,
            min_request_interval_ms: 0,
            banned_until_ms: 0,
            withdraw_disabled: Vec::new(),
            cancel_renames: true,
            prices: BTreeMap::new(),
            price_volatility: Decimal::ZERO,
            price_seed: 0,
            fill_share: Decimal::ONE,
            maker_fee: STANDARD_FEE,
            taker_fee: STANDARD_FEE,
            fee_asset: None,
            trade_delay_ms: 0,
        }
    }
}

impl Settings {
    /// Whether withdrawals of a coin on a network are closed.
    pub(crate) fn is_disabled(&self, coin: &str, network: &str) -> bool {
        let pair = format!("{coin}/{network}");
        self.withdraw_disabled.contains(&pair)
    }
}
