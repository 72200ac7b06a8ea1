//! Orders and trades. An order's state is a function of its record and the time.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use super::PLACES;
use crate::clock::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Side {
    Buy,
    Sell,
}

impl Side {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "BUY" => Some(Self::Buy),
            "SELL" => Some(Self::Sell),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OrderType {
    Limit,
    LimitMaker,
    Market,
}

impl OrderType {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "LIMIT" => Some(Self::Limit),
            "LIMIT_MAKER" => Some(Self::LimitMaker),
            "MARKET" => Some(Self::Market),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum TimeInForce {
    Gtc,
    Ioc,
    Fok,
}

impl TimeInForce {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "GTC" => Some(Self::Gtc),
            "IOC" => Some(Self::Ioc),
            "FOK" => Some(Self::Fok),
            _ => None,
        }
    }
}

/// Where an order is in its life: "Order status" of the API's enums, and `Accepted` before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OrderState {
    /// Taken, but not in the market yet: no endpoint shows it and nothing is locked.
    Accepted,
    New,
    PartiallyFilled,
    Filled,
    Canceled,
    Rejected,
    Expired,
}

/// The endings that may be forced, by the name the admin API uses.
const ENDINGS: [(&str, OrderState); 3] =
    [("CANCELED", OrderState::Canceled), ("REJECTED", OrderState::Rejected), ("EXPIRED", OrderState::Expired)];

impl OrderState {
    /// Whether the order is in the market.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::New | Self::PartiallyFilled)
    }

    /// Whether nothing can happen to the order any more.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Filled | Self::Canceled | Self::Rejected | Self::Expired)
    }

    /// Reads an ending that may be forced.
    pub(crate) fn ending(name: &str) -> Option<Self> {
        ENDINGS.iter().find(|(known, _)| *known == name).map(|(_, state)| *state)
    }

    /// The names [`Self::ending`] knows, for messages.
    pub(crate) fn endings() -> String {
        ENDINGS.map(|(name, _)| name).join(", ")
    }
}

/// How an order ends without being filled, from a moment on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderEnd {
    pub(crate) at_ms: Millis,
    pub(crate) state: OrderState,
    /// The id it goes by from then on, if another.
    pub(crate) new_client_id: Option<String>,
}

/// An order. Moments ending in `_at_ms` and `visible_from_ms` are on the machine's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Counts from 1.
    pub(crate) id: u64,
    pub(crate) symbol: String,
    pub(crate) base: String,
    pub(crate) quote: String,
    /// The id it was placed with.
    pub(crate) client_id: String,
    pub(crate) side: Side,
    pub(crate) kind: OrderType,
    pub(crate) time_in_force: TimeInForce,
    /// Zero for a market order.
    pub(crate) price: Decimal,
    /// In the base asset. Of a market order by `quoteOrderQty`, what was bought or sold for it.
    pub(crate) qty: Decimal,
    /// `quoteOrderQty`, or zero.
    pub(crate) quote_wanted: Decimal,
    /// What the trades come to, in the base and in the quote asset.
    pub(crate) executed: Decimal,
    pub(crate) executed_quote: Decimal,
    /// What an order that is not in the market yet must not lack when it gets there.
    pub(crate) promise: Decimal,
    pub(crate) accepted_at_ms: Millis,
    /// When it reaches the market; in the future for one that is executed late.
    pub(crate) entered_at_ms: Millis,
    /// Whether it has met the market.
    pub(crate) entered: bool,
    /// The middle price it met.
    pub(crate) entered_mid: Decimal,
    pub(crate) updated_at_ms: Millis,
    /// Lookups don't show it before.
    pub(crate) visible_from_ms: Millis,
    /// Its trades are shown this long after they were made.
    pub(crate) trade_delay_ms: Millis,
    /// How far the server's clock was ahead when the order was taken.
    pub(crate) clock_offset_ms: Millis,
    pub(crate) end: Option<OrderEnd>,
}

impl Order {
    /// The state at a moment.
    pub(crate) fn state(&self, now: Millis) -> OrderState {
        let ended = self.end.as_ref().filter(|end| now >= end.at_ms);
        if self.entered && self.executed > Decimal::ZERO && self.executed >= self.qty {
            OrderState::Filled
        } else if let Some(end) = ended {
            end.state
        } else if !self.entered {
            OrderState::Accepted
        } else if self.executed > Decimal::ZERO {
            OrderState::PartiallyFilled
        } else {
            OrderState::New
        }
    }

    /// The client's id it goes by. "`newClientOrderId` will replace `clientOrderId` of the canceled order, freeing it up
    /// for new orders" (Spot WebSocket API, "Cancel order").
    pub(crate) fn known_as(&self, now: Millis) -> &str {
        let ended = self.end.as_ref().filter(|end| self.state(now) == end.state);
        ended.and_then(|end| end.new_client_id.as_deref()).unwrap_or(&self.client_id)
    }

    /// Whether nothing can happen to it after its last change.
    pub(crate) fn is_over(&self) -> bool {
        self.state(self.updated_at_ms).is_over()
    }

    /// What is still to be bought or sold, in the base asset.
    pub(crate) fn remaining(&self) -> Decimal {
        self.qty - self.executed
    }

    /// Whether what finds nothing to take rests in the market.
    pub(crate) fn rests(&self) -> bool {
        self.kind != OrderType::Market && self.time_in_force == TimeInForce::Gtc
    }

    /// The asset it spends.
    pub(crate) fn spends(&self) -> &str {
        if self.side == Side::Buy { &self.quote } else { &self.base }
    }

    /// What it holds of that asset.
    pub(crate) fn locked(&self, now: Millis) -> Decimal {
        if !self.state(now).is_open() {
            return Decimal::ZERO;
        }
        match self.side {
            Side::Buy => cost(self.price, self.remaining()),
            Side::Sell => self.remaining(),
        }
    }

    /// Whether lookups show it.
    pub(crate) fn is_shown(&self, now: Millis) -> bool {
        self.entered && now >= self.visible_from_ms
    }
}

/// What buying a quantity may cost at most, in the quote asset.
pub(crate) fn cost(price: Decimal, qty: Decimal) -> Decimal {
    (price * qty).round_dp_with_strategy(PLACES, RoundingStrategy::AwayFromZero)
}

/// A quantity that changes hands at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) price: Decimal,
    pub(crate) qty: Decimal,
}

impl Fill {
    /// Price times quantity, cut to what the exchange shows.
    pub(crate) fn quote_qty(self) -> Decimal {
        (self.price * self.qty).round_dp_with_strategy(PLACES, RoundingStrategy::ToZero)
    }
}

/// A trade of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trade {
    /// Counts from 1 in each symbol, so that it names a trade only together with the symbol.
    pub(crate) id: u64,
    pub(crate) order_id: u64,
    pub(crate) symbol: String,
    pub(crate) side: Side,
    pub(crate) price: Decimal,
    pub(crate) qty: Decimal,
    pub(crate) quote_qty: Decimal,
    pub(crate) fee: Decimal,
    pub(crate) fee_asset: String,
    pub(crate) maker: bool,
    pub(crate) at_ms: Millis,
    /// `GET /api/v3/myTrades` does not show it before.
    pub(crate) visible_from_ms: Millis,
    /// The time it carries, on the server's clock.
    pub(crate) time_ms: Millis,
}
